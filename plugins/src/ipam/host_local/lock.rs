//! The lock of a network's directory: the reference's, with an end to the waiting and a name for who has it.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use fairlead_kernel::lock::lock_within;
use fairlead_protocol::{CniError, Code};
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::directory::Directory;

/// The reference's name for it.
pub const LOCK: &str = "lock";
/// Longest wait. A writer needs a millisecond, hundreds of them a second; runtimes give up after minutes.
pub const LIMIT: Duration = Duration::from_secs(30);

/// What the lock is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To write leases: the file is made when it is not there.
    Lease,
    /// To remove leases: if the file cannot be made (disk full, read-only), the directory itself is locked.
    Release,
    /// To look: nothing is made. Without the file there has been no writer, and no lock is taken.
    Look,
}

/// Takes the lock; it lasts as long as the file that is returned. Errors: code 11.
pub fn take(directory: &Directory, purpose: Purpose, limit: Duration) -> Result<Option<File>, CniError> {
    let path = directory.path().join(LOCK);
    let refused = |error: io::Error| CniError::new(Code::TryAgainLater, format!("lock {}: {error}", path.display()));
    let file = match open(directory, purpose) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound && purpose == Purpose::Look => return Ok(None),
        Err(_) if purpose == Purpose::Release => directory.handle().try_clone().map_err(refused)?,
        Err(error) => return Err(CniError::new(Code::Io, format!("open {}: {error}", path.display()))),
    };
    match lock_within(&file, limit) {
        Ok(true) => Ok(Some(file)),
        Ok(false) => {
            let text = format!("lock {}: not free within {} s", path.display(), limit.as_secs_f32());
            let details = holder(&file).unwrap_or_else(|| "who holds it cannot be told (see /proc/locks)".to_owned());
            Err(CniError::new(Code::TryAgainLater, text).with_details(details))
        }
        Err(error) => Err(refused(error)),
    }
}

fn open(directory: &Directory, purpose: Purpose) -> io::Result<File> {
    let make = if purpose == Purpose::Look { OFlag::empty() } else { OFlag::O_CREAT };
    match directory.file_of_mode(LOCK, OFlag::O_RDWR | make, Mode::from_bits_truncate(0o750)) {
        // On a file system that cannot be written a lock can still be had.
        Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => directory.file(LOCK, OFlag::O_RDONLY),
        opened => opened,
    }
}

/// Who holds the lock of a file, as proc(5) tells it in `/proc/locks`.
fn holder(file: &File) -> Option<String> {
    let found = file.metadata().ok()?;
    let pid = holder_in(&fs::read_to_string("/proc/locks").ok()?, found.dev(), found.ino())?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(format!("it is held by process {pid} ({}): wait for it or end it", name.trim()))
}

/// The process that holds a flock(2) on a file: `1: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF`. Lines with `->` wait.
/// On an overlay the device is that of the layer below, so that the inode has to do when both fit nowhere.
fn holder_in(locks: &str, device: u64, inode: u64) -> Option<u32> {
    let exact = format!("{:02x}:{:02x}:{inode}", nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let of_inode = format!(":{inode}");
    let find = |fits: &dyn Fn(&str) -> bool| {
        locks.lines().find_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [_, "FLOCK", _, _, pid, of, ..] = words[..] else { return None };
            fits(of).then(|| pid.parse().ok().filter(|pid| *pid > 0)).flatten()
        })
    };
    find(&|of| of == exact).or_else(|| find(&|of| of.ends_with(&of_inode)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_is_told_from_who_waits() {
        let locks = "1: POSIX  ADVISORY  WRITE 9 fe:00:77 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 4711 fe:00:77 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 4712 fe:00:77 0 EOF\n";
        let device = nix::sys::stat::makedev(0xfe, 0);
        assert_eq!(holder_in(locks, device, 77), Some(4711));
        assert_eq!(holder_in(locks, device, 7), None);
        assert_eq!(holder_in(locks, nix::sys::stat::makedev(0, 25), 77), Some(4711), "an overlay's device");
    }

    #[test]
    fn a_lock_that_is_not_free_in_time_is_for_later_and_names_its_holder() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::open(root.path()).unwrap();
        assert!(take(&directory, Purpose::Look, LIMIT).unwrap().is_none(), "to look makes nothing");
        let held = take(&directory, Purpose::Lease, LIMIT).unwrap();
        for purpose in [Purpose::Lease, Purpose::Release, Purpose::Look] {
            let error = take(&directory, purpose, Duration::from_millis(20)).unwrap_err();
            assert_eq!(error.code, Code::TryAgainLater);
            assert!(error.msg.contains("not free within 0.02 s"), "{error}");
            assert!(error.details.contains(&format!("process {}", std::process::id())), "{error}");
        }
        drop(held);
        assert!(take(&directory, Purpose::Look, LIMIT).unwrap().is_some());
    }
}
