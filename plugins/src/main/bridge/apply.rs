//! Making the plan true, step by step.

use fairlead_kernel::error::Errno;
use fairlead_kernel::link::{self, Bridge, BridgePortState, Link, LinkFlags, PortSettings};
use fairlead_kernel::netlink::Socket;
use fairlead_kernel::{Error, Mac, sysctl};
use fairlead_protocol::{CniError, CniResult, Interface, Request};

use super::config::Config;
use super::gateway;
use super::plan::Plan;
use crate::complain;
use crate::container::failed;
use crate::doors::Doors;
use crate::veth::furnish::{Furniture, furnish};
use crate::veth::made::Made;
use crate::veth::pair::{Pair, Wanted, connect};
use crate::veth::{forwarding, ready};

/// Everything that an ADD does, in order; what it made is in `made` whether it ends well or not.
pub fn attach(
    request: &Request,
    config: &Config,
    doors: &mut Doors,
    made: &mut Made<'_>,
) -> Result<CniResult, CniError> {
    let plan =
        if config.ipam.is_empty() { Plan::layer2(config) } else { Plan::new(config, made.lease(&config.ipam)?)? };
    let bridge = ensure_bridge(&mut doors.host, config)?;
    let wanted = Wanted { mac: config.mac, mtu: config.mtu, master: Some(bridge.index) };
    let pair = connect(request, wanted, doors, made)?;
    let port = PortSettings { hairpin: config.hairpin, isolated: config.isolated };
    link::set_alias_and_port(&mut doors.host, pair.host.index, &made.text(), port).map_err(failed)?;
    config.vlans.apply(pair.host.index, &mut doors.host)?;
    if config.spoof_check {
        made.protect(&pair.host.name, pair.container.mac)?;
    }
    if !config.container_end_down {
        let furniture =
            Furniture { addresses: &plan.addresses, subnet_routes: true, dad: config.dad, routes: &plan.routes };
        furnish(request, &furniture, &pair, doors)?;
    }
    let gateway = gateway::ensure(config, &plan, &bridge, &mut doors.host)?;
    if gateway.is_some() {
        forwarding::ensure(&plan.addresses)?;
    }
    if config.ip_masq {
        made.masquerade(&plan.addresses)?;
    }
    wait_for_port(config, &pair, &mut doors.host)?;
    ready::announce(&plan.addresses, gateway.as_ref().map(|link| link.index), &pair, doors);
    Ok(result(request, plan, &bridge, gateway, &pair))
}

/// The bridge, made if it is not there. Its hardware address is given at birth: otherwise it takes the least of its ports'
/// and changes with them. An existing bridge is taken as it is, but for being up, hearing everything if asked, and not
/// listening to routers.
fn ensure_bridge(host: &mut Socket, config: &Config) -> Result<Link, CniError> {
    let mut found = link::get_by_name(host, &config.bridge);
    if found.as_ref().is_err_and(Error::is_not_found) {
        let new = Bridge {
            name: config.bridge.clone(),
            mac: Some(Mac::random()),
            mtu: config.mtu,
            vlan_filtering: config.vlans.filtered,
            ..Bridge::default()
        };
        match link::create_bridge(host, &new) {
            Ok(()) => {}
            // Another ADD was faster.
            Err(error) if error.is_exists() => {}
            Err(error) if new.vlan_filtering && error.errno() == Some(Errno::EOPNOTSUPP) => {
                return Err(without_vlans(error));
            }
            Err(error) => return Err(failed(error)),
        }
        found = link::get_by_name(host, &config.bridge);
    }
    let bridge = found.map_err(failed)?;
    if !bridge.is("bridge") {
        return Err(CniError::internal(format!("{:?} already exists but is not a bridge", config.bridge)));
    }
    if config.vlans.filtered {
        look_at_filter(&bridge)?;
    }
    if config.promiscuous && !bridge.flags.contains(LinkFlags::Promisc) {
        link::set_promiscuous(host, bridge.index, true).map_err(failed)?;
    }
    // Errors of sysctls are passed over: /proc/sys may be read-only, and a kernel may have no IPv6.
    let _ = sysctl::set_if_present(&format!("net/ipv6/conf/{}/accept_ra", config.bridge), "0");
    if !bridge.is_up() {
        // Before it goes up: its own link-local address is not asked for. While that is tentative the kernel solicits no
        // neighbour behind the bridge, for a second or two.
        let _ = sysctl::set_if_present(&format!("net/ipv6/conf/{}/accept_dad", config.bridge), "0");
        link::set_up(host, bridge.index).map_err(failed)?;
    }
    Ok(bridge)
}

/// A bridge of somebody else's that could filter and does not is taken as it is, as by the reference: its owner may have other
/// things on it that live from tags passing. But he is told.
fn look_at_filter(bridge: &Link) -> Result<(), CniError> {
    match bridge.filters_vlans {
        Some(true) => Ok(()),
        Some(false) => {
            let name = &bridge.name;
            complain(format_args!(
                "bridge {name} does not filter VLANs: vlan and vlanTrunk keep nothing apart on it (ip link set {name} type \
                 bridge vlan_filtering 1)"
            ));
            Ok(())
        }
        None => Err(without_vlans(Error::new("filter VLANs on bridge", &bridge.name, Errno::EOPNOTSUPP))),
    }
}

fn without_vlans(error: Error) -> CniError {
    failed(error).with_details(
        "this kernel was built without CONFIG_BRIDGE_VLAN_FILTERING: take vlan and vlanTrunk out of the configuration",
    )
}

/// Until the port carries frames. One that never does would be a container without a network. A container's end that stays
/// down has no carrier to wait for.
fn wait_for_port(config: &Config, pair: &Pair, host: &mut Socket) -> Result<(), CniError> {
    if config.container_end_down {
        return Ok(());
    }
    let link = ready::wait(pair, host)?;
    match link.port {
        Some(port) if port.state != BridgePortState::Disabled => Ok(()),
        _ => Err(CniError::internal(format!("bridge port in error state: {:?}", link.oper_state))),
    }
}

/// What is printed. Others rely on the order: bridge, host's end, container's end; then the gateway's link in a VLAN.
fn result(request: &Request, plan: Plan, bridge: &Link, gateway: Option<Link>, pair: &Pair) -> CniResult {
    let interface = |link: &Link| Interface {
        name: link.name.clone(),
        mac: link.mac.map(|mac| mac.to_string()).unwrap_or_default(),
        ..Interface::default()
    };
    let mut result = pair.told(request, vec![interface(bridge)], plan.result);
    result.interfaces.extend(gateway.filter(|link| link.index != bridge.index).map(|link| interface(&link)));
    result
}
