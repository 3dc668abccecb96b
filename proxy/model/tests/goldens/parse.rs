//! Facts as people write them down: one object a paragraph.
//!
//! ```text
//! settings outside, no other nodes, masquerade all, detect node, detect cluster 10.244.0.0/16, no localhost
//! own 192.168.0.1
//! node node-a zone zone-a at 192.168.0.1
//! service web at 10.96.0.1, fd00::1
//!     port http 80/TCP node 30080
//!     load balancer 203.0.113.5
//!     external 198.51.100.1
//!     ranges 10.0.0.0/8
//!     internal Local
//!     policy Local                    externalTrafficPolicy
//!     affinity 10800
//!     health 32000
//!     created 5
//! slice web-1 of web
//!     port http 8080/TCP
//!     10.244.0.5 on node-a zones zone-a,zone-b nodes node-a
//!     10.244.0.6 on node-b unready
//!     10.244.0.7 on node-b terminating      it answers still; `dead` does not
//! delete service web
//! delete slice web-1
//! delete node node-b
//! ask pod 10.244.0.9 for 10.96.0.1:80/TCP   pod, host, outside; `unknown` for the address
//! ```

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use fairlead_ebpf_shared::{SCOPE_NODE, SCOPE_OUTSIDE};
use fairlead_proxy_model::{
    Change, Client, DetectLocal, Endpoint, Family, Hints, NodeFact, ObjectName, Protocol, Scopes, ServiceFact,
    ServicePort, Settings, SliceFact, SlicePort, TrafficPolicy,
};

/// A question to the maps.
pub struct Ask {
    pub text: String,
    pub client: Client,
    pub at: SocketAddr,
    pub protocol: Protocol,
}

/// What one part of a file says.
#[derive(Default)]
pub struct Stage {
    pub settings: Option<Settings>,
    pub changes: Vec<Change>,
    pub asks: Vec<Ask>,
}

/// Panics with the line that it does not understand.
pub fn stage(text: &str) -> Stage {
    let mut stage = Stage::default();
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or("").trim_end());
    let mut paragraphs: Vec<Vec<&str>> = Vec::new();
    for line in lines.filter(|line| !line.is_empty()) {
        match (line.starts_with(' '), paragraphs.last_mut()) {
            (true, Some(paragraph)) => paragraph.push(line.trim()),
            _ => paragraphs.push(vec![line]),
        }
    }
    for paragraph in paragraphs {
        let words: Vec<&str> = paragraph[0].split_whitespace().collect();
        match words[..] {
            ["settings", ..] => stage.settings = Some(settings(&paragraph[0]["settings".len()..])),
            ["own", ref addrs @ ..] => {
                stage.changes.push(Change::OwnAddresses(addrs.iter().map(|addr| ip(addr)).collect()));
            }
            ["node", name, ref rest @ ..] => stage.changes.push(Change::PutNode(Arc::new(node(name, rest)))),
            ["service", name, "at", ref ips @ ..] => {
                stage.changes.push(Change::PutService(Arc::new(service(name, ips, &paragraph[1..]))));
            }
            ["slice", name, "of", of] => {
                stage.changes.push(Change::PutSlice(Arc::new(slice(name, of, &paragraph[1..]))))
            }
            ["delete", "service", name] => stage.changes.push(Change::DeleteService(object(name))),
            ["delete", "slice", name] => stage.changes.push(Change::DeleteSlice(object(name))),
            ["delete", "node", name] => stage.changes.push(Change::DeleteNode(name.into())),
            ["ask", kind, from, "for", at] => stage.asks.push(ask(paragraph[0], kind, from, at)),
            _ => panic!("not understood: {}", paragraph[0]),
        }
    }
    stage
}

fn settings(text: &str) -> Settings {
    let mut settings = Settings::new("node-a");
    for phrase in text.split(',').map(str::trim).filter(|phrase| !phrase.is_empty()) {
        match phrase.split_whitespace().collect::<Vec<_>>()[..] {
            ["outside"] => settings.scopes = Scopes::NodeAndOutside,
            ["no", "other", "nodes"] => settings.serve_other_nodes = false,
            ["no", "localhost"] => settings.localhost_node_ports = false,
            ["masquerade", "all"] => settings.masquerade_all = true,
            ["detect", "node"] => settings.detect_local = DetectLocal::NodeCidr,
            ["detect", "cluster", cidr] => {
                settings.detect_local = DetectLocal::ClusterCidr(vec![cidr.parse().expect("a network")]);
            }
            _ => panic!("not a setting: {phrase}"),
        }
    }
    settings
}

fn object(name: &str) -> ObjectName {
    ObjectName::new("default", name)
}

fn ip(text: &str) -> IpAddr {
    text.trim_end_matches(',').parse().unwrap_or_else(|_| panic!("not an address: {text}"))
}

fn protocol(text: &str) -> Protocol {
    match text {
        "TCP" => Protocol::Tcp,
        "UDP" => Protocol::Udp,
        "SCTP" => Protocol::Sctp,
        other => panic!("not a protocol: {other}"),
    }
}

