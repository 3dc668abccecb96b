//! What there is to ask of a Service: every address it has, by every port, from its own specification.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use fairlead_conformance::traffic::{Protocol, Target};
use serde_json::Value;

use super::side::{FAR, Side};

/// A target with the name it has on both sides.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    pub label: String,
    /// As [`Target`] is written: the key to its result.
    pub target: String,
    /// Only a process of the node can mean the same by it: a loopback address.
    pub host_only: bool,
}

/// A port that no Service has.
const UNDEFINED: u64 = 81;

/// Everything this Service could be asked at. `name` is the service's on both sides.
pub fn of(service: &Value, name: &str, side: &Side<'_>) -> BTreeSet<Asked> {
    let spec = &service["spec"];
    let mut found = BTreeSet::new();
    let mut add = |what: &str, address: &str, port: &Value, number: u64| {
        let (Ok(address), Ok(number)) = (address.parse::<IpAddr>(), u16::try_from(number)) else { return };
        if number == 0 {
            return;
        }
        let protocols: &[Protocol] = match port["protocol"].as_str() {
            Some("UDP") => &[Protocol::UdpConnected, Protocol::Udp],
            Some("SCTP") => &[],
            _ => &[Protocol::Tcp],
        };
        for protocol in protocols {
            let target = Target { protocol: *protocol, address: SocketAddr::new(address, number) };
            let (word, _) = target
                .to_string()
                .split_once(':')
                .map(|(word, rest)| (word.to_owned(), rest.to_owned()))
                .unwrap_or_default();
            let port = port["name"].as_str().unwrap_or("unnamed");
            let label = format!("{name} {what}{} {word} {port}", if address.is_ipv4() { 4 } else { 6 });
            found.insert(Asked { label, target: target.to_string(), host_only: address.is_loopback() });
        }
    };
    let undefined = serde_json::json!({"name": "undefined", "protocol": "TCP"});
    for address in texts(&spec["clusterIPs"]) {
        for port in spec["ports"].as_array().into_iter().flatten() {
            add("ClusterIP", address, port, port["port"].as_u64().unwrap_or_default());
        }
        add("ClusterIP", address, &undefined, UNDEFINED);
    }
    for port in spec["ports"].as_array().into_iter().flatten() {
        let number = port["port"].as_u64().unwrap_or_default();
        for address in texts(&spec["externalIPs"]) {
            add("externalIP", address, port, number);
        }
        for ingress in service["status"]["loadBalancer"]["ingress"].as_array().into_iter().flatten() {
            add("balancer", ingress["ip"].as_str().unwrap_or_default(), port, number);
        }
        let number = port["nodePort"].as_u64().unwrap_or_default();
        for (what, index) in [("NodePort own", side.own), ("NodePort far", FAR)] {
            for address in side.cluster.members[index].addresses() {
                add(what, &address.to_string(), port, number);
            }
        }
        for address in ["127.0.0.1", "::1"] {
            add("NodePort loopback", address, port, number);
        }
    }
    found
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}
