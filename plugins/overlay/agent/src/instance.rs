//! One agent a state directory: whoever holds the lock on `<state-dir>/lock`.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// How often the lock is tried, and the pause between: `status` holds it for an instant.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(50);

/// Takes the lock; it is held as long as the file is open.
pub fn lock(state_dir: &Path) -> Result<File> {
    let path = state_dir.join("lock");
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            std::thread::sleep(PAUSE);
        }
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.with_context(|| format!("open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) if is_the_one_at(&file, &path) => return Ok(file),
            // Another one's `cleanup` removed the file between our opening and locking it.
            Ok(()) | Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error).with_context(|| format!("lock {}", path.display())),
        }
    }
    bail!("a fairlead-overlay is running with the state directory {}: stop it first", state_dir.display())
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
        let first = lock(dir.path()).expect("the lock is free");
        assert!(is_running(dir.path()).unwrap());
        assert!(lock(dir.path()).unwrap_err().to_string().contains("is running"));
        drop(first);
        assert!(!is_running(dir.path()).unwrap());
        lock(dir.path()).expect("free again");
    }
}
