//! Making the plan true, and taking it back.

use std::net::IpAddr;
use std::time::Duration;

use fairlead_kernel::link::{self, Bridge, BridgePortState, Link, LinkFlags, PortSettings, VethEnd, VethPair};
use fairlead_kernel::neigh::{self, Neighbour};
use fairlead_kernel::netlink::Socket;
use fairlead_kernel::nft::Nftables;
use fairlead_kernel::{Error, Mac, addr, announce as tell, route, sysctl};
use fairlead_protocol::{CniError, CniResult, Interface, Request, delegate};

use super::config::Config;
use super::plan::Plan;
use crate::container::{absent_is_done, failed};
use crate::doors::Doors;
use crate::owner;

/// How long a port may take to carry frames: what the reference waits in all.
const PORT_LIMIT: Duration = Duration::from_millis(2550);

/// How long duplicate address detection may take, as in the reference; the kernel needs one to two seconds.
const DAD_LIMIT: Duration = Duration::from_secs(5);

/// The two ends of the pair.
pub struct Pair {
    /// On the node, a port of the bridge.
    pub host: Link,
    /// In the container.
    pub container: Link,
}

/// What an ADD has made so far. The bridge, its addresses and the node's forwarding are not in it: they are the network's,
/// and another container may lean on them already.
#[derive(Default)]
pub struct Made {
    addresses: bool,
    host_end: Option<String>,
    masqueraded: Vec<IpAddr>,
}

impl Made {
    /// IPAM has given addresses.
    pub fn addresses_taken(&mut self) {
        self.addresses = true;
    }

    /// Masquerades what the container sends beyond its networks.
    pub fn masquerade(&mut self, request: &Request, plan: &Plan) -> Result<(), CniError> {
        let text = owner::text(&request.name, &request.container_id, &request.ifname);
        let mut nft = Nftables::open().map_err(failed)?;
        nft.masquerade(&plan.addresses, &text).map_err(failed)?;
        self.masqueraded = plan.addresses.iter().map(|net| net.addr()).collect();
        Ok(())
    }

    /// Takes everything back, the last first; never stops. What went wrong on the way.
    pub fn undo(self, request: &Request, config: &Config, doors: &mut Doors) -> Vec<String> {
        let mut troubles = Vec::new();
        if !self.masqueraded.is_empty() {
            let mark = owner::mark(&request.name, &request.container_id, &request.ifname);
            let removed = Nftables::open()
                .and_then(|mut nft| nft.unmasquerade(Some(&self.masqueraded), |found| owner::is_of(found, &mark)));
            troubles.extend(removed.err().map(|error| error.to_string()));
        }
        if let Some(name) = self.host_end {
            let removed = link::delete_by_name(&mut doors.host, &name).or_else(absent_is_done);
            troubles.extend(removed.err().map(|error| error.to_string()));
        }
        if self.addresses {
            troubles.extend(delegate::del(&config.ipam, request).err().map(|error| error.to_string()));
        }
        troubles
    }
}

/// The bridge, made if it is not there. Its hardware address is given at birth: otherwise it takes the least of its ports'
/// and changes with them. An existing bridge is taken as it is, but for being up and hearing everything if asked.
pub fn ensure_bridge(host: &mut Socket, config: &Config) -> Result<Link, CniError> {
    let mut found = link::get_by_name(host, &config.bridge);
    if found.as_ref().is_err_and(Error::is_not_found) {
        let new =
            Bridge { name: config.bridge.clone(), mac: Some(Mac::random()), mtu: config.mtu, ..Bridge::default() };
        match link::create_bridge(host, &new) {
            Ok(()) => {}
            // Another ADD was faster.
            Err(error) if error.is_exists() => {}
            Err(error) => return Err(failed(error)),
        }
        found = link::get_by_name(host, &config.bridge);
    }
    let bridge = found.map_err(failed)?;
    if !bridge.is("bridge") {
        return Err(CniError::internal(format!("{:?} already exists but is not a bridge", config.bridge)));
    }
    if config.promiscuous && !bridge.flags.contains(LinkFlags::Promisc) {
        link::set_promiscuous(host, bridge.index, true).map_err(failed)?;
    }
    if !bridge.is_up() {
        // Before it goes up: routers are not listened to, and its own link-local address is not asked for. While that is
        // tentative the kernel solicits no neighbour behind the bridge, for a second or two.
        for key in ["accept_ra", "accept_dad"] {
            let _ = sysctl::set_if_present(&format!("net/ipv6/conf/{}/{key}", config.bridge), "0");
        }
        link::set_up(host, bridge.index).map_err(failed)?;
    }
    Ok(bridge)
}

/// The pair, the host's end up and a port of the bridge, the container's end still down.
pub fn connect(
    request: &Request,
    config: &Config,
    bridge: &Link,
    doors: &mut Doors,
    made: &mut Made,
) -> Result<Pair, CniError> {
    let there = VethEnd {
        name: request.ifname.clone(),
        mac: Some(config.mac.unwrap_or_else(Mac::random)),
        mtu: config.mtu,
        up: false,
    };
    let name = create_pair(request, config, bridge, doors, there)?;
    made.host_end = Some(name.clone());
    let host = link::get_by_name(&mut doors.host, &name).map_err(failed)?;
    let container = link::get_by_name(&mut doors.pod, &request.ifname).map_err(failed)?;
    let alias = owner::text(&request.name, &request.container_id, &request.ifname);
    let port = PortSettings { hairpin: config.hairpin, isolated: config.isolated };
    link::set_alias_and_port(&mut doors.host, host.index, &alias, port).map_err(failed)?;
    // The container does not advertise routes to its node; a kernel without IPv6 has no such key.
    let _ = sysctl::set_if_present(&format!("net/ipv6/conf/{name}/accept_ra"), "0");
    Ok(Pair { host, container })
}

