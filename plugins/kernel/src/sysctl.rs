//! Sysctls of the calling thread's network namespace: read first, written only if they differ.
//!
//! `/proc/sys` is often read-only in containers; what is right already needs no writing. To reach another namespace's, go
//! there with [`crate::netns::Netns::enter`].

use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;

use nix::sys::statvfs::{FsFlags, statvfs};

use crate::error::{Error, Result};

/// The value of a key such as `net/ipv4/ip_forward`, without the line's end. Errors: [`Error::is_not_found`] if the kernel
/// has no such key (no IPv6, no such interface).
pub fn read(key: &str) -> Result<String> {
    let fail = |error| Error::new("read sysctl", key, error);
    let mut file = File::open(path(key)).map_err(fail)?;
    // A sysctl gives all it has at once (proc_sys_call_handler, fs/proc/proc_sysctl.c): a short read is the last.
    let mut buffer = [0; 512];
    let mut text = Vec::new();
    loop {
        let length = file.read(&mut buffer).map_err(fail)?;
        text.extend(&buffer[..length]);
        if length < buffer.len() {
            return Ok(String::from_utf8_lossy(&text).trim_end().to_owned());
        }
    }
}

/// Makes the key have the value; says whether it had to be written. Errors: [`Error::is_not_found`] as [`read`].
pub fn set(key: &str, value: &str) -> Result<bool> {
    if read(key)? == value {
        return Ok(false);
    }
    write(key, value)?;
    Ok(true)
}

/// Makes a key have the value that it most likely has not, as one of an interface that was just made: written first, and
/// read only if that cannot be done. A key that the kernel does not have is no error.
pub fn put_if_present(key: &str, value: &str) -> Result<()> {
    match write(key, value) {
        Err(error) if error.is_not_found() => Ok(()),
        // Read-only, and right as it is.
        Err(_) if read(key).is_ok_and(|now| now == value) => Ok(()),
        other => other,
    }
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
