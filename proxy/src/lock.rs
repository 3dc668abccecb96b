//! Locks that a process which is just dying may still hold: a killed proxy gives its memory back first, then its locks, and
//! whoever starts the next one at once should not be told that the old one runs.

use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;

/// How long the end of another proxy is waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often is looked.
const PAUSE: Duration = Duration::from_millis(20);

/// Tries again as long as the lock is held, but not for long.
pub fn take<T>(mut attempt: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    let start = Instant::now();
    loop {
        match attempt() {
            Err(Errno::EAGAIN | Errno::EACCES) if start.elapsed() < PATIENCE => sleep(PAUSE),
            outcome => return outcome,
        }
    }
}
