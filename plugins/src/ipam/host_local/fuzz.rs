//! What host-local reads that somebody else may have written, for the fuzzer.

use super::lease::{Lease, Owner, Stamp};
use super::resolv_conf;

pub use super::index::fuzz::pages;

/// A file of the directory.
pub fn lease(bytes: &[u8]) {
    let stamp = Stamp { inode: 1, seconds: 0, nanoseconds: 0 };
    let Some(lease) = Lease::new("10.1.0.2", Some(bytes), stamp) else { return };
    let (container_id, ifname) = lease.parts();
    let owner = Owner { container_id: container_id.to_owned(), ifname: ifname.to_owned() };
    assert!(lease.belongs_to(&owner) || lease.is_nobodys());
    let _ = lease.has_canonical_name();
}

/// A resolver's configuration.
pub fn resolv_conf(bytes: &[u8]) {
    let dns = resolv_conf::parse(&String::from_utf8_lossy(bytes));
    assert!(dns.nameservers.iter().all(|server| !server.contains(char::is_whitespace)));
}
