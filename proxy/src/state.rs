//! The state directory: the lock of the one proxy that runs here, the socket it answers at, and what it leaves for the verbs.
//!
//! `lock` carries an open-file-description lock while a proxy runs (it goes with the process, however that ends, and can be
//! asked for without being taken). `status.json`, replaced by rename, and `owners`, a journal, outlive the proxy.

mod owners;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use self::owners::{Journal, Owner, Owners};
use crate::apply::Tally;
use crate::lock;
use crate::sources::Problem;
use crate::surface::socket;

const LOCK: &str = "lock";
const STATUS: &str = "status.json";

/// What a running proxy tells about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The version of the daemon.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// When it started, seconds since 1970.
    pub started: u64,
    /// The node's name.
    pub node: String,
    /// The source, as an operator knows it: a directory, or an API server.
    pub source: String,
    /// Files in it; `None`: it is no directory.
    pub files: Option<usize>,
    /// Services that it states.
    pub services: usize,
    /// EndpointSlices that it states.
    pub slices: usize,
    /// Whether the first complete state has been applied.
    pub ready: bool,
    /// Frontends found in the maps at the start.
    pub restored: usize,
    /// Frontends kept from before because a file could not be read yet.
    pub held_over: Vec<String>,
    /// What has been done since the start.
    pub tally: Tally,
    /// Why the maps are not up to date; `None`: they are.
    pub last_error: Option<String>,
    /// What an operator should know.
    pub problems: Vec<Problem>,
}

/// The state directory of a running proxy.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    /// Holds the lock as long as it is open.
    _lock: File,
}

impl StateDir {
    /// Makes the directory and takes the lock.
    pub fn open(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("make the state directory {}", path.display()))?;
        let lock_path = path.join(LOCK);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&lock_path)
            .with_context(|| format!("open {}", lock_path.display()))?;
        match lock::take(|| fcntl(&file, FcntlArg::F_OFD_SETLK(&whole_file()))) {
            Ok(_) => Ok(Self { path: path.to_owned(), _lock: file }),
            Err(nix::Error::EAGAIN | nix::Error::EACCES) => {
                bail!("another fairlead-proxy runs with the state directory {}; stop it first", path.display())
            }
            Err(errno) => Err(errno).with_context(|| format!("lock {}", lock_path.display())),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces `status.json`.
    pub fn write_status(&self, status: &Status) -> Result<()> {
        self.replace(STATUS, &serde_json::to_vec_pretty(status)?)
    }

    fn replace(&self, name: &str, content: &[u8]) -> Result<()> {
        let (path, fresh) = (self.path.join(name), self.path.join(format!(".{name}.new")));
        let write = || -> io::Result<()> {
            File::create(&fresh)?.write_all(content)?;
            fs::rename(&fresh, &path)
        };
        write().with_context(|| format!("write {}", path.display()))
    }
}

/// Whether a proxy runs with this state directory.
pub fn is_running(path: &Path) -> bool {
    let Ok(lock) = File::open(path.join(LOCK)) else { return false };
    let mut probe = whole_file();
    fcntl(&lock, FcntlArg::F_OFD_GETLK(&mut probe)).is_ok() && i32::from(probe.l_type) != libc::F_UNLCK
}

/// What the proxy that runs or ran here last told.
pub fn read_status(path: &Path) -> Result<Option<Status>> {
    read(&path.join(STATUS))
}

/// Whose the frontends are; empty when nobody ever told.
pub fn read_owners(path: &Path) -> Result<Owners> {
    Ok(owners::read(path)?.unwrap_or_default())
}

/// Removes the files of this module, and the directory if nothing else is in it. What was removed.
pub fn remove(path: &Path) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    let [journal, fresh_journal] = owners::NAMES;
    let names = [STATUS, LOCK, ".status.json.new", journal, fresh_journal, socket::NAME];
    for name in names {
        let file = path.join(name);
        match fs::remove_file(&file) {
            Ok(()) => removed.push(format!("removed {}", file.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("remove {}", file.display())),
        }
    }
    match fs::remove_dir(path) {
        Ok(()) => removed.push(format!("removed {}", path.display())),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {}
        Err(error) => return Err(error).with_context(|| format!("remove {}", path.display())),
    }
    Ok(removed)
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match fs::read(path) {
        Ok(content) => serde_json::from_slice(&content).map(Some).with_context(|| format!("read {}", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

/// A write lock on all of a file. Probing with it finds any lock of another.
fn whole_file() -> libc::flock {
    libc::flock { l_type: libc::F_WRLCK as i16, l_whence: libc::SEEK_SET as i16, l_start: 0, l_len: 0, l_pid: 0 }
}
