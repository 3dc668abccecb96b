//! The programs' way through the maps, over a dump of them: where a connection of the node's own would go, and by which steps.
//!
//! The steps and their order are those of `ebpf/programs/src/lookup.rs`; a test in the lab holds the two together.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use fairlead_ebpf_shared::{AddressClass, FrontendKey, OptionsWord, RangeKey};
use fairlead_proxy_model::{Dump, Family, Outcome, address_bytes, any_node, frontend_key, frontend_name};
use serde::Serialize;

use super::arguments::{Client, Transport};
use crate::maps::Host;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// Who connects.
    pub client: Client,
    /// How.
    pub protocol: Transport,
    /// Where to.
    pub to: SocketAddr,
}

/// The way, and its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Walk {
    /// `address:port/PROTOCOL` of the frontend that applies, if any.
    pub frontend: Option<String>,
    /// What happens, in one word: `backends`, `refused`, `dropped`, `left alone`, `broken`.
    pub verdict: &'static str,
    /// Why: a sentence for each step that decided something.
    pub steps: Vec<String>,
    /// Seconds for which the client keeps its backend; 0: it does not.
    pub affinity_s: u32,
    /// To one of these, each with the same chance.
    #[serde(skip)]
    pub backends: Vec<SocketAddr>,
}

impl Walk {
    fn end(verdict: &'static str, step: impl Into<String>) -> Self {
        Self { frontend: None, verdict, steps: vec![step.into()], affinity_s: 0, backends: Vec::new() }
    }
}

/// Walks. `host`: what the programs know of the node itself.
pub fn walk(dump: &Dump, host: &Host, probe: &Probe) -> Walk {
    if probe.protocol == Transport::Sctp {
        return Walk::end("left alone", "no hook sees SCTP sockets");
    }
    let to = meant(probe.to.ip());
    let key = |addr: IpAddr| frontend_key(addr, probe.to.port(), probe.protocol.protocol());
    let exact = key(to);
    if dump.frontends.contains_key(&exact) {
        return at_frontend(
            dump,
            host,
            probe,
            &exact,
            false,
            "a frontend of this very address and port is known".to_owned(),
        );
    }
    let (elsewhere, step) = if to.is_loopback() {
        if !is_host(dump, probe.client) {
            return Walk::end("left alone", "to a pod a loopback address is the pod itself");
        }
        if !host.localhost_node_ports {
            return Walk::end("left alone", "NodePorts are not served at loopback addresses (nodePortAddresses)");
        }
        (false, format!("{to} is the node, to its own processes"))
    } else {
        let bytes = address_bytes(to);
        match dump.addresses.get(&bytes).map(|word| word.class(&bytes)) {
            None => return Walk::end("left alone", format!("{to} is no address of a Service or a node")),
            Some(None) => return Walk::end("broken", format!("the class of {to} is another address's")),
            Some(Some(AddressClass::ClusterIp)) => {
                let step = format!("{to} is a cluster IP, and no Service has port {} there", exact.port.get());
                return Walk::end("refused", step);
            }
            Some(Some(AddressClass::OwnNode)) => (false, format!("{to} is an address of this node")),
            Some(Some(AddressClass::OtherNode)) => (true, format!("{to} is an address of another node")),
        }
    };
    let wildcard = key(any_node(Family::of(to)));
    if dump.frontends.contains_key(&wildcard) {
        at_frontend(dump, host, probe, &wildcard, elsewhere, format!("{step}, and {} is a NodePort", exact.port.get()))
    } else {
        Walk::end("left alone", format!("{step}, but {} is no NodePort", exact.port.get()))
    }
}

fn at_frontend(dump: &Dump, host: &Host, probe: &Probe, key: &FrontendKey, elsewhere: bool, step: String) -> Walk {
    let mut walk = Walk { frontend: Some(frontend_name(key)), ..Walk::end("", step) };
    let Some(value) = dump.frontends.get(key) else { return walk };
    let options = dump.options.get(&value.slot).copied().unwrap_or_default();
    if options.tag() != value.tag {
        return walk.to("broken", "the slot's options are another frontend's");
    }
    walk.affinity_s = options.affinity_s();
    if elsewhere && options.has(OptionsWord::FLAG_LOCAL_ONLY) {
        return walk.to("left alone", "the Service's externalTrafficPolicy is Local: that node decides");
    }
    if options.has(OptionsWord::FLAG_RANGES) {
        match source(host, probe) {
            None => {
                return walk
                    .to("dropped", "it has source ranges, and the node has no address of this family to compare");
            }
            Some(addr) if is_admitted(dump, value.slot, value.tag, addr) => {
                walk.steps.push(format!("its source ranges admit {addr}"));
            }
            Some(addr) => return walk.to("dropped", &format!("its source ranges do not admit {addr}")),
        }
    }
    match dump.resolve(key, value) {
        Outcome::Backends(backends) => {
            walk.verdict = "backends";
            walk.backends = backends;
            walk
        }
        Outcome::Dropped => {
            walk.to("dropped", "its traffic policy is Local, and none of its endpoints is on this node")
        }
        Outcome::Refused => walk.to("refused", "it has no endpoint to send to"),
        Outcome::Broken(part) => walk.to("broken", &part.to_string()),
    }
}

impl Walk {
    fn to(mut self, verdict: &'static str, step: &str) -> Self {
        self.verdict = verdict;
        self.steps.push(step.to_owned());
        self
    }
}

/// The address that source ranges are compared with.
fn source(host: &Host, probe: &Probe) -> Option<IpAddr> {
    match (probe.client, probe.to.ip().to_canonical()) {
        (Client::Addr(addr), _) => Some(addr),
        (Client::Host, IpAddr::V4(_)) => host.v4.map(IpAddr::V4),
        (Client::Host, IpAddr::V6(_)) => host.v6.map(IpAddr::V6),
    }
}

/// Whether it is one of the node's own processes.
fn is_host(dump: &Dump, client: Client) -> bool {
    let Client::Addr(addr) = client else { return true };
    let bytes = address_bytes(addr);
    dump.addresses.get(&bytes).and_then(|word| word.class(&bytes)) == Some(AddressClass::OwnNode)
}

/// Longest prefix first, as the trie has it: one of the frontend's own tag decides.
fn is_admitted(dump: &Dump, slot: u32, tag: u32, client: IpAddr) -> bool {
    let asked = RangeKey::of_client(slot, address_bytes(client));
    let matches = |range: &RangeKey| {
        let bits = range.prefix_bits.saturating_sub(32);
        range.data.slot == asked.data.slot && same_prefix(&range.data.addr, &asked.data.addr, bits)
    };
    let longest = dump.ranges.iter().filter(|(range, _)| matches(range)).max_by_key(|(range, _)| range.prefix_bits);
    longest.is_some_and(|(_, found)| *found == tag)
}

fn same_prefix(a: &[u8; 16], b: &[u8; 16], bits: u32) -> bool {
    let difference = u128::from_be_bytes(*a) ^ u128::from_be_bytes(*b);
    difference.leading_zeros() >= bits
}

/// The kernel takes an unspecified address for the host itself.
fn meant(addr: IpAddr) -> IpAddr {
    match addr {
        IpAddr::V4(addr) if addr.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(addr) if addr.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        addr => addr.to_canonical(),
    }
}

#[cfg(test)]
mod tests;
