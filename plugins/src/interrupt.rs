//! SIGTERM, SIGINT and SIGHUP, kept waiting while something is half done.
//!
//! Children do not inherit it: the standard library gives every process it starts an empty signal mask.

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

const ENDING: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];

/// From here on such a signal ends nothing; what was begun is finished. Whoever cannot wait has SIGKILL.
pub fn hold_back() {
    // Without it the process is ended half-way, which every verb must survive anyway.
    let _ = set().thread_block();
}

/// The signals that were held back.
pub struct Interrupts {
    arrived: Option<SignalFd>,
}

impl Interrupts {
    /// Holds them back, and listens.
    pub fn listen() -> Interrupts {
        hold_back();
        Interrupts { arrived: SignalFd::with_flags(&set(), SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).ok() }
    }

    /// The name of a signal that came since the last time.
    pub fn came(&self) -> Option<&'static str> {
        let number = self.arrived.as_ref()?.read_signal().ok()??.ssi_signo;
        Signal::try_from(i32::try_from(number).ok()?).ok().map(Signal::as_str)
    }
}

fn set() -> SigSet {
    ENDING.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_waits_until_it_is_asked_for() {
        let interrupts = Interrupts::listen();
        assert_eq!(interrupts.came(), None);
        nix::sys::signal::raise(Signal::SIGTERM).unwrap();
        assert_eq!((interrupts.came(), interrupts.came()), (Some("SIGTERM"), None));
    }
}
