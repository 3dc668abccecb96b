//! Watching the peers file through its directory: editors and ConfigMaps replace files, and a watch on the file itself
//! would stay with the one that is gone.
//!
//! Two directories are watched, the one in the path and the one the path leads to: a ConfigMap swaps the link `..data` in
//! the first, an editor may replace the target in the second. What happened in them does not matter; the text is read and
//! compared.

use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use inotify::{Inotify, WatchMask};

use crate::files;

/// The largest peers file: some 50,000 nodes.
const LIMIT: u64 = 16 << 20;

/// The peers file and the watch on it.
pub struct PeersFile {
    path: PathBuf,
    inotify: Inotify,
}

impl PeersFile {
    /// Begins to watch.
    pub fn watch(path: &Path) -> Result<PeersFile> {
        let inotify = Inotify::init().context("open an inotify instance (see fs.inotify.max_user_instances)")?;
        let mut file = PeersFile { path: path.to_owned(), inotify };
        file.renew()?;
        Ok(file)
    }

    /// Puts the watches where the path leads now. One that is there already stays.
    pub fn renew(&mut self) -> Result<()> {
        let mask = WatchMask::CLOSE_WRITE
            | WatchMask::CREATE
            | WatchMask::DELETE
            | WatchMask::MOVED_FROM
            | WatchMask::MOVED_TO
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF
            | WatchMask::ONLYDIR;
        let here = files::parent(&self.path);
        self.inotify.watches().add(here, mask).with_context(|| format!("watch {}", here.display()))?;
        if let Ok(target) = fs::canonicalize(&self.path) {
            let there = files::parent(&target);
            self.inotify.watches().add(there, mask).with_context(|| format!("watch {}", there.display()))?;
        }
        Ok(())
    }

    /// Forgets what has happened so far.
    pub fn drain(&mut self) -> Result<()> {
        let mut buffer = [0; 4096];
        loop {
            match self.inotify.read_events(&mut buffer) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("read inotify events"),
            }
        }
    }

    /// The file's text as it is now.
    pub fn read(&self) -> Result<String> {
        let path = self.path.display();
        let mut text = String::new();
        let file = fs::File::open(&self.path).with_context(|| format!("open {path}"))?;
        if !file.metadata().with_context(|| format!("look at {path}"))?.is_file() {
            bail!("{path} is not a file");
        }
        match file.take(LIMIT + 1).read_to_string(&mut text) {
            Ok(_) if text.len() as u64 > LIMIT => bail!("{path} is larger than {} MiB", LIMIT >> 20),
            Ok(_) => Ok(text),
            Err(error) => Err(error).with_context(|| format!("read {path}")),
        }
    }
}

impl AsFd for PeersFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}
