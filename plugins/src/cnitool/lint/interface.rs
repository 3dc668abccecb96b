//! What a plugin that makes interfaces is told: switches that do not go together, MTU, IPAM, DNS. Pure.

use std::net::IpAddr;

use fairlead_protocol::address;

use super::addresses::{self, Written};
use super::document::Node;
use super::finding::{Report, Spot};
use super::keys::below;
use super::{Around, delegate_of};

/// Every check of one plugin's own keys.
pub fn check(list: &Node, field: &str, plugin: &Node, around: &Around<'_>, report: &mut Report) {
    let kind = plugin.text_of("type");
    match kind {
        "bridge" => bridge(list, field, plugin, report),
        "ptp" if plugin.get("ipam").is_none() => {
            let message = "ptp needs addresses, and there is no ipam: ADD fails";
            report.error("ipam", Spot::new(below(field, "ipam"), plugin.at), message, "add \"ipam\"");
        }
        "flannel" => flannel(field, plugin, report),
        _ => {}
    }
    let ranges = ipam(list, field, plugin, around, report);
    // What flannel hands on is a bridge's configuration in everything but its place.
    let (field, made) = delegate_of(field, plugin);
    mtu(&field, made, &ranges, around, report);
    if let Some(dns) = plugin.get("dns") {
        self::dns(dns, &below(&field, "dns"), report);
    }
}

fn bridge(list: &Node, field: &str, plugin: &Node, report: &mut Report) {
    let spot = |key: &str| Spot::new(below(field, key), plugin.get(key).map_or(plugin.at, |node| node.at));
    let name = plugin.text_of("bridge");
    if name.len() > 15 || name.contains(['/', ':']) || name.contains(char::is_whitespace) {
        let message = format!(
            "{name:?} has {} bytes; a name of an interface has at most 15, no slash, colon or blank",
            name.len()
        );
        report.error("bridge-name", spot("bridge"), message, "a shorter name");
    }
    if plugin.switch("hairpinMode") && plugin.switch("promiscMode") {
        let message = "hairpinMode and promiscMode do the same in two ways; both together are refused";
        report.error("hairpin", spot("promiscMode"), message, "keep hairpinMode");
    }
    let gateway = plugin.switch("isGateway") || plugin.switch("isDefaultGateway");
    if plugin.switch("ipMasq") && !gateway {
        let message = "the bridge has no address, so nothing of the container's goes by way of this node, and there is nothing to masquerade";
        report.warning("masquerade", spot("ipMasq"), message, "add \"isGateway\": true");
    }
    let has_ipam = plugin.get("ipam").is_some_and(|ipam| !ipam.text_of("type").is_empty());
    if has_ipam {
        return;
    }
    if gateway {
        let message = "without ipam the bridge carries frames only: it gets no address, and no route is made";
        report.warning("ipam", spot("isGateway"), message, "add \"ipam\", or remove isGateway and isDefaultGateway");
    }
    if ["0.1.0", "0.2.0"].contains(&list.get_exact("cniVersion").and_then(Node::text).unwrap_or("0.1.0")) {
        let message = "results of this cniVersion cannot be said without an address (\"cannot convert: no valid IP addresses\"): ADD fails";
        report.error("ipam", spot("ipam"), message, "cniVersion 0.3.0 or newer, or an \"ipam\"");
    }
}

fn flannel(field: &str, plugin: &Node, report: &mut Report) {
    let Some(delegate) = plugin.get("delegate") else { return };
    for key in ["name", "ipam"] {
        if let Some(node) = delegate.get(key) {
            let place = format!("{}.{key}", below(field, "delegate"));
            let remedy = if key == "ipam" { "put it beside delegate" } else { "the network's name is the list's" };
            report.error(
                "delegate",
                Spot::new(place, node.at),
                "flannel writes this key itself and refuses it here",
                remedy,
            );
        }
    }
}

