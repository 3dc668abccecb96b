//! Files that are whole or not there: written beside, synced, renamed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Replaces the content of `path`, mode 0644. A reader sees the old text or the new one, after a crash too.
pub fn write(path: &Path, text: &str) -> Result<()> {
    let beside = beside(path);
    let put = || -> io::Result<()> {
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o644).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(parent(path))?.sync_all()
    };
    put().inspect_err(|_| drop(fs::remove_file(&beside))).with_context(|| format!("write {}", path.display()))
}

/// Where a file is written before it is renamed: always the same name, so that nothing piles up if we are killed.
pub fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".fairlead-new");
    path.with_file_name(name)
}

/// The directory a path is in.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes a directory and those above it; returns the absolute paths of those that were not there, outermost first.
pub fn make_directories(path: &Path) -> Result<Vec<PathBuf>> {
    let path = &std::path::absolute(path).with_context(|| format!("find {}", path.display()))?;
    let mut made: Vec<PathBuf> = path.ancestors().take_while(|dir| !dir.exists()).map(Path::to_owned).collect();
    made.reverse();
    fs::create_dir_all(path).with_context(|| format!("make directory {}", path.display()))?;
    Ok(made)
}

/// Removes a file; says whether it was there.
pub fn remove(path: &Path) -> Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("remove {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("subnet.env");
        for text in ["one\n", "two\n"] {
            write(&path, text).expect("written");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(write(&dir.path().join("gone/subnet.env"), "x").is_err());
    }

    #[test]
    fn made_directories_are_the_ones_that_were_missing() {
        let dir = tempfile::tempdir().expect("a directory");
        let deep = dir.path().join("a/b");
        assert_eq!(make_directories(&deep).unwrap(), [dir.path().join("a"), deep.clone()]);
        assert_eq!(make_directories(&deep).unwrap(), [] as [PathBuf; 0]);
    }
}
