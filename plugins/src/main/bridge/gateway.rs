//! The bridge as the containers' gateway: its addresses, and the node's forwarding.

use std::net::IpAddr;

use fairlead_kernel::link::{self, Link};
use fairlead_kernel::netlink::Socket;
use fairlead_kernel::{Mac, addr, sysctl};
use fairlead_protocol::CniError;
use ipnet::IpNet;

use super::config::Config;
use super::plan::Plan;
use crate::container::failed;

/// Whether an address is of a family.
pub type Family = fn(&IpAddr) -> bool;

/// What must be 1 for the node to forward a family.
pub const FORWARDING: [(Family, &str); 2] =
    [(IpAddr::is_ipv4, "net/ipv4/ip_forward"), (IpAddr::is_ipv6, "net/ipv6/conf/all/forwarding")];

/// Gives the bridge the plan's gateways and lets the node forward their families.
pub fn ensure(config: &Config, plan: &Plan, bridge: &Link, host: &mut Socket) -> Result<(), CniError> {
    if plan.gateways.is_empty() {
        return Ok(());
    }
    let have: Vec<IpNet> = addr::list(host, bridge.index).map_err(failed)?.into_iter().map(|found| found.net).collect();
    let mut changed = false;
    for gateway in &plan.gateways {
        if have.contains(gateway) {
            continue;
        }
        for conflict in conflicts(gateway, &have, &plan.gateways) {
            if !config.force_address {
                let text = format!("{:?} already has an IP address different from {gateway}", config.bridge);
                let advice = format!("it has {conflict}: remove that, or set forceAddress");
                return Err(CniError::internal(text).with_details(advice));
            }
            match addr::delete(host, bridge.index, *conflict) {
                Err(error) if !error.is_not_found() => return Err(failed(error)),
                _ => {}
            }
        }
        match addr::add(host, bridge.index, *gateway) {
            // Another ADD was faster.
            Err(error) if error.is_exists() => {}
            other => other.map_err(failed)?,
        }
        changed = true;
    }
    if let (true, Some(mac)) = (changed, bridge.mac) {
        pin(host, bridge, mac)?;
    }
    forward(plan)
}

/// A bridge that somebody else made takes the least of its ports' hardware addresses, until one is set.
fn pin(host: &mut Socket, bridge: &Link, mac: Mac) -> Result<(), CniError> {
    // Its own may have changed since it was read, with a port that came or went: that one is pinned then.
    let now = link::get_by_index(host, bridge.index).ok().and_then(|link| link.mac).unwrap_or(mac);
    link::set_mac(host, bridge.index, now).map_err(failed)
}

/// Addresses that cannot stay beside `gateway`: any other IPv4 address that is not a gateway of the same network, and any
/// IPv6 address of an overlapping subnet.
fn conflicts<'a>(gateway: &IpNet, have: &'a [IpNet], wanted: &[IpNet]) -> Vec<&'a IpNet> {
    let overlaps = |other: &IpNet| other.contains(&gateway.addr()) || gateway.contains(&other.addr());
    let same_family = |other: &IpNet| other.addr().is_ipv4() == gateway.addr().is_ipv4();
    have.iter()
        .filter(|other| same_family(other) && !wanted.contains(other))
        .filter(|other| gateway.addr().is_ipv4() || overlaps(other))
        .collect()
}

fn forward(plan: &Plan) -> Result<(), CniError> {
    for (_, key) in FORWARDING.into_iter().filter(|(family, _)| plan.has(*family)) {
        sysctl::set(key, "1").map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn another_ipv4_address_is_a_conflict_unless_it_is_wanted_too() {
        let have = nets(&["10.1.0.1/16", "10.2.0.1/16", "fd00::1/64"]);
        let wanted = nets(&["10.2.0.1/16", "10.3.0.1/16"]);
        assert_eq!(conflicts(&wanted[1], &have, &wanted), [&have[0]]);
    }

    #[test]
    fn ipv6_addresses_of_other_subnets_stay() {
        let have = nets(&["fd00::9/64", "fd01::1/64", "fe80::1/64"]);
        assert_eq!(conflicts(&nets(&["fd00::1/64"])[0], &have, &[]), [&have[0]]);
    }
}
