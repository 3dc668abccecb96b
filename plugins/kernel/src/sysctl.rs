//! Sysctls of the calling thread's network namespace: read first, written only if they differ.
//!
//! `/proc/sys` is often read-only in containers; what is right already needs no writing. To reach another namespace's, go
//! there with [`crate::netns::Netns::enter`].

use std::fs;
use std::path::PathBuf;

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
    fs::write(path(key), value).map_err(|error| Error::new("write sysctl", format_args!("{key} = {value}"), error))?;
    Ok(true)
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
