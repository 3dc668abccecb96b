//! One agent a state directory: whoever holds the lock on `<state-dir>/lock`. The file also remembers which directories were
//! made for the agent, one a line: it is the first thing there, so that `cleanup` knows whenever the agent was killed.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// How often the lock is tried, and the pause between: `status` holds it for an instant, and an agent that was just killed
/// until the kernel has taken it apart.
const ATTEMPTS: u32 = 30;
const PAUSE: Duration = Duration::from_millis(50);

/// The lock, held as long as this lives.
#[derive(Debug)]
pub struct Instance {
    file: File,
    path: PathBuf,
}

impl Instance {
    /// Takes the lock.
    pub fn lock(state_dir: &Path) -> Result<Instance> {
        let path = state_dir.join("lock");
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                std::thread::sleep(PAUSE);
            }
            let file = File::options().read(true).append(true).create(true).open(&path);
            let file = file.with_context(|| format!("open {}", path.display()))?;
            match file.try_lock() {
                Ok(()) if is_the_one_at(&file, &path) => return Ok(Instance { file, path }),
                // Another one's `cleanup` removed the file between our opening and locking it.
                Ok(()) | Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("lock {}", path.display()));
                }
            }
        }
        bail!("a fairlead-overlay is running with the state directory {}: stop it first", state_dir.display())
    }

    /// Remembers directories that were made.
    pub fn remember(&mut self, made: &[PathBuf]) -> Result<()> {
        let lines: Vec<u8> = made.iter().flat_map(|path| [path.as_os_str().as_bytes(), b"\n"].concat()).collect();
        self.file.write_all(&lines).with_context(|| format!("write {}", self.path.display()))
    }

    /// The directories that were made, in this life and those before.
    pub fn remembered(&mut self) -> Result<Vec<PathBuf>> {
        let mut text = Vec::new();
        let read = self.file.seek(SeekFrom::Start(0)).and_then(|_| self.file.read_to_end(&mut text));
        read.with_context(|| format!("read {}", self.path.display()))?;
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        Ok(lines.map(|line| OsString::from_vec(line.to_vec()).into()).collect())
    }
}

/// Whether somebody holds the lock.
pub fn is_running(state_dir: &Path) -> Result<bool> {
    let path = state_dir.join("lock");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error).with_context(|| format!("open {}", path.display())),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("look at the lock {}", path.display())),
    }
}

fn is_the_one_at(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(there)) = (file.metadata(), path.metadata()) else { return false };
    (open.dev(), open.ino()) == (there.dev(), there.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_instance_is_refused_until_the_first_is_gone() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(!is_running(dir.path()).unwrap());
        let mut first = Instance::lock(dir.path()).expect("the lock is free");
        first.remember(&[dir.path().to_owned()]).expect("written");
        assert!(is_running(dir.path()).unwrap());
        assert!(Instance::lock(dir.path()).unwrap_err().to_string().contains("is running"));
        drop(first);
        assert!(!is_running(dir.path()).unwrap());
        let mut second = Instance::lock(dir.path()).expect("free again");
        second.remember(&["/a".into(), "/a/b".into()]).expect("written");
        assert_eq!(second.remembered().expect("read"), [dir.path(), "/a".as_ref(), "/a/b".as_ref()]);
    }
}
