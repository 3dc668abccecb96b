//! Addresses that IPAM hands out, and the routes beside them: within the list, and against the lists beside it. Pure.

use std::net::IpAddr;

use fairlead_protocol::address;
use ipnet::IpNet;

use super::Around;
use super::document::Node;
use super::finding::{Report, Spot};
use super::keys::below;

const DATA_DIR: &str = "/var/lib/cni/networks";

/// A range as it is written, filled in far enough to be compared.
#[derive(Clone, Debug)]
pub struct Written {
    pub field: String,
    pub node: Node,
    pub subnet: IpNet,
    pub first: u128,
    pub last: u128,
}

/// What an `ipam` of type host-local hands out. Ranges that cannot be read are left out; `report` hears of them.
pub fn ranges(ipam: &Node, field: &str, report: &mut Report) -> Vec<Written> {
    let mut found = Vec::new();
    if ipam.get("subnet").is_some() {
        found.extend(range(ipam, field, report));
    }
    for (i, set) in ipam.get("ranges").map(Node::items).unwrap_or_default().iter().enumerate() {
        for (j, item) in set.items().iter().enumerate() {
            found.extend(range(item, &format!("{field}.ranges[{i}][{j}]"), report));
        }
    }
    found
}

fn range(node: &Node, field: &str, report: &mut Report) -> Option<Written> {
    let written = node.get("subnet")?;
    let spot = Spot::new(below(field, "subnet"), written.at);
    let subnet = match address::parse_cidr(written.text()?) {
        Ok(subnet) => subnet,
        Err(reason) => {
            report.error("address", spot, reason.to_string(), "write it like 10.1.0.0/16 or fd00:1::/64");
            return None;
        }
    };
    if subnet.addr() != subnet.network() {
        let message = format!(
            "host bits are set: {subnet} is an address in the network {}; host-local refuses it",
            subnet.trunc()
        );
        report.error("host-bits", spot, message, format!("write {}", subnet.trunc()));
        return None;
    }
    let end = |key: &str| {
        let node = node.get(key)?;
        let ip = address::parse_ip(node.text()?).ok()?;
        Some((ip, Spot::new(below(field, key), node.at)))
    };
    let bounds = (number(subnet.network()), number(subnet.broadcast()));
    let mut within = bounds;
    for (key, bound) in [("rangeStart", &mut within.0), ("rangeEnd", &mut within.1)] {
        let Some((ip, spot)) = end(key) else { continue };
        if !subnet.contains(&ip) {
            report.error(
                "range",
                spot,
                format!("{ip} is not in {subnet}: host-local refuses it"),
                "choose one in the subnet",
            );
            return None;
        }
        *bound = number(ip);
    }
    if let Some((ip, spot)) = end("gateway").filter(|(ip, _)| !subnet.contains(ip)) {
        let message = format!("{ip} is not in {subnet}: the container has no route to its gateway");
        report.warning("gateway", spot, message, "choose one in the subnet, or add a route to it");
    }
    Some(Written { field: field.to_owned(), node: node.clone(), subnet, first: within.0, last: within.1 })
}

/// Ranges of one list that share addresses.
pub fn overlaps(ranges: &[Written], report: &mut Report) {
    for (index, a) in ranges.iter().enumerate() {
        for b in ranges[..index].iter().filter(|b| a.meets(b)) {
            // Within a set subnets must be apart, between sets ranges; host-local's own loader knows; here is the place.
            let message =
                format!("{} and {} ({}) have addresses in common: host-local refuses it", a.subnet, b.subnet, b.field);
            let spot = Spot::new(&a.field, a.node.at);
            report.error("overlap", spot, message, "give each range addresses of its own");
        }
    }
}

