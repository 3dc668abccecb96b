//! A directory of Kubernetes YAML, watched by inotify.
//!
//! A file is read when its writer is done with it, never in between: a file that was truncated and is being written again
//! would look like one whose services have been deleted. "Done" is inotify's CLOSE_WRITE or a rename; and after each read the
//! event queue is looked at once more, and what was read is forgotten if the file has been touched meanwhile. That covers
//! editors that write in place, editors that rename (vim, sed -i), `cp`, and the symlink swap of a mounted ConfigMap.
//!
//! A file that cannot be read or understood keeps its last good state, and only its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use fairlead_proxy_model::{Change, ObjectName};
use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, timeout_at};

use super::catalog::Catalog;
use super::documents::{Objects, parse};
use super::file::{Stamp, is_ours, read, stamp};
use super::{Problem, Severity};
use crate::convert::Rules;

/// A burst of events is one wake-up if it pauses for this long …
const QUIET: Duration = Duration::from_millis(10);
/// … or has gone on for this long.
const BURST: Duration = Duration::from_millis(100);
/// A file that was modified but not closed for this long is read all the same.
const ABANDONED: Duration = Duration::from_secs(5);
/// How often a directory that has vanished is looked for.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct FileState {
    stamp: Option<Stamp>,
    /// Read and understood at least once; its objects are in the catalog.
    good: bool,
    /// It was there at the first load and has never been understood: what it used to say is not known.
    unknown: bool,
    /// Why the last read failed.
    bad: Option<Problem>,
    remarks: Vec<Problem>,
}

/// What is known of a file that inotify told about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Touched {
    /// Somebody writes it, since or again at this time.
    Writing(Instant),
    /// Its writer is done.
    Done,
}

/// See the head of the file.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    inotify: AsyncFd<Inotify>,
    /// The watch on the directory that `path` named when it was last looked at.
    watch: Option<WatchDescriptor>,
    /// Whether the watch is on the directory that `path` names now.
    gone: Option<Problem>,
    /// Whether our owner has been woken to hear that the directory is gone.
    gone_told: bool,
    files: BTreeMap<String, FileState>,
    /// Every file has been looked at once.
    complete: bool,
    catalog: Catalog,
    rules: Rules,
    touched: BTreeMap<String, Touched>,
    /// Compare the whole directory with what was read.
    rescan: bool,
    burst_since: Option<Instant>,
}

