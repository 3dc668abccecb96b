//! The node forwards what its containers send.

use std::net::IpAddr;

use fairlead_kernel::sysctl;
use fairlead_protocol::CniError;
use ipnet::IpNet;

use super::routes::{Family, has};
use crate::container::failed;

/// What must be 1 for the node to forward a family.
const FORWARDING: [(Family, &str); 2] =
    [(IpAddr::is_ipv4, "net/ipv4/ip_forward"), (IpAddr::is_ipv6, "net/ipv6/conf/all/forwarding")];

/// Lets the node forward the families of these addresses. Written only where it is not so: `/proc/sys` may be read-only.
pub fn ensure(addresses: &[IpNet]) -> Result<(), CniError> {
    for (_, key) in FORWARDING.into_iter().filter(|(family, _)| has(addresses, *family)) {
        sysctl::set(key, "1").map_err(failed)?;
    }
    Ok(())
}

/// What CHECK says of it.
pub fn check(addresses: &[IpNet], drifts: &mut Vec<String>) -> Result<(), CniError> {
    for (_, key) in FORWARDING.into_iter().filter(|(family, _)| has(addresses, *family)) {
        if sysctl::read(key).map_err(failed)? != "1" {
            drifts.push(format!("sysctl {key} is not 1"));
        }
    }
    Ok(())
}
