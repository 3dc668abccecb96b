//! The container's routes and sysctls as plans: values without a link, which is the container's own.

use std::net::IpAddr;

use fairlead_kernel::{announce, route};
use fairlead_protocol::{CniResult, IpConfig, Route};
use ipnet::IpNet;

/// A sysctl, as key below `/proc/sys` and value.
pub type Sysctl = (String, &'static str);

/// Whether an address is of a family.
pub type Family = fn(&IpAddr) -> bool;

/// Whether one of the networks' addresses is of this family.
pub fn has(addresses: &[IpNet], family: Family) -> bool {
    addresses.iter().any(|net| family(&net.addr()))
}

/// The gateway of a family: that of the first address that has one.
pub fn remembered_gateway(ips: &[IpConfig], is_v4: bool) -> Option<IpAddr> {
    ips.iter().filter_map(|ip| ip.gateway).find(|gateway| gateway.is_ipv4() == is_v4)
}

/// The kernel's form of a route of a result. Without a gateway of its own it goes through the first of its family, if
/// there is one.
pub fn planned(said: &Route, result: &CniResult) -> route::Route {
    let positive = |number: u32| (number > 0).then_some(number);
    let gateway = said.gw.or_else(|| remembered_gateway(&result.ips, said.dst.addr().is_ipv4()));
    route::Route {
        gateway,
        priority: positive(said.priority),
        table: said.table.filter(|table| *table != 0).unwrap_or(route::TABLE_MAIN),
        scope: said.scope,
        mtu: positive(said.mtu),
        advmss: positive(said.advmss),
        ..route::Route::new(said.dst, 0)
    }
}

/// Sysctls of the container's namespace, before its end goes up. Where it has an IPv6 address, IPv6 must be on; without
/// `dad` its addresses are usable at once.
pub fn container_sysctls(ifname: &str, addresses: &[IpNet], dad: bool) -> Vec<Sysctl> {
    let key = |name: &str| format!("net/ipv6/conf/{ifname}/{name}");
    let mut all: Vec<Sysctl> = Vec::new();
    // Addresses that IPAM made unique need not be asked for; a tentative one would make the pod wait for a second or two.
    if dad {
        all.push((key("enhanced_dad"), "1"));
        all.push((key("accept_dad"), "1"));
    } else {
        all.push((key("accept_dad"), "0"));
    }
    if has(addresses, IpAddr::is_ipv6) {
        // IPv4's is set with the link.
        let [_, nd] = announce::sysctls(ifname);
        all.push((nd, "1"));
        all.push(("net/ipv6/conf/lo/disable_ipv6".to_owned(), "0"));
        all.push((key("disable_ipv6"), "0"));
        // Addresses survive the link going down, as IPv4's do.
        all.push((key("keep_addr_on_down"), "1"));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_of_the_result_reach_the_kernel() {
        let said = Route {
            mtu: 1400,
            advmss: 1360,
            priority: 5,
            table: Some(100),
            ..Route::new("10.0.0.0/8".parse().unwrap(), None)
        };
        let route = planned(&said, &CniResult::default());
        assert_eq!((route.mtu, route.advmss, route.priority, route.table), (Some(1400), Some(1360), Some(5), 100));
        assert_eq!(planned(&Route { table: Some(0), ..said }, &CniResult::default()).table, route::TABLE_MAIN);
    }

    #[test]
    fn a_route_without_gateway_takes_the_first_of_its_family() {
        let ip = |address: &str, gateway: Option<&str>| {
            IpConfig::new(address.parse().unwrap(), gateway.map(|text| text.parse().unwrap()))
        };
        let ips = vec![ip("10.1.0.2/24", None), ip("fd00::2/64", Some("fd00::1")), ip("10.2.0.2/24", Some("10.2.0.1"))];
        let result = CniResult { ips, ..CniResult::default() };
        let through = |dst: &str| planned(&Route::new(dst.parse().unwrap(), None), &result).gateway;
        assert_eq!(through("0.0.0.0/0"), Some("10.2.0.1".parse().unwrap()));
        assert_eq!(through("fd01::/64"), Some("fd00::1".parse().unwrap()));
    }

    #[test]
    fn ipv6_is_switched_on_for_whom_it_is_wanted_only() {
        let keys = |address: &str| {
            let all = container_sysctls("eth0", &[address.parse().unwrap()], false);
            all.into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(keys("10.1.0.2/24"), "net/ipv6/conf/eth0/accept_dad=0");
        assert!(keys("fd00::2/64").contains("net/ipv6/conf/eth0/disable_ipv6=0"));
    }
}
