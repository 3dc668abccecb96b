//! The directory that plugins are installed in, and the one inside it where an installation keeps what it needs:
//!
//! ```text
//! DIR/.fairlead/lock        flock(2): one installation at a time
//! DIR/.fairlead/new/NAME    made ready, not in its place yet
//! DIR/.fairlead/undo/NAME   what was in DIR when this run began; gone when it is done
//! DIR/.fairlead/journal     there while names are being exchanged: `NAME present|absent` a line
//! DIR/.fairlead/replaced/NAME   what was there before the first of ours; for `--restore`
//! DIR/.fairlead/installed   `VERSION`, then a line for every name that is or was ours
//! ```
//!
//! All of it is on one file system, so that whatever moves, moves by rename or link.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::Trouble;

const INSIDE: &str = ".fairlead";

/// The directory, locked.
pub struct Place {
    directory: PathBuf,
    _lock: Flock<File>,
}

impl Place {
    /// Opens, and locks. Errors: it cannot be written to, or another installation is at work.
    pub fn open(directory: &Path) -> Result<Place, Trouble> {
        let inside = directory.join(INSIDE);
        make_directory(&inside).map_err(|error| {
            Trouble::new("write to", directory, &error).hint(match error.raw_os_error() {
                Some(code) if code == Errno::EROFS as i32 => {
                    "it is mounted read-only: mount it read-write, or choose another directory"
                }
                Some(code) if code == Errno::EACCES as i32 => "run it as root",
                _ => "",
            })
        })?;
        lock(&inside.join("lock")).map(|lock| Place { directory: directory.to_owned(), _lock: lock }).inspect_err(
            |_| {
                // Only if it is empty, so only if it was made just now.
                let _ = fs::remove_dir(&inside);
            },
        )
    }

    /// The file of this name, where a runtime looks for it.
    pub fn of(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Something of ours.
    pub fn inside(&self, what: &str) -> PathBuf {
        self.directory.join(INSIDE).join(what)
    }

    /// An empty directory of ours.
    pub fn fresh(&self, what: &str) -> Result<PathBuf, Trouble> {
        let path = self.inside(what);
        self.clear(what)?;
        make_directory(&path).map_err(|error| Trouble::new("create", &path, &error))?;
        Ok(path)
    }

    /// Removes something of ours, whatever it is; what is not there is done.
    pub fn clear(&self, what: &str) -> Result<(), Trouble> {
        let path = self.inside(what);
        absent_is_done(fs::remove_dir_all(&path)).map_err(|error| Trouble::new("remove", &path, &error))
    }

    /// Removes a file of ours; what is not there is done.
    pub fn clear_file(&self, what: &str) -> Result<(), Trouble> {
        let path = self.inside(what);
        absent_is_done(fs::remove_file(&path)).map_err(|error| Trouble::new("remove", &path, &error))
    }

    /// What was removed or renamed in our own directory is so on the disk after this.
    pub fn sync_inside(&self) -> Result<(), Trouble> {
        let path = self.directory.join(INSIDE);
        sync(&path).map_err(|error| Trouble::new("sync", &path, &error))
    }

    /// Removes everything of ours.
    pub fn clear_all(&self) -> Result<(), Trouble> {
        let path = self.directory.join(INSIDE);
        absent_is_done(fs::remove_dir_all(&path)).map_err(|error| Trouble::new("remove", &path, &error))
    }

    /// The text of a file of ours. `None`: it is not there.
    pub fn read(&self, what: &str) -> Result<Option<String>, Trouble> {
        let path = self.inside(what);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Trouble::new("read", &path, &error)),
        }
    }

    /// Writes a file of ours: whole, on the disk, and then under its name.
    pub fn write(&self, what: &str, text: &str) -> Result<(), Trouble> {
        let (path, beside) = (self.inside(what), self.inside(&format!("{what}.new")));
        let written = create(&beside, 0o644)
            .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&beside, &path))
            .and_then(|()| sync(&self.directory.join(INSIDE)));
        written.map_err(|error| Trouble::new("write", &path, &error))
    }

    /// What was renamed in the directory is on the disk after this.
    pub fn sync(&self) -> Result<(), Trouble> {
        sync(&self.directory).map_err(|error| Trouble::new("sync", &self.directory, &error))
    }
}

fn lock(path: &Path) -> Result<Flock<File>, Trouble> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let file = file.map_err(|error| Trouble::new("open", path, &error))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| {
        let hint = if errno == Errno::EAGAIN { "another installation is at work here; wait for it" } else { "" };
        Trouble::new("lock", path, &io::Error::from(errno)).hint(hint)
    })
}

/// A second name for a file; where the file system has no such thing, a copy. A symbolic link stays one.
pub fn link_or_copy(from: &Path, to: &Path) -> Result<(), Trouble> {
    let failed = |error: io::Error| Trouble::new("link or copy", from, &error);
    match fs::hard_link(from, to) {
        Err(error) if cannot_link(&error) => {}
        other => return other.map_err(failed),
    }
    let found = fs::symlink_metadata(from).map_err(failed)?;
    if found.is_symlink() {
        return fs::read_link(from).and_then(|goal| std::os::unix::fs::symlink(goal, to)).map_err(failed);
    }
    let copied = File::open(from).and_then(|file| copy(file, to, found.permissions().mode() & 0o7777));
    copied.map_err(failed)
}

/// FAT and some network file systems have no links; overlayfs and others limit them.
fn cannot_link(error: &io::Error) -> bool {
    let codes = [Errno::EPERM, Errno::EOPNOTSUPP, Errno::ENOSYS, Errno::EMLINK, Errno::EXDEV];
    codes.iter().any(|code| error.raw_os_error() == Some(*code as i32))
}

/// Writes a file anew: exactly these permission bits, owned by root where root does it, no attribute of the source.
pub fn copy(mut from: impl Read, to: &Path, mode: u32) -> io::Result<()> {
    let mut file = create(to, 0o600)?;
    io::copy(&mut from, &mut file)?;
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::fchown(&file, Some(0), Some(0))?;
    }
    // After the owner: a change of owner takes bits away, and the umask has no say here.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.sync_all()
}

fn create(path: &Path, mode: u32) -> io::Result<File> {
    absent_is_done(fs::remove_file(path))?;
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
}

fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(path)
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

pub fn absent_is_done(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Whether both names are one file.
pub fn is_same_file(a: &Path, b: &Path) -> bool {
    let identity = |path: &Path| fs::symlink_metadata(path).map(|found| (found.dev(), found.ino())).ok();
    identity(a).is_some_and(|identity_a| identity(b) == Some(identity_a))
}
