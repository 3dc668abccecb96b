//! The configuration file: read whole, and watched.
//!
//! The directory is watched, not the file: editors replace a file, and a mounted ConfigMap is a chain of links of which the
//! middle one is swapped. After any event the file is read, and only another content than before is a change.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use inotify::{Inotify, WatchMask};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, timeout_at};

/// Bytes that a configuration has at most.
const MOST: u64 = 1 << 20;
/// A file is looked at when nothing has happened to it for this long, for writers take several steps …
const QUIET: Duration = Duration::from_millis(20);
/// … or the first thing happened this long ago: a directory in which somebody always writes must not hide a change.
const BURST: Duration = Duration::from_millis(500);

/// The text of a configuration file.
pub fn read(path: &Path) -> Result<String> {
    let mut text = String::new();
    let file = File::open(path).context("open it")?;
    if !file.metadata().context("look at it")?.is_file() {
        bail!("it is no regular file");
    }
    file.take(MOST + 1).read_to_string(&mut text).context("read it")?;
    if text.len() as u64 > MOST {
        bail!("it has more than {} KiB, which no configuration has", MOST >> 10);
    }
    Ok(text)
}

/// A file under watch.
#[derive(Debug)]
pub struct Watched {
    path: PathBuf,
    inotify: AsyncFd<Inotify>,
    /// What was last seen: the text, or why there was none.
    seen: Result<String, String>,
    /// The first and the last event since then.
    touched: Option<(Instant, Instant)>,
}

