//! CHECK: the plan compared with the kernel. Every drift is named, not only the first.

use fairlead_kernel::addr;
use fairlead_kernel::link::{self, BridgePortState, Link, LinkFlags};
use fairlead_kernel::netlink::Socket;
use fairlead_kernel::nft::Nftables;
use fairlead_protocol::{CniError, CniResult, Request};
use ipnet::IpNet;

use super::config::Config;
use super::plan;
use crate::container::{all_well, failed};
use crate::doors::Doors;
use crate::owner;
use crate::veth::{check, forwarding};

/// Compares. Errors: code 999 with all drifts; the configuration's own.
pub fn check(request: &Request, config: &Config) -> Result<(), CniError> {
    let previous = check::previous(request)?;
    let Doors { mut host, mut pod, .. } = Doors::open(request)?;
    let mut drifts = Vec::new();
    let bridge = check_bridge(config, &previous, &mut host, &mut drifts)?;
    let up = !config.container_end_down;
    let container = check::container(request, &previous, up, &mut pod, &mut drifts)?;
    if let Some(container) = &container {
        if let Some(port) = check::host_end(container, config.mtu, &mut host, &mut drifts)? {
            check_port(config, &port, bridge.as_ref(), &mut host, &mut drifts)?;
            if config.spoof_check {
                check_guard(request, &port, container, &mut drifts)?;
            }
        }
        check::addresses_and_routes(&previous, container, &mut pod, &mut drifts)?;
    }
    if let (Some(bridge), true) = (bridge, config.is_gateway) {
        let mac = container.as_ref().and_then(|link| link.mac);
        check_gateway(config, &previous, bridge, mac, &mut host, &mut drifts)?;
    }
    if config.ip_masq {
        check::masquerade(request, &previous, &mut drifts)?;
    }
    all_well(drifts)
}

fn check_bridge(
    config: &Config,
    previous: &CniResult,
    host: &mut Socket,
    drifts: &mut Vec<String>,
) -> Result<Option<Link>, CniError> {
    let Some(bridge) = find(&config.bridge, "bridge", host, drifts)? else { return Ok(None) };
    if !bridge.is("bridge") {
        drifts.push(format!("{} is not a bridge", config.bridge));
    }
    check::mac(&bridge, said(previous, &config.bridge), drifts);
    if config.promiscuous && !bridge.flags.contains(LinkFlags::Promisc) {
        drifts.push(format!("bridge {} is not in promiscuous mode", config.bridge));
    }
    if !bridge.is_up() {
        drifts.push(format!("bridge {} is down", config.bridge));
    }
    if config.vlans.filtered && bridge.filters_vlans != Some(true) {
        drifts.push(format!("bridge {} does not filter VLANs", config.bridge));
    }
    check::deaf(&config.bridge, drifts)?;
    Ok(Some(bridge))
}

fn find(name: &str, what: &str, host: &mut Socket, drifts: &mut Vec<String>) -> Result<Option<Link>, CniError> {
    match link::get_by_name(host, name) {
        Ok(link) => Ok(Some(link)),
        Err(error) if error.is_not_found() => {
            drifts.push(format!("{what} {name} is not there"));
            Ok(None)
        }
        Err(error) => Err(failed(error)),
    }
}

/// The hardware address that the result gave a link of the node.
fn said<'a>(previous: &'a CniResult, name: &str) -> Option<&'a str> {
    let said = previous.interfaces.iter().find(|one| one.name == name && one.sandbox.is_empty());
    said.map(|one| &one.mac[..])
}

fn check_port(
    config: &Config,
    port: &Link,
    bridge: Option<&Link>,
    host: &mut Socket,
    drifts: &mut Vec<String>,
) -> Result<(), CniError> {
    if bridge.is_some_and(|bridge| port.master != Some(bridge.index)) {
        drifts.push(format!("{} is not a port of {}", port.name, config.bridge));
        return Ok(());
    }
    let Some(settings) = port.port else { return Ok(()) };
    for (name, is, wanted) in
        [("hairpin", settings.hairpin, config.hairpin), ("isolated", settings.isolated, config.isolated)]
    {
        if is != wanted {
            drifts.push(format!("{} has {name} {}", port.name, if is { "on" } else { "off" }));
        }
    }
    if settings.state == BridgePortState::Disabled && !config.container_end_down && port.is_up() {
        drifts.push(format!("{} carries no frames: its state is disabled", port.name));
    }
    config.vlans.check(port, host, drifts)
}

/// Frames of strangers' hardware addresses are dropped at the port.
fn check_guard(request: &Request, port: &Link, container: &Link, drifts: &mut Vec<String>) -> Result<(), CniError> {
    let mark = owner::mark(&request.name, &request.container_id, &request.ifname);
    let found = Nftables::open().and_then(|mut nft| nft.protected_on(&port.name)).map_err(failed)?;
    match found.filter(|found| owner::is_of(&found.owner, &mark)) {
        None => drifts.push(format!("{} is not guarded against forged hardware addresses", port.name)),
        Some(found) if Some(found.mac) != container.mac => {
            drifts.push(format!("{} is guarded for {}, not for the container's address", port.name, found.mac));
        }
        Some(_) => {}
    }
    Ok(())
}

fn check_gateway(
    config: &Config,
    previous: &CniResult,
    bridge: Link,
    container: Option<fairlead_kernel::Mac>,
    host: &mut Socket,
    drifts: &mut Vec<String>,
) -> Result<(), CniError> {
    let gateways = plan::gateways(previous);
    let addresses: Vec<IpNet> = previous.ips.iter().map(|ip| ip.address).collect();
    forwarding::check(&addresses, drifts)?;
    let link = match config.vlans.native.filter(|_| !gateways.is_empty()) {
        None => bridge,
        Some(_) => match check_helper(config, previous, &bridge, host, drifts)? {
            Some(helper) => helper,
            None => return Ok(()),
        },
    };
    let have: Vec<IpNet> = addr::list(host, link.index).map_err(failed)?.into_iter().map(|one| one.net).collect();
    for gateway in gateways.iter().filter(|gateway| !have.contains(gateway)) {
        drifts.push(format!("{} has no address {gateway}", link.name));
    }
    check::neighbours(previous, container, &link, host, drifts)
}

fn check_helper(
    config: &Config,
    previous: &CniResult,
    bridge: &Link,
    host: &mut Socket,
    drifts: &mut Vec<String>,
) -> Result<Option<Link>, CniError> {
    let Some(helper) = find(&config.gateway_name(), "the VLAN's gateway", host, drifts)? else { return Ok(None) };
    check::mac(&helper, said(previous, &helper.name), drifts);
    if !helper.is_up() {
        drifts.push(format!("{} is down", helper.name));
    }
    match helper.peer.map(|index| link::get_by_index(host, index)) {
        Some(Ok(port)) if port.master == Some(bridge.index) => {
            config.vlans.of_gateway().check(&port, host, drifts)?;
        }
        Some(Err(error)) if !error.is_not_found() => return Err(failed(error)),
        _ => drifts.push(format!("{} does not lead to {}", helper.name, bridge.name)),
    }
    Ok(Some(helper))
}