/// Ranges that another network hands out too, from another book.
pub fn neighbours(list: &Node, ipam: &Node, ranges: &[Written], around: &Around<'_>, report: &mut Report) {
    let book = |list: &Node, ipam: &Node| {
        let directory = ipam.text_of("dataDir");
        let directory = if directory.is_empty() { DATA_DIR } else { directory };
        format!("{}/{}", directory.trim_end_matches('/'), list.text_of("name"))
    };
    let own = book(list, ipam);
    for (file, other) in &around.neighbours {
        for plugin in super::plugins_of(other).into_iter().map(|(_, plugin)| plugin) {
            let Some(their_ipam) = plugin.get("ipam").filter(|ipam| ipam.text_of("type") == "host-local") else {
                continue;
            };
            let theirs = self::ranges(their_ipam, "", &mut Report::default());
            let Some((a, b)) = ranges.iter().find_map(|a| Some((a, theirs.iter().find(|b| a.meets(b))?))) else {
                continue;
            };
            let spot = Spot::new(&a.field, a.node.at);
            if book(other, their_ipam) == own {
                let message = format!("{file} is a network of the same name: both take addresses from {own}");
                report.note("shared-leases", spot, message, "");
            } else {
                let message = format!(
                    "{} overlaps {} of network {:?} in {file}, and each keeps its own book ({own}): two containers may get one address",
                    a.subnet,
                    b.subnet,
                    other.text_of("name")
                );
                report.warning("overlap", spot, message, "give each network addresses of its own");
            }
        }
    }
}

/// A bridge of the same name that another list gives other addresses: `bridge` refuses the second of them (IPv4 only; of
/// IPv6 a device may have any number).
pub fn same_bridge(plugin: &Node, field: &str, ranges: &[Written], around: &Around<'_>, report: &mut Report) {
    let name_of = |plugin: &Node| {
        let name = plugin.text_of("bridge");
        if name.is_empty() { "cni0".to_owned() } else { name.to_owned() }
    };
    let is_gateway = |plugin: &Node| {
        plugin.text_of("type") == "bridge"
            && (plugin.switch("isGateway") || plugin.switch("isDefaultGateway"))
            && !plugin.switch("forceAddress")
    };
    if !is_gateway(plugin) {
        return;
    }
    let mine = name_of(plugin);
    for (file, other) in &around.neighbours {
        let others = super::plugins_of(other).into_iter().map(|(_, other)| other);
        for other in others.filter(|other| is_gateway(other) && name_of(other) == mine) {
            let Some(ipam) = other.get("ipam") else { continue };
            let theirs = self::ranges(ipam, "", &mut Report::default());
            let v4 = |ranges: &[Written]| ranges.iter().map(|range| range.subnet).find(|net| net.addr().is_ipv4());
            let (Some(a), Some(b)) = (v4(ranges), v4(&theirs)) else { continue };
            if a == b {
                continue;
            }
            let at = plugin.get("bridge").map_or(plugin.at, |node| node.at);
            let message =
                format!("{mine} gets an address of {a} here and of {b} in {file}: whoever comes second is refused");
            report.warning(
                "bridge-address",
                Spot::new(below(field, "bridge"), at),
                message,
                "another bridge for one of them",
            );
        }
    }
}

/// Routes that the kernel refuses or that trip over each other.
pub fn routes(plugin: &Node, ipam: &Node, field: &str, ranges: &[Written], report: &mut Report) {
    let gives_default = plugin.switch("isDefaultGateway");
    for (index, route) in ipam.get("routes").map(Node::items).unwrap_or_default().iter().enumerate() {
        let place = format!("{field}.routes[{index}]");
        let Some(Ok(dst)) = route.get("dst").and_then(Node::text).map(address::parse_cidr) else { continue };
        let gw = route.get("gw").and_then(Node::text).and_then(|text| address::parse_ip(text).ok());
        if let Some(gw) = gw.filter(|gw| gw.is_ipv4() != dst.addr().is_ipv4()) {
            let message = format!("a route to {dst} by {gw}: two families, the kernel refuses it");
            report.error("route", Spot::new(&place, route.at), message, "a gateway of the destination's family");
        }
        let same_family = ranges.iter().filter(|range| range.subnet.addr().is_ipv4() == dst.addr().is_ipv4());
        if !ranges.is_empty() && same_family.count() == 0 {
            let message =
                format!("a route to {dst}, but no range of that family: the container has no address to use it with");
            report.warning("route", Spot::new(&place, route.at), message, "add a range, or remove the route");
        }
        if gives_default && gw.is_none() && dst.prefix_len() == 0 {
            let message = "with isDefaultGateway this is the same default route twice: the reference plugins fail with \"file exists\"; these plugins take the two for one";
            report.warning(
                "default-route",
                Spot::new(&place, route.at),
                message,
                "remove this route, or isDefaultGateway",
            );
        }
    }
}

