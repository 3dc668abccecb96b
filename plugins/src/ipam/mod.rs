//! Plugins that hand out addresses.

pub mod host_local;
pub mod static_addresses;
