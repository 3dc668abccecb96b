//! The container's namespace as every plugin opens it, and the kernel's errors as every plugin tells them.

use fairlead_kernel::Error;
use fairlead_kernel::netns::Netns;
use fairlead_protocol::{CniError, Code, Request};

/// The namespace of the request. Errors: code 8 when `CNI_NETNS` is not there or not a network namespace.
pub fn open_netns(request: &Request) -> Result<Netns, CniError> {
    Netns::open(&request.netns).map_err(|error| {
        CniError::new(Code::InvalidNetns, format!("failed to open netns {:?}: {}", request.netns, error.cause))
    })
}

/// The kernel's error as one of ours: code 999, its own words.
pub fn failed(error: Error) -> CniError {
    CniError::internal(error.to_string())
}

/// One error out of many, the first in front.
pub fn all_well(troubles: Vec<String>) -> Result<(), CniError> {
    if troubles.is_empty() { Ok(()) } else { Err(CniError::internal(troubles.join("; "))) }
}

/// What is not there need not be removed.
pub fn absent_is_done(error: Error) -> Result<(), Error> {
    if error.is_not_found() { Ok(()) } else { Err(error) }
}