impl Written {
    fn meets(&self, other: &Written) -> bool {
        self.subnet.addr().is_ipv4() == other.subnet.addr().is_ipv4()
            && self.first <= other.last
            && other.first <= self.last
    }
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{lint, lint_beside, rules};

    fn list(name: &str, ipam: &str) -> String {
        format!(
            "{{\"cniVersion\": \"1.0.0\", \"name\": \"{name}\", \"plugins\": [\n{{\"type\": \"bridge\", \"mtu\": 1400, \"isGateway\": true, \"isDefaultGateway\": true,\n\"ipam\": {{\"type\": \"host-local\",\n{ipam}}}}}]}}"
        )
    }

    #[test]
    fn what_host_local_refuses_is_an_error_at_its_place() {
        let rows = [
            (r#""subnet": "10.1.2.5/24""#, "host-bits"),
            (r#""subnet": "10.1.2/24""#, "address"),
            (r#""subnet": "10.1.2.0/24", "rangeEnd": "10.1.3.1""#, "range"),
            (r#""ranges": [[{"subnet": "10.1.0.0/16"}], [{"subnet": "10.1.2.0/24"}]]"#, "overlap"),
            (r#""subnet": "10.1.2.0/24", "routes": [{"dst": "0.0.0.0/0", "gw": "fd00::1"}]"#, "route"),
        ];
        for (ipam, rule) in rows {
            let found = lint(&list("n", ipam));
            assert_eq!(rules(&found, "error"), [rule], "{ipam}: {found:#?}");
            assert_eq!(found.iter().find(|f| f.rule == rule).unwrap().at.unwrap().line, 4, "{ipam}");
        }
    }

    #[test]
    fn a_default_route_twice_is_a_trap_only_elsewhere() {
        let found = lint(&list("n", r#""subnet": "10.1.2.0/24", "routes": [{"dst": "0.0.0.0/0"}]"#));
        assert_eq!(rules(&found, "warning"), ["default-route"]);
        assert!(rules(&found, "error").is_empty());
    }

    #[test]
    fn one_bridge_with_two_networks_is_told() {
        let other = list("other", r#""subnet": "10.2.0.0/16""#);
        let found = lint_beside(&list("n", r#""subnet": "10.1.2.0/24""#), &[("99-other.conflist", &other)]);
        assert_eq!(rules(&found, "warning"), ["bridge-address"], "{found:#?}");
        let forced = other.replace("\"isGateway\"", "\"forceAddress\": true, \"isGateway\"");
        assert!(lint_beside(&list("n", r#""subnet": "10.1.2.0/24""#), &[("o", &forced)]).is_empty());
    }

    #[test]
    fn a_network_beside_it_with_the_same_addresses_is_named() {
        let other = list("other", r#""subnet": "10.1.0.0/16""#);
        let found = lint_beside(&list("n", r#""subnet": "10.1.2.0/24""#), &[("99-other.conflist", &other)]);
        assert!(rules(&found, "warning").contains(&"overlap"), "{found:#?}");
        assert!(found.iter().any(|finding| finding.message.contains("99-other.conflist")));
        let apart = list("other", r#""subnet": "10.2.0.0/16""#);
        assert!(
            !rules(&lint_beside(&list("n", r#""subnet": "10.1.2.0/24""#), &[("o", &apart)]), "warning")
                .contains(&"overlap")
        );
    }
}
