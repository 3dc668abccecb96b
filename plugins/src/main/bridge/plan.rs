//! What an attachment is, decided before anything is done: a value that ADD makes true and CHECK compares with the kernel.

use std::net::IpAddr;

use fairlead_kernel::{announce, route};
use fairlead_protocol::{CniError, CniResult, Route};
use ipnet::IpNet;

use super::config::Config;

/// Which sysctls a container's end gets, as (key below `net`, value); the interface's name stands for `{if}`.
pub type Sysctl = (String, &'static str);

/// An attachment with its network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The container's addresses; their subnets are those of the prefixes.
    pub addresses: Vec<IpNet>,
    /// The bridge's addresses, if it is the gateway; each once.
    pub gateways: Vec<IpNet>,
    /// The container's routes besides those of its own subnets, in order.
    pub routes: Vec<PlannedRoute>,
    /// What IPAM said, completed: the printed result but for its interfaces.
    pub result: CniResult,
}

/// A route of the container; the link is its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedRoute {
    /// Destination.
    pub destination: IpNet,
    /// Next hop; `None`: on the link.
    pub gateway: Option<IpAddr>,
    /// What the result says besides.
    pub said: Route,
}

impl Plan {
    /// The plan of a layer-2 attachment.
    pub fn layer2(config: &Config) -> Plan {
        let result = CniResult { dns: config.dns.clone().unwrap_or_default(), ..CniResult::default() };
        Plan { addresses: Vec::new(), gateways: Vec::new(), routes: Vec::new(), result }
    }

    /// The plan of what IPAM answered. Errors: no address; a gateway cannot be derived from a prefix without room.
    pub fn new(config: &Config, mut result: CniResult) -> Result<Plan, CniError> {
        if result.ips.is_empty() {
            return Err(CniError::internal("IPAM plugin returned missing IP config"));
        }
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

    /// Whether an address of this family is among the container's.
    pub fn has(&self, like: fn(&IpAddr) -> bool) -> bool {
        self.addresses.iter().any(|net| like(&net.addr()))
    }

    /// Sysctls of the container's namespace, before its end goes up. Where it has an IPv6 address, IPv6 must be on.
    pub fn container_sysctls(&self, config: &Config, ifname: &str) -> Vec<Sysctl> {
        let mut all: Vec<Sysctl> = Vec::new();
        let key = |name: &str| format!("net/ipv6/conf/{ifname}/{name}");
        // Addresses that IPAM made unique need not be asked for; a tentative one would make the pod wait for a second or two.
        if config.dad {
            all.push((key("enhanced_dad"), "1"));
            all.push((key("accept_dad"), "1"));
        } else {
            all.push((key("accept_dad"), "0"));
        }
        all.extend(announce::sysctls(ifname).map(|key| (key, "1")));
        if self.has(IpAddr::is_ipv6) {
            all.push(("net/ipv6/conf/lo/disable_ipv6".to_owned(), "0"));
            all.push((key("disable_ipv6"), "0"));
            // Addresses survive the link going down, as IPv4's do.
            all.push((key("keep_addr_on_down"), "1"));
        }
        all
    }
}

impl PlannedRoute {
    /// The kernel's form, on this link.
    pub fn on(&self, link: u32) -> route::Route {
        let positive = |number: u32| (number > 0).then_some(number);
        route::Route {
            gateway: self.gateway,
            priority: positive(self.said.priority),
            table: self.said.table.filter(|table| *table != 0).unwrap_or(route::TABLE_MAIN),
            scope: self.said.scope,
            mtu: positive(self.said.mtu),
            advmss: positive(self.said.advmss),
            ..route::Route::new(self.destination, link)
        }
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
        let gateway = result.ips.iter().filter_map(|ip| ip.gateway).find(|gateway| gateway.is_ipv4() == is_v4);
        if let (false, Some(gateway)) = (there, gateway) {
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

/// Without a gateway of its own a route goes through the first gateway of its family, if there is one.
fn planned(route: &Route, result: &CniResult) -> PlannedRoute {
    let is_v4 = route.dst.addr().is_ipv4();
    let remembered = || result.ips.iter().filter_map(|ip| ip.gateway).find(|gateway| gateway.is_ipv4() == is_v4);
    PlannedRoute { destination: route.dst, gateway: route.gw.or_else(remembered), said: route.clone() }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
