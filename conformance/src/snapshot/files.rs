//! A directory as facts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};

use super::Snapshot;

/// Contents beyond this length are told by their length.
const SHOWN: usize = 4096;

pub(super) fn collect(snapshot: &mut Snapshot, name: &str, root: &Path) -> Result<()> {
    let about = match fs::symlink_metadata(root) {
        Ok(about) => about,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            snapshot.add(format!("file {name}"), "absent");
            return Ok(());
        }
        Err(error) => return Err(error).with_context(|| format!("look at {}", root.display())),
    };
    let mode = format!("{:o}", about.permissions().mode());
    if about.is_dir() {
        snapshot.add(format!("file {name}/"), mode);
        for entry in fs::read_dir(root).with_context(|| format!("read {}", root.display()))? {
            let entry = entry?;
            collect(snapshot, &format!("{name}/{}", entry.file_name().to_string_lossy()), &entry.path())?;
        }
    } else if about.is_symlink() {
        snapshot.add(format!("file {name}"), format!("-> {}", fs::read_link(root)?.display()));
    } else if about.is_file() {
        let bytes = fs::read(root).with_context(|| format!("read {}", root.display()))?;
        let content = match bytes.len() {
            0..=SHOWN => format!("\"{}\"", bytes.escape_ascii()),
            length => format!("{length} bytes"),
        };
        snapshot.add(format!("file {name}"), format!("{mode} {content}"));
    } else {
        snapshot.add(format!("file {name}"), mode);
    }
    Ok(())
}
