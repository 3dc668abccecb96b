//! CHECK: the plan compared with the kernel, on both sides of the pair. Every drift is named.

use fairlead_kernel::link::Link;
use fairlead_kernel::netlink::Socket;
use fairlead_kernel::{Mac, addr, route};
use fairlead_protocol::{CniError, CniResult, Request};
use ipnet::IpNet;

use super::config::Config;
use super::plan::gateway_of;
use crate::container::{all_well, failed};
use crate::doors::Doors;
use crate::veth::{check, forwarding};

/// Compares. Errors: code 999 with all drifts; the configuration's own.
pub fn check(request: &Request, config: &Config) -> Result<(), CniError> {
    let previous = check::previous(request)?;
    let Doors { mut host, mut pod, .. } = Doors::open(request)?;
    let mut drifts = Vec::new();
    let addresses: Vec<IpNet> = previous.ips.iter().map(|ip| ip.address).collect();
    forwarding::check(&addresses, &mut drifts)?;
    if let Some(container) = check::container(request, &previous, true, &mut pod, &mut drifts)? {
        check::addresses_and_routes(&previous, &container, &mut pod, &mut drifts)?;
        check_ways(&previous, &container, &mut pod, &mut drifts)?;
        if let Some(end) = check::host_end(&container, config.mtu, &mut host, &mut drifts)? {
            check_node(&previous, &end, container.mac, &mut host, &mut drifts)?;
        }
    }
    if config.ip_masq {
        check::masquerade(request, &previous, &mut drifts)?;
    }
    all_well(drifts)
}

/// The container's ways to its gateways, and through them to its subnets.
fn check_ways(
    previous: &CniResult,
    container: &Link,
    pod: &mut Socket,
    drifts: &mut Vec<String>,
) -> Result<(), CniError> {
    let routes = route::list(pod, container.index).map_err(failed)?;
    let mut want = |destination: IpNet, gateway| {
        if !routes.iter().any(|one| one.destination == destination && one.gateway == gateway) {
            let way = gateway.map(|gateway| format!(" via {gateway}")).unwrap_or_default();
            drifts.push(format!("{} has no route {destination}{way}", container.name));
        }
    };
    for ip in &previous.ips {
        let Ok(gateway) = gateway_of(ip) else { continue };
        want(gateway.into(), None);
        if ip.address.prefix_len() < ip.address.max_prefix_len() {
            want(ip.address.trunc(), Some(gateway));
        }
    }
    Ok(())
}

/// The node's end has the gateways' addresses, and the node's routes to the container lead to it.
fn check_node(
    previous: &CniResult,
    end: &Link,
    container: Option<Mac>,
    host: &mut Socket,
    drifts: &mut Vec<String>,
) -> Result<(), CniError> {
    let have: Vec<IpNet> = addr::list(host, end.index).map_err(failed)?.into_iter().map(|one| one.net).collect();
    let routes = route::list(host, end.index).map_err(failed)?;
    for ip in &previous.ips {
        match gateway_of(ip) {
            Ok(gateway) if !have.contains(&gateway.into()) => {
                drifts.push(format!("{} has no address {}", end.name, IpNet::from(gateway)));
            }
            Ok(_) => {}
            Err(error) => drifts.push(error.msg),
        }
        let address = IpNet::from(ip.address.addr());
        if !routes.iter().any(|one| one.destination == address) {
            drifts.push(format!("the node has no route to {} through {}", ip.address.addr(), end.name));
        }
    }
    check::neighbours(previous, container, end, host, drifts)
}
