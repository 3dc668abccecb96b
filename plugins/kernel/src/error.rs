//! What went wrong at the door: the deed, the object, and what the kernel said about it.

use std::fmt;
use std::io;

pub use nix::errno::Errno;

/// An operation on the kernel that failed: *set link cni0 up: Operation not permitted (EPERM)*.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What was being done, without its object: `create bridge`.
    pub doing: &'static str,
    /// What it was done to: `cni0`, `10.1.0.0/16 via 10.0.0.2 dev cni0`.
    pub object: String,
    /// Why it failed.
    pub cause: Cause,
}

/// The reason behind an [`Error`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The kernel refused with an errno; `explanation` is its extended-ack text where it gave one.
    Refused {
        /// Positive errno.
        errno: Errno,
        /// Text of `NLMSGERR_ATTR_MSG`.
        explanation: Option<String>,
    },
    /// The path is there but is not a network namespace; the text says what it is instead.
    NotANamespace(String),
    /// A dump was flagged `NLM_F_DUMP_INTR` each of this many times.
    DumpInterrupted {
        /// How often the dump was tried.
        attempts: u32,
    },
    /// The kernel's answer did not have the expected form, or did not come.
    Unexpected(String),
}

/// Result of an operation on the kernel.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of the deed `doing` done to `object`.
    pub fn new(doing: &'static str, object: impl fmt::Display, cause: impl Into<Cause>) -> Error {
        Error { doing, object: object.to_string(), cause: cause.into() }
    }

    /// The errno, if the kernel gave one.
    pub fn errno(&self) -> Option<Errno> {
        self.cause.errno()
    }

    /// The object is there already (EEXIST).
    pub fn is_exists(&self) -> bool {
        self.errno() == Some(Errno::EEXIST)
    }

    /// The object is not there: no such file, device, process (the kernel's word for a route) or address.
    pub fn is_not_found(&self) -> bool {
        self.cause.is_not_found()
    }

    /// The path was there but was no network namespace.
    pub fn is_not_a_namespace(&self) -> bool {
        matches!(self.cause, Cause::NotANamespace(_))
    }
}

impl Cause {
    /// The errno, if the kernel gave one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Cause::Refused { errno, .. } => Some(*errno),
            Cause::NotANamespace(_) | Cause::DumpInterrupted { .. } | Cause::Unexpected(_) => None,
        }
    }

    /// See [`Error::is_not_found`].
    pub fn is_not_found(&self) -> bool {
        matches!(self.errno(), Some(Errno::ENOENT | Errno::ENODEV | Errno::ESRCH | Errno::EADDRNOTAVAIL | Errno::ENXIO))
    }
}

impl From<Errno> for Cause {
    fn from(errno: Errno) -> Cause {
        Cause::Refused { errno, explanation: None }
    }
}

impl From<io::Error> for Cause {
    fn from(error: io::Error) -> Cause {
        match error.raw_os_error() {
            Some(code) => Errno::from_raw(code).into(),
            None => Cause::Unexpected(error.to_string()),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.doing, self.object, self.cause)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Refused { errno, explanation: None } => write!(f, "{} ({errno:?})", errno.desc()),
            Cause::Refused { errno, explanation: Some(text) } => write!(f, "{} ({errno:?}): {text}", errno.desc()),
            Cause::NotANamespace(what) => f.write_str(what),
            Cause::DumpInterrupted { attempts } => {
                write!(f, "the list changed while it was read, {attempts} times in a row; try again")
            }
            Cause::Unexpected(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Error {}
impl std::error::Error for Cause {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_deed_object_and_errno() {
        let error = Error::new("set link up", "cni0", Errno::EPERM);
        assert_eq!(error.to_string(), "set link up cni0: Operation not permitted (EPERM)");
        let explained = Cause::Refused { errno: Errno::EINVAL, explanation: Some("Invalid MTU".into()) };
        assert_eq!(explained.to_string(), "Invalid argument (EINVAL): Invalid MTU");
    }

    #[test]
    fn predicates_look_at_the_errno_and_never_at_the_text() {
        for errno in [Errno::ENOENT, Errno::ENODEV, Errno::ESRCH, Errno::EADDRNOTAVAIL] {
            assert!(Error::new("delete", "x", errno).is_not_found(), "{errno}");
        }
        assert!(Error::new("create", "x", Errno::EEXIST).is_exists());
        assert!(!Error::new("create", "x", Cause::Unexpected("File exists".into())).is_exists());
    }
}
