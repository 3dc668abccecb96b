//! Looking a plugin up on `CNI_PATH`.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::CniError;

/// The first regular file of this name in the directories (symbolic links followed, execute bits not looked at, as the
/// reference). Errors: code 7, in the reference's words.
pub fn find_in_path(name: &str, path: &str) -> Result<PathBuf, CniError> {
    if name.is_empty() {
        return Err(CniError::config("no plugin name provided"));
    }
    if name.contains('/') {
        return Err(CniError::config(format!("invalid plugin name: {name}")));
    }
    let directories: Vec<&str> = if path.is_empty() { Vec::new() } else { path.split(':').collect() };
    if directories.is_empty() {
        return Err(CniError::config("no paths provided"));
    }
    let candidates = directories.iter().map(|directory| Path::new(directory).join(name));
    candidates
        .into_iter()
        .find(|file| std::fs::metadata(file).is_ok_and(|m| m.is_file()))
        .ok_or_else(|| CniError::config(format!("failed to find plugin {name:?} in path [{}]", directories.join(" "))))
}

/// True when the file is the binary this process runs: same device, same inode.
pub(super) fn is_this_binary(file: &Path) -> bool {
    let identity = |path: &Path| std::fs::metadata(path).map(|m| (m.dev(), m.ino())).ok();
    identity(file).is_some_and(|theirs| identity(Path::new("/proc/self/exe")) == Some(theirs))
}
