//! flock(2) with an end to the waiting.
//!
//! The kernel queues those who wait, so nobody polls; a timer of this thread ends the wait. It needs a signal: SIGALRM,
//! which gets a handler that does nothing, once and for good. Nobody else in our processes uses it.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::sync::Once;
use std::time::{Duration, Instant};

/// How often the timer rings after the first time: a ring between two calls of flock would be lost.
const AGAIN: Duration = Duration::from_millis(20);

/// Takes the exclusive lock of a file; it is held until every descriptor of this opening is closed. `false`: somebody
/// else still has it after `limit`. Errors: those of flock(2) but EINTR, and of timer_create(2).
pub fn lock_within(file: &File, limit: Duration) -> io::Result<bool> {
    match flock(file, libc::LOCK_EX | libc::LOCK_NB) {
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
        done => return done.map(|()| true),
    }
    let start = Instant::now();
    let _ring = Timer::start(limit)?;
    loop {
        match flock(file, libc::LOCK_EX) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                if start.elapsed() >= limit {
                    return Ok(false);
                }
            }
            done => return done.map(|()| true),
        }
    }
}

fn flock(file: &File, operation: libc::c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open as long as `file` is borrowed, and flock touches no memory of ours.
    if unsafe { libc::flock(file.as_raw_fd(), operation) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Interrupts this thread's system calls from a time on, until it is dropped.
struct Timer(libc::timer_t);

impl Timer {
    fn start(first: Duration) -> io::Result<Timer> {
        listen();
        // SAFETY: all zeros is a valid sigevent; the fields that count are set below.
        let mut event: libc::sigevent = unsafe { MaybeUninit::zeroed().assume_init() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = libc::SIGALRM;
        // SAFETY: gettid has no arguments and cannot fail.
        event.sigev_notify_thread_id = unsafe { libc::gettid() };
        let mut id = MaybeUninit::<libc::timer_t>::uninit();
        // SAFETY: both pointers are to live locals of the right types.
        if unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, id.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: timer_create succeeded, so it has written the id.
        let timer = Timer(unsafe { id.assume_init() });
        // A first time of zero would disarm the timer.
        let first = first.max(Duration::from_millis(1));
        let spec = libc::itimerspec { it_interval: timespec(AGAIN), it_value: timespec(first) };
        // SAFETY: the timer is ours, the pointer is to a live local, and no old value is asked for.
        if unsafe { libc::timer_settime(timer.0, 0, &spec, std::ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(timer)
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: the timer was made by `start` and is deleted once, here.
        unsafe { libc::timer_delete(self.0) };
    }
}

/// Makes SIGALRM interrupt instead of kill. Whoever started us may have blocked it.
fn listen() {
    extern "C" fn nothing(_: libc::c_int) {}
    static HANDLER: Once = Once::new();
    HANDLER.call_once(|| {
        // SAFETY: all zeros is a valid sigaction (no flags, so no SA_RESTART); the handler touches nothing.
        unsafe {
            let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
            action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
            libc::sigaction(libc::SIGALRM, &action, std::ptr::null_mut());
        }
    });
    // SAFETY: a set on the stack, initialised by sigemptyset before it is read; only this thread's mask changes.
    unsafe {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGALRM);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, set.as_ptr(), std::ptr::null_mut());
    }
}

fn timespec(duration: Duration) -> libc::timespec {
    // SAFETY: all zeros is a valid timespec; it is built this way because it has private padding on some targets.
    let mut spec: libc::timespec = unsafe { MaybeUninit::zeroed().assume_init() };
    spec.tv_sec = duration.as_secs() as libc::time_t;
    spec.tv_nsec = libc::c_long::from(duration.subsec_nanos() as i32);
    spec
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_gets_the_lock_or_the_end_of_the_waiting() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = || File::open(file.path()).unwrap();
        let first = open();
        assert!(lock_within(&first, Duration::from_secs(5)).unwrap());
        let (second, limit) = (open(), Duration::from_millis(30));
        let start = Instant::now();
        assert!(!lock_within(&second, limit).unwrap());
        assert!(start.elapsed() >= limit);
        let waiting = std::thread::spawn(move || lock_within(&second, Duration::from_secs(60)).unwrap());
        drop(first);
        assert!(waiting.join().unwrap());
    }
}
