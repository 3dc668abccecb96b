//! What an attachment is, decided before anything is done: a value that ADD makes true and CHECK compares with the kernel.

use std::net::IpAddr;

use fairlead_kernel::route;
use fairlead_protocol::{CniError, CniResult, Route};
use ipnet::IpNet;

use super::config::Config;
use crate::veth::routes::{planned, remembered_gateway};

/// An attachment with its network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The container's addresses; their subnets are those of the prefixes.
    pub addresses: Vec<IpNet>,
    /// The bridge's addresses, if it is the gateway; each once.
    pub gateways: Vec<IpNet>,
    /// The container's routes besides those of its own subnets, in order; the link is its own.
    pub routes: Vec<route::Route>,
    /// What IPAM said, completed: the printed result but for its interfaces.
    pub result: CniResult,
}

impl Plan {
    /// The plan of a layer-2 attachment.
    pub fn layer2(config: &Config) -> Plan {
        let result = CniResult { dns: config.dns.clone().unwrap_or_default(), ..CniResult::default() };
        Plan { addresses: Vec::new(), gateways: Vec::new(), routes: Vec::new(), result }
    }

    /// The plan of what IPAM answered. Errors: a gateway cannot be derived from a prefix without room.
    pub fn new(config: &Config, mut result: CniResult) -> Result<Plan, CniError> {
        for ip in &mut result.ips {
            ip.interface = Some(2);
            if ip.gateway.is_none() && config.is_gateway {
                ip.gateway = Some(first_address(ip.address)?);
            }
        }
        if config.is_default_gateway {
            add_default_routes(&mut result);
        }
        if let Some(dns) = &config.dns {
            result.dns = dns.clone();
        }
        let addresses: Vec<IpNet> = result.ips.iter().map(|ip| ip.address).collect();
        let gateways = if config.is_gateway { gateways(&result) } else { Vec::new() };
        let routes = result.routes.iter().map(|route| planned(route, &result)).collect();
        Ok(Plan { addresses, gateways, routes, result })
    }
}

/// The gateway by convention: the subnet's first address.
fn first_address(address: IpNet) -> Result<IpAddr, CniError> {
    let first = match address.network() {
        IpAddr::V4(network) => u32::from(network).checked_add(1).map(|number| IpAddr::V4(number.into())),
        IpAddr::V6(network) => u128::from(network).checked_add(1).map(|number| IpAddr::V6(number.into())),
    };
    first.filter(|first| address.contains(first)).ok_or_else(|| {
        CniError::config(format!("the subnet of {address} has no room for a gateway: give `gateway` in ipam"))
    })
}

/// One default route for each family that has a gateway and no default route yet. One that IPAM gave without a gateway
/// means the same and is not doubled (the kernel would refuse the second with EEXIST).
fn add_default_routes(result: &mut CniResult) {
    for is_v4 in [true, false] {
        let there = result.routes.iter().any(|route| route.is_default() && route.dst.addr().is_ipv4() == is_v4);
        if let (false, Some(gateway)) = (there, remembered_gateway(&result.ips, is_v4)) {
            let any = if is_v4 { "0.0.0.0/0" } else { "::/0" };
            let any = any.parse().expect("a default destination is an address with a prefix");
            result.routes.push(Route::new(any, Some(gateway)));
        }
    }
}

/// The gateways of a result's addresses, each once, with the prefix of its subnet.
pub fn gateways(result: &CniResult) -> Vec<IpNet> {
    let mut all = Vec::new();
    for ip in &result.ips {
        let gateway = ip.gateway.and_then(|gateway| IpNet::new(gateway, ip.address.prefix_len()).ok());
        all.extend(gateway.filter(|gateway| !all.contains(gateway)));
    }
    all
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
