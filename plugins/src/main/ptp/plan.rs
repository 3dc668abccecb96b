//! What an attachment is, decided before anything is done.
//!
//! The container has its addresses and a way to its gateway alone; everything else, the rest of its subnets included, goes
//! through the gateway. The node has the gateway's address on its end, and a route to each address of the container.

use std::net::IpAddr;

use fairlead_kernel::route::Route;
use fairlead_protocol::{CniError, CniResult, IpConfig};
use ipnet::IpNet;

use super::config::Config;
use crate::veth::routes::planned;

/// `RT_SCOPE_HOST`: what the reference gives the node's routes.
const SCOPE_HOST: u8 = 254;
/// `RT_SCOPE_LINK`.
const SCOPE_LINK: u8 = 253;

/// An attachment with its network. The link of a route is the end it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The container's addresses.
    pub addresses: Vec<IpNet>,
    /// The container's routes, in the order in which each finds its next hop.
    pub routes: Vec<Route>,
    /// The gateways, each once: the addresses of the node's end, with nobody beside them.
    pub gateways: Vec<IpNet>,
    /// The node's routes to the container.
    pub node_routes: Vec<Route>,
    /// What IPAM said, completed: the printed result but for its interfaces.
    pub result: CniResult,
}

impl Plan {
    /// The plan of what IPAM answered. Errors: code 7 for an address without a gateway, or with one that is the
    /// container's own or of the other family.
    pub fn new(config: &Config, mut result: CniResult) -> Result<Plan, CniError> {
        let mut plan = Plan {
            addresses: result.ips.iter().map(|ip| ip.address).collect(),
            routes: Vec::new(),
            gateways: Vec::new(),
            node_routes: Vec::new(),
            result: CniResult::default(),
        };
        for ip in &mut result.ips {
            ip.interface = Some(1);
            plan.connect(ip)?;
        }
        let hops: Vec<IpAddr> = plan.gateways.iter().map(|net| net.addr()).collect();
        for said in &result.routes {
            let mut route = planned(said, &result);
            // A next hop that is not the gateway is the node too, by another of its addresses: nothing says so but this.
            route.onlink = route.gateway.is_some_and(|gateway| !hops.contains(&gateway));
            plan.push(route);
        }
        if let Some(dns) = &config.dns {
            result.dns = dns.clone();
        }
        plan.result = result;
        Ok(plan)
    }

    fn connect(&mut self, ip: &IpConfig) -> Result<(), CniError> {
        let address = ip.address.addr();
        let gateway = gateway_of(ip)?;
        let source = Some(address);
        let to_gateway = Route { source, scope: v4_scope(address, SCOPE_LINK), ..Route::new(gateway.into(), 0) };
        self.push(to_gateway);
        if ip.address.prefix_len() < ip.address.max_prefix_len() {
            self.push(Route { source, gateway: Some(gateway), ..Route::new(ip.address.trunc(), 0) });
        }
        if !self.gateways.contains(&gateway.into()) {
            self.gateways.push(gateway.into());
        }
        self.node_routes.push(Route { scope: v4_scope(address, SCOPE_HOST), ..Route::new(address.into(), 0) });
        Ok(())
    }

    /// Two addresses of one subnet share gateway and way: the kernel refuses the same destination a second time.
    fn push(&mut self, route: Route) {
        let same = |other: &Route| {
            (other.destination.trunc(), other.table, other.priority, other.gateway)
                == (route.destination.trunc(), route.table, route.priority, route.gateway)
        };
        if !self.routes.iter().any(same) {
            self.routes.push(route);
        }
    }
}

/// IPv6 knows no scopes.
fn v4_scope(address: IpAddr, scope: u8) -> Option<u8> {
    address.is_ipv4().then_some(scope)
}