/// Addresses; returns the ranges that could be read.
fn ipam(list: &Node, place: &str, plugin: &Node, around: &Around<'_>, report: &mut Report) -> Vec<Written> {
    let Some(ipam) = plugin.get("ipam") else { return Vec::new() };
    let (field, kind) = (below(place, "ipam"), ipam.text_of("type"));
    let spot = || Spot::new(&field, ipam.at);
    if super::tables::CHAINED.contains(&plugin.text_of("type")) {
        report.warning("ipam", spot(), "a chained plugin asks nobody for addresses: this is ignored", "remove it");
        return Vec::new();
    }
    // flannel's default is host-local, for its own subnet.
    if kind.is_empty() && plugin.text_of("type") != "flannel" && !ipam.members().is_empty() {
        report.error("ipam", spot(), "no type, so nobody is asked for addresses", "add \"type\": \"host-local\"");
        return Vec::new();
    }
    if !kind.is_empty()
        && let Some(reason) = (around.missing)(kind)
    {
        report.error(
            "missing-plugin",
            Spot::new(below(&field, "type"), ipam.at),
            reason,
            "install it, or correct the type",
        );
    }
    if kind != "host-local" {
        return Vec::new();
    }
    let ranges = addresses::ranges(ipam, &field, report);
    addresses::overlaps(&ranges, report);
    addresses::neighbours(list, ipam, &ranges, around, report);
    addresses::same_bridge(plugin, place, &ranges, around, report);
    addresses::routes(plugin, ipam, &field, &ranges, report);
    if let Some(directory) =
        ipam.get("dataDir").filter(|node| node.text().is_some_and(|text| !text.is_empty() && !text.starts_with('/')))
    {
        let message = "a relative path: where the leases are depends on where the runtime was started";
        report.warning("data-dir", Spot::new(below(&field, "dataDir"), directory.at), message, "an absolute path");
    }
    if let Some(file) = ipam.get("resolvConf").filter(|node| node.text().is_some_and(|text| !text.is_empty()))
        && let Some(reason) = (around.unreadable)(file.text().unwrap_or_default())
    {
        let message = format!("{reason}: ADD fails");
        report.warning(
            "dns",
            Spot::new(below(&field, "resolvConf"), file.at),
            message,
            "a file that is there on every node",
        );
    }
    ranges
}

/// Smallest MTU with which Linux keeps IPv6 on a device (RFC 8200, section 5), and IPv4 (RFC 791).
const LEAST: (i64, i64) = (1280, 68);
/// What a veth gets when nobody says otherwise.
const USUAL: i64 = 1500;

fn mtu(field: &str, plugin: &Node, ranges: &[Written], around: &Around<'_>, report: &mut Report) {
    let kind = plugin.text_of("type");
    let written = plugin.get("mtu");
    let spot = || Spot::new(below(field, "mtu"), written.map_or(plugin.at, |node| node.at));
    let value = written.and_then(Node::integer).unwrap_or(0);
    let v6 = ranges.iter().any(|range| range.subnet.addr().is_ipv6());
    if value != 0 && value < LEAST.1 {
        report.error(
            "mtu",
            spot(),
            format!("{value} bytes are too few for IPv4 (at least {})", LEAST.1),
            "0 for the kernel's own, or more",
        );
    } else if value != 0 && value < LEAST.0 && v6 {
        let message =
            format!("below {} bytes Linux switches IPv6 off, and there are IPv6 addresses to assign", LEAST.0);
        report.error("mtu", spot(), message, format!("{} or more", LEAST.0));
    }
    // Frames leave by the uplink for these alone; macvlan and the like check against their master themselves.
    if !["bridge", "ptp", "tuning"].contains(&kind) {
        return;
    }
    let Some(uplink) = &around.uplink else { return };
    let limit = i64::from(uplink.mtu);
    if value > limit {
        let message = format!(
            "{value} is more than the {limit} of {}, where the default route goes: full packets to the world are fragmented or lost",
            uplink.name
        );
        report.warning("mtu", spot(), message, format!("{limit} or less"));
    } else if value == 0 && limit < USUAL && kind != "tuning" {
        let message = format!(
            "not set, so it will be {USUAL}, and {}, where the default route goes, has {limit}: full packets to the world are fragmented or lost",
            uplink.name
        );
        report.warning("mtu", spot(), message, format!("add \"mtu\": {limit}"));
    }
}

fn dns(dns: &Node, field: &str, report: &mut Report) {
    for (index, server) in dns.get("nameservers").map(Node::items).unwrap_or_default().iter().enumerate() {
        let spot = Spot::new(format!("{field}.nameservers[{index}]"), server.at);
        match server.text().map(address::parse_ip) {
            Some(Ok(ip)) if is_loopback(ip) => {
                let message = format!("{ip} is the container itself, not this node");
                report.warning("dns", spot, message, "an address that the container can reach");
            }
            Some(Ok(_)) => {}
            _ => report.warning("dns", spot, "not an address: resolvers skip it", "an IPv4 or IPv6 address"),
        }
    }
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.is_loopback()
}

