//! CHECK: the plan compared with the kernel. Every drift is named, not only the first.

use fairlead_kernel::link::{self, Link, LinkFlags};
use fairlead_kernel::netlink::Socket;
use fairlead_kernel::nft::Nftables;
use fairlead_kernel::{addr, route, sysctl};
use fairlead_protocol::{CniError, CniResult, Request};
use ipnet::IpNet;

use super::config::Config;
use super::{gateway, plan};
use crate::container::{all_well, failed};
use crate::doors::Doors;
use crate::owner;

/// Compares. Errors: code 999 with all drifts; the configuration's own.
pub fn check(request: &Request, config: &Config) -> Result<(), CniError> {
    let previous = request.prev_result()?.ok_or_else(|| CniError::config("Required prevResult missing"))?;
    let mut doors = Doors::open(request)?;
    let mut drifts = Vec::new();
    let bridge = check_bridge(config, &previous, &mut doors.host, &mut drifts)?;
    if let Some(container) = check_container(request, &previous, &mut doors.pod, &mut drifts)? {
        check_port(config, &container, bridge.as_ref(), &mut doors.host, &mut drifts)?;
        check_addresses(&previous, &container, &mut doors.pod, &mut drifts)?;
    }
    if let (Some(bridge), true) = (&bridge, config.is_gateway) {
        check_gateways(&previous, bridge, &mut doors.host, &mut drifts)?;
    }
    if config.ip_masq {
        check_masquerade(request, &previous, &mut drifts)?;
    }
    all_well(drifts)
}

fn check_bridge(
    config: &Config,
    previous: &CniResult,
    host: &mut Socket,
    drifts: &mut Vec<String>,
) -> Result<Option<Link>, CniError> {
    let bridge = match link::get_by_name(host, &config.bridge) {
        Ok(bridge) => bridge,
        Err(error) if error.is_not_found() => {
            drifts.push(format!("bridge {} is not there", config.bridge));
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    };
    if !bridge.is("bridge") {
        drifts.push(format!("{} is not a bridge", config.bridge));
    }
    let said = previous.interfaces.iter().find(|one| one.name == config.bridge && one.sandbox.is_empty());
    compare_mac(&bridge, said.map(|one| &one.mac[..]), drifts);
    if config.promiscuous && !bridge.flags.contains(LinkFlags::Promisc) {
        drifts.push(format!("bridge {} is not in promiscuous mode", config.bridge));
    }
    if !bridge.is_up() {
        drifts.push(format!("bridge {} is down", config.bridge));
    }
    Ok(Some(bridge))
}

fn check_container(
    request: &Request,
    previous: &CniResult,
    pod: &mut Socket,
    drifts: &mut Vec<String>,
) -> Result<Option<Link>, CniError> {
    let said = previous.interfaces.iter().find(|one| one.name == request.ifname && !one.sandbox.is_empty());
    if said.is_none() {
        drifts.push(format!("prevResult has no interface {} of the container", request.ifname));
    }
    let container = match link::get_by_name(pod, &request.ifname) {
        Ok(container) => container,
        Err(error) if error.is_not_found() => {
            drifts.push(format!("interface {} is not there in the container", request.ifname));
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    };
    if !container.is("veth") {
        drifts.push(format!("interface {} of the container is not a veth", request.ifname));
    }
    compare_mac(&container, said.map(|one| &one.mac[..]), drifts);
    Ok(Some(container))
}

fn compare_mac(link: &Link, said: Option<&str>, drifts: &mut Vec<String>) {
    let now = link.mac.map(|mac| mac.to_string()).unwrap_or_default();
    if let Some(said) = said.filter(|said| !said.is_empty() && !said.eq_ignore_ascii_case(&now)) {
        drifts.push(format!("{} has the hardware address {now}, not {said}", link.name));
    }
}

fn check_port(
    config: &Config,
    container: &Link,
    bridge: Option<&Link>,
    host: &mut Socket,
    drifts: &mut Vec<String>,
) -> Result<(), CniError> {
    let port = match container.peer.map(|index| link::get_by_index(host, index)) {
        Some(Ok(port)) if port.is("veth") => port,
        Some(Err(error)) if !error.is_not_found() => return Err(failed(error)),
        _ => {
            drifts.push(format!("the host's end of {} is not there", container.name));
            return Ok(());
        }
    };
    if bridge.is_some_and(|bridge| port.master != Some(bridge.index)) {
        drifts.push(format!("{} is not a port of {}", port.name, config.bridge));
    }
    let settings = port.port.map(|settings| (settings.hairpin, settings.isolated)).unwrap_or_default();
    for (name, is, wanted) in [("hairpin", settings.0, config.hairpin), ("isolated", settings.1, config.isolated)] {
        if is != wanted {
            drifts.push(format!("{} has {name} {}", port.name, if is { "on" } else { "off" }));
        }
    }
    Ok(())
}

fn check_addresses(
    previous: &CniResult,
    container: &Link,
    pod: &mut Socket,
    drifts: &mut Vec<String>,
) -> Result<(), CniError> {
    let have: Vec<IpNet> = addr::list(pod, container.index).map_err(failed)?.into_iter().map(|one| one.net).collect();
    for ip in previous.ips.iter().filter(|ip| !have.contains(&ip.address)) {
        drifts.push(format!("{} has no address {}", container.name, ip.address));
    }
    let routes = route::list(pod, 0).map_err(failed)?;
    for said in &previous.routes {
        let table = said.table.filter(|table| *table != 0).unwrap_or(route::TABLE_MAIN);
        // Of a default route only its being there is asked: a later plugin of the list may have changed the way.
        let found = routes.iter().any(|one| {
            let same_way = said.is_default() || said.gw.is_none() || one.gateway == said.gw;
            one.destination.trunc() == said.dst.trunc() && one.table == table && same_way
        });
        if !found {
            let way = said.gw.map(|gateway| format!(" via {gateway}")).unwrap_or_default();
            drifts.push(format!("{} has no route {}{way}", container.name, said.dst));
        }
    }
    Ok(())
}

fn check_gateways(
    previous: &CniResult,
    bridge: &Link,
    host: &mut Socket,
    drifts: &mut Vec<String>,
) -> Result<(), CniError> {
    let have: Vec<IpNet> = addr::list(host, bridge.index).map_err(failed)?.into_iter().map(|one| one.net).collect();
    for gateway in plan::gateways(previous).iter().filter(|gateway| !have.contains(gateway)) {
        drifts.push(format!("bridge {} has no address {gateway}", bridge.name));
    }
    for (family, key) in gateway::FORWARDING {
        if previous.ips.iter().any(|ip| family(&ip.address.addr())) && sysctl::read(key).map_err(failed)? != "1" {
            drifts.push(format!("sysctl {key} is not 1"));
        }
    }
    Ok(())
}

fn check_masquerade(request: &Request, previous: &CniResult, drifts: &mut Vec<String>) -> Result<(), CniError> {
    let mark = owner::mark(&request.name, &request.container_id, &request.ifname);
    let mut nft = Nftables::open().map_err(failed)?;
    for ip in &previous.ips {
        let found = nft.masqueraded_by(ip.address.addr()).map_err(failed)?;
        if !found.is_some_and(|found| owner::is_of(&found, &mark)) {
            drifts.push(format!("{} is not masqueraded", ip.address.addr()));
        }
    }
    Ok(())
}