/// `80/TCP`, or `name 80/TCP`.
fn port(words: &[&str]) -> (Arc<str>, u16, Protocol) {
    let (name, number) = match words {
        [number] => ("", *number),
        [name, number] => (*name, *number),
        _ => panic!("not a port: {words:?}"),
    };
    let (number, proto) = number.split_once('/').expect("number/PROTOCOL");
    (name.into(), number.parse().expect("a number"), protocol(proto))
}

fn policy(text: &str) -> TrafficPolicy {
    match text {
        "Local" => TrafficPolicy::Local,
        "Cluster" => TrafficPolicy::Cluster,
        other => panic!("not a policy: {other}"),
    }
}

fn node(name: &str, words: &[&str]) -> NodeFact {
    let mut fact = NodeFact {
        name: name.into(),
        zone: None,
        addresses: Vec::new(),
        pod_cidrs: Vec::new(),
        deleting: false,
        to_be_deleted_taint: false,
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "zone" => fact.zone = words.next().map(|zone| Arc::from(*zone)),
            "at" => fact.addresses = words.by_ref().map(|addr| ip(addr)).collect(),
            other => panic!("not of a node: {other}"),
        }
    }
    fact
}

fn service(name: &str, ips: &[&str], lines: &[&str]) -> ServiceFact {
    let mut fact =
        ServiceFact { cluster_ips: ips.iter().map(|addr| ip(addr)).collect(), ..ServiceFact::new(object(name)) };
    for line in lines {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["port", ref words @ .., "node", node_port] => {
                let (name, port, protocol) = port(words);
                let node_port = Some(node_port.parse().expect("a number"));
                fact.ports.push(ServicePort { name, protocol, port, node_port });
            }
            ["port", ref words @ ..] => {
                let (name, port, protocol) = port(words);
                fact.ports.push(ServicePort { name, protocol, port, node_port: None });
            }
            ["load", "balancer", ref addrs @ ..] => fact.load_balancer_ips.extend(addrs.iter().map(|addr| ip(addr))),
            ["external", ref addrs @ ..] => fact.external_ips.extend(addrs.iter().map(|addr| ip(addr))),
            ["ranges", ref nets @ ..] => {
                fact.source_ranges = nets.iter().map(|net| net.parse().expect("a network")).collect();
            }
            ["internal", text] => fact.internal_policy = policy(text),
            ["policy", text] => fact.external_policy = policy(text),
            ["affinity", seconds] => fact.affinity = Some(seconds.parse().expect("a number")),
            ["health", port] => fact.health_check_node_port = Some(port.parse().expect("a number")),
            ["created", time] => fact.created = Some(time.parse().expect("a number")),
            _ => panic!("not of a service: {line}"),
        }
    }
    fact
}

fn slice(name: &str, of: &str, lines: &[&str]) -> SliceFact {
    let mut fact = SliceFact {
        name: object(name),
        service: of.into(),
        family: Family::V4,
        ports: Vec::new(),
        endpoints: Vec::new(),
        triggered: None,
    };
    for line in lines {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["port", ref words @ ..] => {
                let (name, port, protocol) = port(words);
                fact.ports.push(SlicePort { name, protocol, port });
            }
            [addr, ref words @ ..] => {
                let endpoint = endpoint(addr, words);
                fact.family = Family::of(endpoint.addr);
                fact.endpoints.push(endpoint);
            }
            [] => {}
        }
    }
    fact
}

fn endpoint(addr: &str, words: &[&str]) -> Endpoint {
    let mut endpoint =
        Endpoint { addr: ip(addr), ready: true, serving: true, terminating: false, node: None, hints: None };
    let mut hints = Hints::default();
    let list = |names: &str| names.split(',').map(Arc::from).collect::<Vec<Arc<str>>>();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "on" => endpoint.node = words.next().map(|node| Arc::from(*node)),
            "zones" => hints.zones = words.next().map(|names| list(names)).unwrap_or_default(),
            "nodes" => hints.nodes = words.next().map(|names| list(names)).unwrap_or_default(),
            "unready" => (endpoint.ready, endpoint.serving) = (false, false),
            "terminating" => (endpoint.ready, endpoint.terminating) = (false, true),
            "dead" => (endpoint.ready, endpoint.serving, endpoint.terminating) = (false, false, true),
            other => panic!("not of an endpoint: {other}"),
        }
    }
    if hints != Hints::default() {
        endpoint.hints = Some(Arc::new(hints));
    }
    endpoint
}

fn ask(text: &str, kind: &str, from: &str, at: &str) -> Ask {
    let (at, proto) = at.split_once('/').expect("address:port/PROTOCOL");
    let client = Client {
        addr: (from != "unknown").then(|| ip(from)),
        netns: 1,
        is_host: kind == "host",
        scope: match kind {
            "pod" | "host" => SCOPE_NODE,
            "outside" => SCOPE_OUTSIDE,
            other => panic!("not a client: {other}"),
        },
    };
    Ask { text: text.to_owned(), client, at: at.parse().expect("address:port"), protocol: protocol(proto) }
}
