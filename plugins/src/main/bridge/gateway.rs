//! The bridge as the containers' gateway: its addresses; in a VLAN, those of a helper that is a member of it.

use fairlead_kernel::link::{self, Link, VethEnd, VethPair};
use fairlead_kernel::netlink::Socket;
use fairlead_kernel::{Mac, addr, sysctl};
use fairlead_protocol::CniError;
use ipnet::IpNet;

use super::config::Config;
use super::plan::Plan;
use crate::container::failed;
use crate::owner;

/// Gives the gateways' addresses to the link that has them. `None`: there are none.
pub fn ensure(config: &Config, plan: &Plan, bridge: &Link, host: &mut Socket) -> Result<Option<Link>, CniError> {
    if plan.gateways.is_empty() {
        return Ok(None);
    }
    let link = if config.vlans.native.is_some() { ensure_helper(config, bridge, host)? } else { bridge.clone() };
    let have: Vec<IpNet> = addr::list(host, link.index).map_err(failed)?.into_iter().map(|found| found.net).collect();
    let mut changed = false;
    for gateway in plan.gateways.iter().filter(|gateway| !have.contains(gateway)) {
        for conflict in conflicts(gateway, &have, &plan.gateways) {
            if !config.force_address {
                let text = format!("{:?} already has an IP address different from {gateway}", link.name);
                let advice = format!("it has {conflict}: remove that, or set forceAddress");
                return Err(CniError::internal(text).with_details(advice));
            }
            match addr::delete(host, link.index, *conflict) {
                Err(error) if !error.is_not_found() => return Err(failed(error)),
                _ => {}
            }
        }
        match addr::add(host, link.index, *gateway) {
            // Another ADD was faster.
            Err(error) if error.is_exists() => {}
            other => other.map_err(failed)?,
        }
        changed = true;
    }
    if let (true, Some(mac)) = (changed, link.mac) {
        pin(host, &link, mac)?;
    }
    Ok(Some(link))
}

/// A pair of which one end has the gateway's addresses and the other is a port in the VLAN. It is the network's: it stays
/// when the container goes, as the bridge does.
fn ensure_helper(config: &Config, bridge: &Link, host: &mut Socket) -> Result<Link, CniError> {
    let name = config.gateway_name();
    let mut found = link::get_by_name(host, &name);
    if found.as_ref().is_err_and(fairlead_kernel::Error::is_not_found) {
        make_helper(&name, bridge, host)?;
        found = link::get_by_name(host, &name);
    }
    let helper = found.map_err(failed)?;
    let port = match helper.peer.filter(|_| helper.is("veth")).map(|index| link::get_by_index(host, index)) {
        Some(Ok(port)) if port.master == Some(bridge.index) => port,
        Some(Err(error)) if !error.is_not_found() => return Err(failed(error)),
        _ => {
            let text = format!("{name:?} already exists but is not the gateway of a VLAN of {:?}", config.bridge);
            return Err(CniError::internal(text).with_details("remove it, or call the bridge by another name"));
        }
    };
    // Also for one that was there: whoever made it may have been stopped half way.
    config.vlans.of_gateway().apply(port.index, host)?;
    for link in [&port, &helper] {
        let _ = sysctl::set_if_present(&format!("net/ipv6/conf/{}/accept_ra", link.name), "0");
    }
    if !helper.is_up() {
        // As for the bridge itself: a tentative link-local address would keep it from finding neighbours.
        let _ = sysctl::set_if_present(&format!("net/ipv6/conf/{name}/accept_dad"), "0");
        link::set_up(host, helper.index).map_err(failed)?;
    }
    Ok(helper)
}

fn make_helper(name: &str, bridge: &Link, host: &mut Socket) -> Result<(), CniError> {
    // Derived from what it is for, so that two ADDs at once cannot make two.
    for port in owner::host_ends(name) {
        let here = VethEnd { name: port, mac: Some(Mac::random()), mtu: Some(bridge.mtu), up: true };
        let there = VethEnd { name: name.to_owned(), mac: Some(Mac::random()), mtu: Some(bridge.mtu), up: false };
        let pair = VethPair { here, master: Some(bridge.index), there, netns: None };
        match link::create_veth(host, &pair) {
            Ok(_) => return Ok(()),
            Err(error) if error.is_exists() => match link::get_by_name(host, name) {
                // Another ADD was faster.
                Ok(_) => return Ok(()),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(failed(error)),
            },
            Err(error) => return Err(failed(error)),
        }
    }
    Err(CniError::internal(format!("failed to create vlan gateway {name:?}: failed to find a unique veth name")))
}

/// A bridge that somebody else made takes the least of its ports' hardware addresses, until one is set.
fn pin(host: &mut Socket, link: &Link, mac: Mac) -> Result<(), CniError> {
    // Its own may have changed since it was read, with a port that came or went: that one is pinned then.
    let now = link::get_by_index(host, link.index).ok().and_then(|link| link.mac).unwrap_or(mac);
    link::set_mac(host, link.index, now).map_err(failed)
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
