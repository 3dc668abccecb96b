//! One file: whether it is one of ours, whether it changed, what is in it.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;

/// Larger files are refused: nobody writes them by hand, and reading one would be the end of a small machine.
const FILE_LIMIT: u64 = 64 << 20;
/// What identifies the content of a file without reading it: device, inode, size, modification and change time.
pub type Stamp = (u64, u64, u64, (i64, i64), (i64, i64));

/// Names that are read. Editors' own files (`.web.yaml.swp`, `web.yaml~`, `#web.yaml#`) are none of them.
pub fn is_ours(name: &str) -> bool {
    !name.starts_with('.')
        && Path::new(name)
            .extension()
            .is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|ours| extension == *ours))
}

/// See [`Stamp`].
pub fn stamp(meta: &Metadata) -> Stamp {
    (meta.dev(), meta.ino(), meta.size(), (meta.mtime(), meta.mtime_nsec()), (meta.ctime(), meta.ctime_nsec()))
}

/// Reads a regular file of a bearable size. Does not block on a fifo.
pub fn read(path: &Path) -> io::Result<(Stamp, String)> {
    let file: File = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    if meta.size() > FILE_LIMIT {
        return Err(io::Error::other(format!("larger than {} MiB", FILE_LIMIT >> 20)));
    }
    let mut text = String::new();
    // One byte more than the limit, for a file that grows.
    file.take(FILE_LIMIT + 1).read_to_string(&mut text)?;
    Ok((stamp(&meta), text))
}
