//! Sysctls of the calling thread's network namespace: read first, written only if they differ.
//!
//! `/proc/sys` is often read-only in containers; what is right already needs no writing. To reach another namespace's, go
//! there with [`crate::netns::Netns::enter`].

use std::fs;
use std::path::PathBuf;

use nix::sys::statvfs::{FsFlags, statvfs};

use crate::error::{Error, Result};

/// The value of a key such as `net/ipv4/ip_forward`, without the line's end. Errors: [`Error::is_not_found`] if the kernel
/// has no such key (no IPv6, no such interface).
pub fn read(key: &str) -> Result<String> {
    let text = fs::read_to_string(path(key)).map_err(|error| Error::new("read sysctl", key, error))?;
    Ok(text.trim_end().to_owned())
}

/// Makes the key have the value; says whether it had to be written. Errors: [`Error::is_not_found`] as [`read`].
pub fn set(key: &str, value: &str) -> Result<bool> {
    if read(key)? == value {
        return Ok(false);
    }
    write(key, value)?;
    Ok(true)
}

/// Writes the key, whatever it has now: a write can have an effect of its own (`route/flush`, or `conf/all/disable_ipv6`,
/// which reaches every interface). Errors: [`Error::is_not_found`] as [`read`].
pub fn write(key: &str, value: &str) -> Result<()> {
    fs::write(path(key), value).map_err(|error| Error::new("write sysctl", format_args!("{key} = {value}"), error))
}

/// Whether `/proc/sys` is mounted so that nothing can be written.
pub fn is_read_only() -> Result<bool> {
    let mounted = statvfs("/proc/sys").map_err(|errno| Error::new("look at", "/proc/sys", errno))?;
    Ok(mounted.flags().contains(FsFlags::ST_RDONLY))
}

/// [`set`], where a key that the kernel does not have is no error.
pub fn set_if_present(key: &str, value: &str) -> Result<bool> {
    match set(key, value) {
        Err(error) if error.is_not_found() => Ok(false),
        other => other,
    }
}

/// Slashes, because interface names may hold dots.
fn path(key: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(key)
}
