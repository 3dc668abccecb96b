//! The directory of a network, and its files by their names in it.

use std::fs::{DirBuilder, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, RenameFlags, open, openat, renameat, renameat2};
use nix::sys::stat::{Mode, futimens};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};

use super::lease::Stamp;

/// Where a file is written before it gets its name. The reference ignores it: it is no address.
pub const TEMPORARY: &str = ".fairlead-new";
/// Largest lease that is read. A container's identifier has 64 bytes as a rule, and an environment variable 128 KiB at most.
const LARGEST: u64 = 256 << 10;

/// A directory that is open, so that its name is walked once.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    handle: File,
}

/// A modification time: seconds and nanoseconds.
pub type Time = (i64, i64);

impl Directory {
    /// Opens it. Errors: those of open(2); not a directory is one.
    pub fn open(path: &Path) -> io::Result<Directory> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let handle = File::from(open(path, flags, Mode::empty())?);
        Ok(Directory { path: path.to_owned(), handle })
    }

    /// Opens it, and makes it and those above it when they are not there. Errors: those of mkdir(2) and open(2).
    pub fn create(path: &Path) -> io::Result<Directory> {
        match Directory::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                DirBuilder::new().recursive(true).mode(0o755).create(path)?;
                Directory::open(path)
            }
            opened => opened,
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn handle(&self) -> &File {
        &self.handle
    }

    /// Which directory it is, and when something in it got or lost its name.
    pub fn look(&self) -> io::Result<(Stamp, Time)> {
        let found = self.handle.metadata()?;
        Ok((Stamp::from(&found), (found.mtime(), found.mtime_nsec())))
    }

    /// Sets that time.
    pub fn set_modified(&self, (seconds, nanoseconds): Time) -> io::Result<()> {
        // UTIME_OMIT: the time of the last access stays.
        let omit = TimeSpec::UTIME_OMIT;
        Ok(futimens(&self.handle, &omit, &TimeSpec::new(seconds, nanoseconds))?)
    }

    /// Opens a file of it. Never waits (a fifo could stand there) and never follows a link.
    pub fn file(&self, name: &str, flags: OFlag) -> io::Result<File> {
        self.file_of_mode(name, flags, Mode::S_IRUSR | Mode::S_IWUSR)
    }

    /// The same, with the mode that the file gets if it is made.
    pub fn file_of_mode(&self, name: &str, flags: OFlag, mode: Mode) -> io::Result<File> {
        let flags = flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        Ok(File::from(openat(&self.handle, name, flags, mode)?))
    }

    /// A whole file, and which one it was. Errors: also when it is no ordinary file.
    pub fn read(&self, name: &str) -> io::Result<(Vec<u8>, Stamp)> {
        let mut file = self.file(name, OFlag::O_RDONLY)?;
        let found = file.metadata()?;
        if !found.is_file() || found.size() > LARGEST {
            return Err(io::Error::other("no ordinary file"));
        }
        // One byte more than there is: the end is found without another call.
        let mut content = vec![0; found.size() as usize + 1];
        let mut filled = 0;
        while filled < content.len() {
            match file.read(&mut content[filled..])? {
                0 => break,
                count => filled += count,
            }
            if filled == found.size() as usize {
                break;
            }
        }
        content.truncate(filled);
        Ok((content, Stamp::from(&found)))
    }

    /// Writes a file that has no name to be found by yet. Errors: nothing of it stays.
    pub fn prepare(&self, content: &[u8]) -> io::Result<File> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL;
        let mut file = match self.file(TEMPORARY, flags) {
            // Of a writer that was killed: whoever holds the lock knows that no other is alive.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                self.remove(TEMPORARY)?;
                self.file(TEMPORARY, flags)?
            }
            opened => opened?,
        };
        match file.write_all(content) {
            Ok(()) => Ok(file),
            Err(error) => Err(self.forget_prepared(error)),
        }
    }

    /// Gives the prepared file a name nobody has. `false`: somebody has it. Errors and `false`: nothing of it stays.
    pub fn name_prepared(&self, name: &str) -> io::Result<bool> {
        let named = match renameat2(&self.handle, TEMPORARY, &self.handle, name, RenameFlags::RENAME_NOREPLACE) {
            // A file system that does not know the flag (NFS, some FUSE).
            Err(Errno::EINVAL) => linkat(&self.handle, TEMPORARY, &self.handle, name, AtFlags::empty())
                .and_then(|()| unlinkat(&self.handle, TEMPORARY, UnlinkatFlags::NoRemoveDir)),
            named => named,
        };
        match named {
            Ok(()) => Ok(true),
            Err(Errno::EEXIST) => self.remove(TEMPORARY).map(|()| false),
            Err(errno) => Err(self.forget_prepared(errno.into())),
        }
    }

    /// Gives the prepared file a name, whoever had it. Errors: nothing of it stays.
    pub fn replace_by_prepared(&self, name: &str) -> io::Result<()> {
        let replaced = renameat(&self.handle, TEMPORARY, &self.handle, name);
        replaced.map_err(|errno| self.forget_prepared(errno.into()))
    }

    /// Removes a file; one that is not there is removed.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match unlinkat(&self.handle, name, UnlinkatFlags::NoRemoveDir) {
            Err(errno) if errno != Errno::ENOENT => Err(errno.into()),
            _ => Ok(()),
        }
    }

    fn forget_prepared(&self, error: io::Error) -> io::Error {
        // What cannot be removed now is removed by the next one who prepares a file.
        let _ = self.remove(TEMPORARY);
        error
    }
}