fn create_pair(
    request: &Request,
    config: &Config,
    bridge: &Link,
    doors: &mut Doors,
    there: VethEnd,
) -> Result<String, CniError> {
    let mark = owner::mark(&request.name, &request.container_id, &request.ifname);
    for name in owner::host_ends(&mark) {
        let here = VethEnd { name: name.clone(), mac: Some(Mac::random()), mtu: config.mtu, up: true };
        let pair = VethPair { here, master: Some(bridge.index), there: there.clone(), netns: &doors.netns };
        match link::create_veth(&mut doors.host, &pair) {
            Ok(()) => return Ok(name),
            Err(error) if error.is_exists() => {
                if link::get_by_name(&mut doors.pod, &request.ifname).is_ok() {
                    let text =
                        format!("container veth name ({:?}) peer provided ({name:?}) already exists", request.ifname);
                    return Err(CniError::internal(text));
                }
            }
            Err(error) => return Err(failed(error)),
        }
    }
    Err(CniError::internal("failed to find a unique veth name"))
}

/// The container's side: sysctls, addresses, up, routes.
pub fn furnish(
    request: &Request,
    config: &Config,
    plan: &Plan,
    pair: &Pair,
    doors: &mut Doors,
) -> Result<(), CniError> {
    if config.container_end_down {
        return Ok(());
    }
    let index = pair.container.index;
    if !plan.addresses.is_empty() {
        let sysctls = plan.container_sysctls(config, &request.ifname);
        doors.netns.enter(|| set_all(&sysctls)).map_err(failed)??;
    }
    let flags = if config.dad { addr::Flags::empty() } else { addr::Flags::Nodad };
    for net in &plan.addresses {
        addr::add_with(&mut doors.pod, index, *net, flags).map_err(failed)?;
    }
    link::set_up(&mut doors.pod, index).map_err(failed)?;
    if config.dad && plan.has(IpAddr::is_ipv6) {
        settle(request, index, doors)?;
    }
    for planned in &plan.routes {
        route::add(&mut doors.pod, &planned.on(index)).map_err(failed)?;
    }
    Ok(())
}

/// Who asks for duplicate address detection wants its verdict. An address still in doubt at the end is taken as it is.
fn settle(request: &Request, index: u32, doors: &mut Doors) -> Result<(), CniError> {
    let Doors { pod, netns, .. } = doors;
    let unsettled = addr::wait_until_settled(pod, netns, index, DAD_LIMIT).map_err(failed)?;
    match unsettled.iter().find(|address| address.flags.contains(addr::Flags::Dadfailed)) {
        Some(taken) => {
            let text = format!("link {:?} has address {} in DADFAILED state", request.ifname, taken.net.addr());
            Err(CniError::internal(text).with_details("another station of the network answers for it"))
        }
        None => Ok(()),
    }
}

/// Only what IPv6 addresses cannot live without is insisted upon: `/proc/sys` may be read-only, and a kernel may have been
/// started without IPv6.
fn set_all(sysctls: &[(String, &'static str)]) -> Result<(), CniError> {
    for (key, value) in sysctls {
        let needed = key.ends_with("disable_ipv6") || key.ends_with("keep_addr_on_down");
        match sysctl::set_if_present(key, value) {
            Err(error) if needed => return Err(failed(error)),
            _ => {}
        }
    }
    Ok(())
}

/// Until the port carries frames. One that never does would be a container without a network. A container's end that stays
/// down has no carrier to wait for.
pub fn wait_for_port(config: &Config, pair: &Pair, host: &mut Socket) -> Result<(), CniError> {
    if config.container_end_down {
        return Ok(());
    }
    let link = link::wait_until_forwarding(host, pair.host.index, PORT_LIMIT).map_err(failed)?;
    match link.port {
        Some(port) if port.state != BridgePortState::Disabled => Ok(()),
        _ => Err(CniError::internal(format!("bridge port in error state: {:?}", link.oper_state))),
    }
}

/// Whoever remembers an earlier owner of the addresses learns of the new one, now that everything stands. A neighbour that
/// cannot be told finds out by itself, later: no reason to fail.
pub fn announce(plan: &Plan, bridge: &Link, pair: &Pair, doors: &mut Doors) {
    let Some(mac) = pair.container.mac else { return };
    let addresses: Vec<IpAddr> = plan.addresses.iter().map(|net| net.addr()).collect();
    if addresses.is_empty() {
        return;
    }
    let _ = tell::announce(&mut doors.pod, pair.container.index, mac);
    if plan.gateways.is_empty() {
        return;
    }
    for address in addresses {
        let entry = Neighbour { address, mac: Some(mac), link: bridge.index, state: neigh::State::Reachable };
        let _ = neigh::replace(&mut doors.host, &entry);
    }
}

/// What is printed. Others rely on the order: bridge, host's end, container's end.
pub fn result(request: &Request, plan: Plan, bridge: &Link, pair: &Pair) -> CniResult {
    let interface = |link: &Link| Interface {
        name: link.name.clone(),
        mac: link.mac.map(|mac| mac.to_string()).unwrap_or_default(),
        ..Interface::default()
    };
    let container = Interface { sandbox: request.netns.clone(), ..interface(&pair.container) };
    CniResult { interfaces: vec![interface(bridge), interface(&pair.host), container], ..plan.result }
}