/// The gateway of an address, which ptp cannot do without: it is what the container sends everything to.
pub fn gateway_of(ip: &IpConfig) -> Result<IpAddr, CniError> {
    let address = ip.address.addr();
    let refuse = |text: String| {
        let advice =
            "ptp puts the gateway's address on the node's end: give `gateway` in ipam, another than the container's";
        Err(CniError::config(text).with_details(advice))
    };
    match ip.gateway {
        None => refuse(format!("IPAM gave {} without a gateway", ip.address)),
        Some(gateway) if gateway == address => refuse(format!("IPAM gave {} its own address as gateway", ip.address)),
        Some(gateway) if gateway.is_ipv4() != address.is_ipv4() => {
            refuse(format!("IPAM gave {} the gateway {gateway} of the other family", ip.address))
        }
        Some(gateway) => Ok(gateway),
    }
}

#[cfg(test)]
mod tests {
    use fairlead_protocol::Route as Said;

    use super::*;

    fn config() -> Config {
        Config { ip_masq: false, mtu: None, ipam: "host-local".into(), dns: None }
    }

    fn ip(address: &str, gateway: Option<&str>) -> IpConfig {
        IpConfig::new(address.parse().unwrap(), gateway.map(|text| text.parse().unwrap()))
    }

    fn plan(ips: Vec<IpConfig>, routes: Vec<Said>) -> Result<Plan, CniError> {
        Plan::new(&config(), CniResult { ips, routes, ..CniResult::default() })
    }

    fn shown(routes: &[Route]) -> Vec<String> {
        routes
            .iter()
            .map(|route| {
                let source = route.source.map(|source| format!(" src {source}")).unwrap_or_default();
                format!("{route}{source}{}", if route.onlink { " onlink" } else { "" }).replace(" link number 0", "")
            })
            .collect()
    }

    #[test]
    fn everything_goes_through_the_gateway() {
        let default = Said::new("0.0.0.0/0".parse().unwrap(), None);
        let plan = plan(vec![ip("10.1.2.3/24", Some("10.1.2.1"))], vec![default]).unwrap();
        let routes = ["10.1.2.1/32 src 10.1.2.3", "10.1.2.0/24 via 10.1.2.1 src 10.1.2.3", "0.0.0.0/0 via 10.1.2.1"];
        assert_eq!(shown(&plan.routes), routes);
        assert_eq!(shown(&plan.node_routes), ["10.1.2.3/32"]);
        assert_eq!(plan.gateways, ["10.1.2.1/32".parse().unwrap()]);
        assert_eq!(plan.result.ips[0].interface, Some(1));
    }

    #[test]
    fn two_addresses_of_one_subnet_share_the_gateway() {
        let ips = vec![ip("10.1.2.3/24", Some("10.1.2.1")), ip("10.1.2.4/24", Some("10.1.2.1"))];
        let plan = plan(ips, vec![]).unwrap();
        assert_eq!((plan.routes.len(), plan.gateways.len(), plan.node_routes.len()), (2, 1, 2));
    }

    #[test]
    fn an_address_without_a_subnet_has_the_way_to_its_gateway() {
        let plan =
            plan(vec![ip("10.1.2.3/32", Some("169.254.1.1")), ip("fd00::3/128", Some("fd00::1"))], vec![]).unwrap();
        assert_eq!(shown(&plan.routes), ["169.254.1.1/32 src 10.1.2.3", "fd00::1/128 src fd00::3"]);
    }

    #[test]
    fn another_next_hop_of_the_subnet_is_on_the_link() {
        let through = Said::new("10.9.0.0/16".parse().unwrap(), Some("10.1.2.254".parse().unwrap()));
        let plan = plan(vec![ip("10.1.2.3/24", Some("10.1.2.1"))], vec![through]).unwrap();
        assert_eq!(shown(&plan.routes)[2], "10.9.0.0/16 via 10.1.2.254 onlink");
    }

    #[test]
    fn without_a_usable_gateway_there_is_no_plan() {
        for gateway in [None, Some("10.1.2.3"), Some("fd00::1")] {
            let error = plan(vec![ip("10.1.2.3/24", gateway)], vec![]).unwrap_err();
            assert!(error.msg.starts_with("IPAM gave 10.1.2.3/24"), "{error}");
            assert!(error.details.contains("give `gateway` in ipam"), "{error}");
        }
    }
}