impl Watched {
    /// Starts to watch. To be called before the file is read for use, so that no change is missed. Needs a running tokio.
    pub fn open(path: &Path) -> Result<Self> {
        let inotify = Inotify::init().context("make an inotify instance (see fs.inotify.max_user_instances)")?;
        #[expect(
            deprecated,
            reason = "its replacement is unsafe, for types that lie about their descriptor; Inotify does not"
        )]
        let inotify = AsyncFd::new(inotify).context("register the inotify instance")?;
        let mut watched = Self { path: path.to_owned(), inotify, seen: Err(String::new()), touched: None };
        watched.add_watches();
        watched.seen = watched.look();
        Ok(watched)
    }

    /// Waits until the file has another content than before, or can no longer be read. May be dropped and called again at any
    /// time.
    pub async fn changed(&mut self) -> Result<()> {
        loop {
            let deadline = self.touched.map(|(first, last)| (last + QUIET).min(first + BURST));
            let event = match deadline {
                Some(deadline) if deadline <= Instant::now() => None,
                Some(deadline) => timeout_at(deadline, self.inotify.readable()).await.ok(),
                None => Some(self.inotify.readable().await),
            };
            match event {
                Some(event) => {
                    drop(event.context("wait for events of the configuration file")?);
                    if self.drain()? {
                        let now = Instant::now();
                        self.touched = Some((self.touched.map_or(now, |(first, _)| first), now));
                    }
                }
                None => {
                    self.touched = None;
                    if self.check() {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Looks now, for whoever does not trust events; says whether the content is another one.
    pub fn check(&mut self) -> bool {
        // The directories at the ends of links may be others now.
        self.add_watches();
        let now = self.look();
        let is_other = now != self.seen;
        self.seen = now;
        is_other
    }

    fn look(&self) -> Result<String, String> {
        read(&self.path).map_err(|error| format!("{error:#}"))
    }

    /// Takes all events that there are; says whether there was one.
    fn drain(&mut self) -> Result<bool> {
        let mut buffer = [0; 4096];
        let mut any = false;
        loop {
            let outcome =
                self.inotify.try_io_mut(Interest::READABLE, |inotify| inotify.read_events(&mut buffer).map(drop));
            match outcome {
                Ok(()) => any = true,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(any),
                Err(error) => return Err(error).context("read events of the configuration file"),
            }
        }
    }

    /// Watches the directories on the way to the file. One that cannot be watched is left: `check` sees what it hides.
    fn add_watches(&mut self) {
        let mask =
            WatchMask::CREATE | WatchMask::MOVE | WatchMask::CLOSE_WRITE | WatchMask::DELETE | WatchMask::ONLYDIR;
        for directory in directories(&self.path) {
            // A directory that is watched already gets the same watch.
            let _ = self.inotify.get_ref().watches().add(directory, mask);
        }
    }
}

/// The directories that hold the file and the links that lead to it.
fn directories(path: &Path) -> BTreeSet<PathBuf> {
    let mut directories = BTreeSet::new();
    let mut at = path.to_owned();
    // No more links than the kernel follows (MAXSYMLINKS, include/linux/namei.h).
    for _ in 0..40 {
        let parent = at.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
        // `..data` of a ConfigMap is a link in the way, not at its end.
        if let Ok(resolved) = fs::canonicalize(&parent) {
            directories.insert(resolved);
        }
        directories.insert(parent.clone());
        match fs::read_link(&at) {
            Ok(target) => at = parent.join(target),
            Err(_) => break,
        }
    }
    directories
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tokio::time::timeout;

    use super::*;

    fn patience() -> Duration {
        let factor = std::env::var("FAIRLEAD_PATIENCE").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
        Duration::from_secs(10) * factor
    }

    async fn expect_change(watched: &mut Watched, what: &str) {
        timeout(patience(), watched.changed()).await.unwrap_or_else(|_| panic!("{what}: not seen")).unwrap();
    }

    #[tokio::test]
    async fn a_change_is_seen_however_it_is_written_and_a_touch_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.yaml");
        fs::write(&path, "one").unwrap();
        let mut watched = Watched::open(&path).unwrap();

        fs::write(&path, "two").unwrap();
        expect_change(&mut watched, "written in place").await;
        fs::write(directory.path().join("new"), "three").unwrap();
        fs::rename(directory.path().join("new"), &path).unwrap();
        expect_change(&mut watched, "replaced").await;
        assert_eq!(watched.seen.as_deref(), Ok("three"));
        // The same content again, and a file beside it: neither is a change, the next one is.
        fs::write(&path, "three").unwrap();
        fs::write(directory.path().join("other"), "").unwrap();
        fs::remove_file(&path).unwrap();
        expect_change(&mut watched, "removed").await;
        assert!(watched.seen.is_err());
        fs::write(&path, "four").unwrap();
        expect_change(&mut watched, "there again").await;
        assert!(!watched.check());
    }

    #[tokio::test]
    async fn the_swap_of_a_mounted_config_map_is_seen() {
        let volume = tempfile::tempdir().unwrap();
        let at = |name: &str| volume.path().join(name);
        fs::create_dir(at("..one")).unwrap();
        fs::write(at("..one/config.conf"), "one").unwrap();
        symlink("..one", at("..data")).unwrap();
        symlink("..data/config.conf", at("config.conf")).unwrap();
        let mut watched = Watched::open(&at("config.conf")).unwrap();

        for (new, old) in [("..two", "..one"), ("..three", "..two")] {
            fs::create_dir(at(new)).unwrap();
            fs::write(at(new).join("config.conf"), new).unwrap();
            symlink(new, at("..data_tmp")).unwrap();
            fs::rename(at("..data_tmp"), at("..data")).unwrap();
            fs::remove_dir_all(at(old)).unwrap();
            expect_change(&mut watched, new).await;
            assert_eq!(watched.seen.as_deref(), Ok(new));
        }
    }

    #[tokio::test]
    async fn no_change_is_lost_by_who_is_always_called_away() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.yaml");
        fs::write(&path, "one").unwrap();
        let mut watched = Watched::open(&path).unwrap();
        fs::write(&path, "two").unwrap();
        let end = Instant::now() + patience();
        // Never as long as a writer is given to be done.
        while timeout(QUIET / 4, watched.changed()).await.is_err() {
            assert!(Instant::now() < end, "not seen");
        }
        assert_eq!(watched.seen.as_deref(), Ok("two"));
    }

    #[test]
    fn what_cannot_be_a_configuration_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let large = directory.path().join("large");
        fs::write(&large, vec![b' '; (MOST + 1) as usize]).unwrap();
        for (path, words) in [
            (large.as_path(), "more than 1024 KiB"),
            (directory.path(), "no regular file"),
            (Path::new("/nowhere/at/all"), "open it"),
        ] {
            let error = format!("{:#}", read(path).unwrap_err());
            assert!(error.contains(words), "{error}");
        }
    }
}
