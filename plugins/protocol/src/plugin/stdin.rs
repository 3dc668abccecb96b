//! The configuration from stdin, with a bound.

use std::io::Read;

use crate::{CniError, Code};

/// The most that is read from stdin, in bytes. Real configurations have a few kilobytes; the bound keeps a runtime's
/// mistake from becoming the node's.
pub const STDIN_LIMIT: u64 = 16 << 20;

/// Reads everything. Errors: code 5, when reading fails or the bound is passed.
pub(super) fn read(stdin: &mut dyn Read) -> Result<Vec<u8>, CniError> {
    let mut text = Vec::new();
    stdin
        .take(STDIN_LIMIT + 1)
        .read_to_end(&mut text)
        .map_err(|error| CniError::new(Code::Io, format!("error reading from stdin: {error}")))?;
    if text.len() as u64 > STDIN_LIMIT {
        let msg = "error reading from stdin: the network configuration is larger than 16 MiB, which cannot be right";
        return Err(CniError::new(Code::Io, msg).with_details("nothing was done"));
    }
    Ok(text)
}