impl Directory {
    /// Starts to watch; nothing is read yet. `proxy_name`: see [`Rules::new`].
    pub fn open(path: &Path, proxy_name: Option<&str>) -> Result<Self> {
        let inotify = Inotify::init().context("make an inotify instance (see fs.inotify.max_user_instances)")?;
        #[expect(
            deprecated,
            reason = "its replacement is unsafe, for types that lie about their descriptor; Inotify does not"
        )]
        let inotify = AsyncFd::new(inotify).context("register the inotify instance")?;
        let mut directory = Self {
            path: path.to_owned(),
            inotify,
            watch: None,
            gone: None,
            gone_told: false,
            files: BTreeMap::new(),
            complete: false,
            catalog: Catalog::default(),
            rules: Rules::new(proxy_name.map(str::to_owned)),
            touched: BTreeMap::new(),
            rescan: true,
            burst_since: None,
        };
        directory.add_watch().with_context(|| format!("watch the source directory {}", path.display()))?;
        fs::read_dir(path).with_context(|| format!("read the source directory {}", path.display()))?;
        Ok(directory)
    }

    /// Waits until there is something to load. May be dropped and called again at any time.
    pub async fn changed(&mut self) -> Result<()> {
        loop {
            self.drain()?;
            if self.gone.is_some() {
                self.look_again();
            }
            if std::mem::replace(&mut self.gone_told, self.gone.is_some()) != self.gone.is_some() {
                return Ok(());
            }
            let ready =
                self.rescan && self.gone.is_none() || self.touched.values().any(|touched| *touched == Touched::Done);
            let now = Instant::now();
            let deadline = if self.gone.is_some() {
                Some(now + LOOK_AGAIN)
            } else if ready {
                Some((now + QUIET).min(*self.burst_since.get_or_insert(now) + BURST))
            } else {
                self.abandoned_at()
            };
            let event = match deadline {
                Some(deadline) => timeout_at(deadline, self.inotify.readable()).await.ok(),
                None => Some(self.inotify.readable().await),
            };
            match event {
                // The queue is not empty; `drain` above reads it until it is, and only then says so to the reactor.
                Some(event) => drop(event.context("wait for inotify events")?),
                None => {
                    if self.gone.is_none() {
                        self.burst_since = None;
                        return Ok(());
                    }
                }
            }
            if self.burst_since.is_some_and(|since| now >= since + BURST) {
                self.burst_since = None;
                return Ok(());
            }
        }
    }

    /// Compares the whole directory at the next load, whatever inotify said.
    pub fn rescan(&mut self) {
        self.rescan = true;
    }

    /// Reads up to `limit` files that have changed. `true`: there are more.
    pub fn load(&mut self, limit: usize, changes: &mut Vec<Change>) -> bool {
        if std::mem::take(&mut self.rescan) {
            self.compare(changes);
        }
        if self.gone.is_some() {
            // `rm -r` deletes the files first; they stay in force like the directory.
            return false;
        }
        let now = Instant::now();
        let due = |touched: &Touched| match touched {
            Touched::Done => true,
            Touched::Writing(since) => now >= *since + ABANDONED,
        };
        let names: Vec<String> =
            self.touched.iter().filter(|(_, touched)| due(touched)).map(|(name, _)| name.clone()).collect();
        for name in names.iter().take(limit) {
            self.touched.remove(name);
            self.load_file(name, changes);
        }
        let more = names.len() > limit;
        self.complete |= !more;
        more
    }

    /// Everything that an operator should know about files and objects.
    pub fn problems(&self) -> BTreeSet<Problem> {
        let files = self.files.values().flat_map(|file| file.bad.iter().chain(&file.remarks)).cloned();
        files.chain(self.catalog.duplicates()).chain(self.gone.clone()).collect()
    }

    /// Whether a file of the first load has not been understood yet: what is missing may be in it.
    pub fn is_partial(&self) -> bool {
        self.files.values().any(|file| file.unknown)
    }

    /// Whether every file has been looked at once.
    pub fn is_synced(&self) -> bool {
        self.complete
    }

    /// How many files there are.
    pub fn file_count(&self) -> usize {
        self.files.len()
    }

    /// The file and line of a service.
    pub fn service_place(&self, name: &ObjectName) -> Option<(&str, u64)> {
        self.catalog.service_place(name)
    }

    /// The file and line of a slice.
    pub fn slice_place(&self, name: &ObjectName) -> Option<(&str, u64)> {
        self.catalog.slice_place(name)
    }

    fn add_watch(&mut self) -> io::Result<()> {
        let mask = WatchMask::CLOSE_WRITE
            | WatchMask::MODIFY
            | WatchMask::ATTRIB
            | WatchMask::CREATE
            | WatchMask::DELETE
            | WatchMask::MOVED_TO
            | WatchMask::MOVED_FROM
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF
            | WatchMask::ONLYDIR;
        let watch = self.inotify.get_ref().watches().add(&self.path, mask)?;
        if let Some(old) = self.watch.replace(watch.clone())
            && old != watch
        {
            // The directory that stood here before; the kernel may have dropped the watch by itself.
            _ = self.inotify.get_ref().watches().remove(old);
        }
        Ok(())
    }

    /// Takes in all events that are there.
    fn drain(&mut self) -> Result<()> {
        let mut buffer = [0; 16 << 10];
        loop {
            let events: Vec<_> = match self.inotify.get_mut().read_events(&mut buffer) {
                Ok(events) => events.map(|event| event.to_owned()).collect(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("read inotify events"),
            };
            if events.is_empty() {
                break;
            }
            for event in events {
                let current = self.watch.as_ref() == Some(&event.wd);
                if event.mask.contains(EventMask::Q_OVERFLOW) {
                    self.rescan = true;
                } else if current {
                    let name = event.name.as_deref().map(|name| name.to_string_lossy().into_owned());
                    self.note(event.mask, name);
                }
            }
        }
        // All was read, so the readiness that brought us here is used up.
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        if let std::task::Poll::Ready(Ok(mut guard)) = self.inotify.poll_read_ready(&mut context) {
            guard.clear_ready();
        }
        Ok(())
    }

    fn note(&mut self, mask: EventMask, name: Option<String>) {
        if mask.intersects(EventMask::DELETE_SELF | EventMask::MOVE_SELF | EventMask::IGNORED | EventMask::UNMOUNT) {
            self.gone.get_or_insert_with(|| gone(&self.path));
        }
        let Some(name) = name else { return };
        if name.starts_with("..") {
            // `..data` and `..2026_11_23…` of a mounted ConfigMap: every file may now lead elsewhere.
            self.rescan = true;
        } else if is_ours(&name) {
            let written = mask.intersects(EventMask::MODIFY | EventMask::CREATE) && !self.is_link(&name);
            let touched = if written { Touched::Writing(Instant::now()) } else { Touched::Done };
            self.touched.insert(name, touched);
        }
    }

    /// Whether a new name came with its content: a symlink, or a hard link to a file that exists.
    fn is_link(&self, name: &str) -> bool {
        fs::symlink_metadata(self.path.join(name)).is_ok_and(|meta| meta.is_symlink() || meta.nlink() > 1)
    }

    fn abandoned_at(&self) -> Option<Instant> {
        let since = self.touched.values().filter_map(|touched| match touched {
            Touched::Writing(since) => Some(*since + ABANDONED),
            Touched::Done => None,
        });
        since.min()
    }

    /// The directory may be back, or another one may stand in its place.
    fn look_again(&mut self) {
        if self.add_watch().is_ok() {
            self.gone = None;
            self.rescan = true;
        }
    }

    /// Finds files that are new, changed or gone.
    fn compare(&mut self, changes: &mut Vec<Change>) {
        let names: BTreeSet<String> = match fs::read_dir(&self.path) {
            Ok(entries) => entries
                .flatten()
                .filter_map(|entry| entry.file_name().into_string().ok())
                .filter(|n| is_ours(n))
                .collect(),
            Err(_) => {
                self.gone.get_or_insert_with(|| gone(&self.path));
                return;
            }
        };
        let known: Vec<String> = self.files.keys().filter(|name| !names.contains(*name)).cloned().collect();
        for name in known {
            self.touched.remove(&name);
            self.forget(&name, changes);
        }
        for name in names {
            let stamp = fs::metadata(self.path.join(&name)).ok().map(|meta| stamp(&meta));
            let same = self.files.get(&name).is_some_and(|file| file.stamp.is_some() && file.stamp == stamp);
            if !same {
                self.touched.entry(name).or_insert(Touched::Done);
            }
        }
    }

    fn load_file(&mut self, name: &str, changes: &mut Vec<Change>) {
        let read = read(&self.path.join(name));
        if self.drain().is_ok() && self.touched.contains_key(name) {
            // Touched while we read it, or before: its writer will tell when it is done.
            return;
        }
        let (stamp, outcome) = match read {
            Ok((stamp, text)) => (Some(stamp), parse(name, &text, &mut self.rules)),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.is_link(name) => {
                self.forget(name, changes);
                return;
            }
            Err(error) => {
                let text = format!("cannot be read: {error}");
                let severity = Severity::Error;
                (None, Err(Problem { file: name.to_owned(), line: 0, column: 0, severity, text }))
            }
        };
        let file = self.files.entry(name.to_owned()).or_default();
        file.stamp = stamp;
        match outcome {
            Ok(mut objects) => {
                for text in &objects.ignored {
                    tracing::debug!(file = name, "ignored: {text}");
                }
                file.remarks = std::mem::take(&mut objects.remarks);
                (file.good, file.unknown, file.bad) = (true, false, None);
                changes.extend(self.catalog.replace(name, objects));
            }
            Err(mut problem) => {
                let follows = if file.good { "keeps its last good state" } else { "has no good state yet" };
                problem.text = format!("{}. The file is not used, it {follows}", problem.text);
                file.unknown |= !file.good && !self.complete;
                file.bad = Some(problem);
            }
        }
    }

    fn forget(&mut self, name: &str, changes: &mut Vec<Change>) {
        if self.files.remove(name).is_some() {
            changes.extend(self.catalog.replace(name, Objects::default()));
        }
    }
}

fn gone(path: &Path) -> Problem {
    let text =
        format!("the source directory {} is gone; what it said last stays in force until it is back", path.display());
    Problem { file: String::new(), line: 0, column: 0, severity: Severity::Error, text }
}