/// The same traffic masqueraded by two plugins of the list.
pub fn masquerades(plugins: &[(String, &Node)], report: &mut Report) {
    let mut first: Option<&str> = None;
    for (field, plugin) in plugins {
        let (field, made) = delegate_of(field, plugin);
        let Some(switch) = made.get("ipMasq").filter(|node| node.is_true()) else { continue };
        match first {
            Some(first) => {
                let message =
                    format!("{first} has it too: the second never sees a packet that the first has not changed");
                report.warning("masquerade", Spot::new(below(&field, "ipMasq"), switch.at), message, "keep one");
            }
            None => first = Some(plugin.text_of("type")),
        }
    }
}

/// `ingressPolicy` where its assumptions do not hold.
pub fn isolation(plugins: &[(String, &Node)], report: &mut Report) {
    let makes_bridge = plugins.iter().any(|(field, plugin)| {
        let (_, made) = delegate_of(field, plugin);
        ["bridge", ""].contains(&made.text_of("type"))
    });
    for (field, plugin) in plugins.iter().filter(|(_, plugin)| plugin.text_of("type") == "firewall") {
        let Some(policy) = plugin.get("ingressPolicy") else { continue };
        let text = policy.text().unwrap_or_default();
        let spot = Spot::new(below(field, "ingressPolicy"), policy.at);
        if ["same-bridge", "isolated"].contains(&text) && !makes_bridge {
            let message = format!(
                "{text:?} goes by the bridge, the first interface of the result, and no plugin before makes one"
            );
            report.warning("isolation", spot, message, "use it behind bridge, or \"open\"");
        } else if text == "isolated" && !plugins.iter().any(|(_, plugin)| plugin.switch("portIsolation")) {
            let message = "containers on one bridge talk frame by frame; a firewall hears of it only with br_netfilter (net.bridge.bridge-nf-call-iptables = 1)";
            report.note("isolation", spot, message, "\"portIsolation\": true of bridge keeps them apart without it");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{lint, rules};

    fn list(plugins: &str) -> String {
        format!("{{\"cniVersion\": \"1.0.0\", \"name\": \"n\", \"plugins\": [{plugins}]}}")
    }

    #[test]
    fn what_does_not_go_together_is_told() {
        let ipam = r#""ipam": {"type": "host-local", "subnet": "10.1.0.0/16"}"#;
        let v6 = r#""ipam": {"type": "host-local", "subnet": "fd00::/64"}"#;
        let rows = [
            (r#"{"type": "bridge", "bridge": "a-name-of-sixteen"}"#.to_owned(), "error", "bridge-name"),
            (r#"{"type": "bridge", "hairpinMode": true, "promiscMode": true}"#.to_owned(), "error", "hairpin"),
            (format!(r#"{{"type": "bridge", "ipMasq": true, {ipam}}}"#), "warning", "masquerade"),
            (r#"{"type": "bridge", "isGateway": true}"#.to_owned(), "warning", "ipam"),
            (r#"{"type": "ptp"}"#.to_owned(), "error", "ipam"),
            (r#"{"type": "bridge", "ipam": {"subnet": "10.1.0.0/16"}}"#.to_owned(), "error", "ipam"),
            (format!(r#"{{"type": "bridge", "mtu": 9000, {ipam}}}"#), "warning", "mtu"),
            (format!(r#"{{"type": "bridge", {ipam}}}"#), "warning", "mtu"),
            (format!(r#"{{"type": "bridge", "mtu": 1000, {v6}}}"#), "error", "mtu"),
            (r#"{"type": "flannel", "delegate": {"ipam": {}}}"#.to_owned(), "error", "delegate"),
            (r#"{"type": "bridge", "dns": {"nameservers": ["127.0.0.53"]}}"#.to_owned(), "warning", "dns"),
            (
                format!(r#"{{"type": "ptp", {ipam}}}, {{"type": "firewall", "ingressPolicy": "isolated"}}"#),
                "warning",
                "isolation",
            ),
            (format!(r#"{{"type": "ptp", {ipam}}}, {{"type": "firewall", {ipam}}}"#), "warning", "ipam"),
        ];
        for (plugins, severity, rule) in rows {
            let found = lint(&list(&plugins));
            assert!(rules(&found, severity).contains(&rule), "{plugins}: {found:#?}");
        }
        let fits = format!(r#"{{"type": "bridge", "isGateway": true, "mtu": 1400, {ipam}}}"#);
        assert!(lint(&list(&fits)).is_empty());
    }
}
