//! Which endpoints serve which virtual address: the rules of Kubernetes for ClusterIP services, one service at a time.
//!
//! The rules are kube-proxy's (`pkg/proxy/topology.go`, `CategorizeEndpoints`, and `pkg/proxy/endpointslicecache.go`):
//! families are served apart; slices are joined by service, port name and protocol, and each endpoint brings the port
//! number of its own slice; ready endpoints serve, and where there are none those that still answer while terminating.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use fairlead_ebpf_shared::{Be16, FrontendKey, SCOPE_NODE, SetWord, mapped};

use crate::facts::{Endpoint, Family, ObjectName, Protocol, ServiceFact, SliceFact, TrafficPolicy};

/// What a service wants, before it is known whether another service claims the same address and port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceTable {
    /// Its frontends, with the name of the port and the backends, ascending and each once.
    pub frontends: BTreeMap<FrontendKey, PortTable>,
    /// What an operator should know about it.
    pub notices: Vec<Notice>,
}

/// One frontend of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortTable {
    /// The service port's name; may be empty.
    pub port: Arc<str>,
    /// Ascending, each once. Empty: refuse.
    pub backends: Vec<SocketAddr>,
}

/// Something about a service that is not served as written, or not served at all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Notice {
    /// A port with protocol SCTP: there is no socket hook for it.
    SctpNotServed {
        /// The service.
        service: ObjectName,
        /// Its port.
        port: u16,
    },
    /// The address, port and protocol belong to an older service (then: of the lesser name).
    Conflict {
        /// The service that is not served there.
        loser: ObjectName,
        /// The service that is.
        winner: ObjectName,
        /// Where.
        key: FrontendKey,
    },
    /// The service's traffic policy is `Local` and none of its usable endpoints is on this node: connections are refused.
    NoLocalEndpoint {
        /// The service.
        service: ObjectName,
        /// Where.
        key: FrontendKey,
    },
    /// More usable endpoints than a set can hold; the rest, in ascending order, are left out.
    TooManyEndpoints {
        /// The service.
        service: ObjectName,
        /// Where.
        key: FrontendKey,
        /// How many there are.
        found: usize,
    },
}

/// The key of a frontend.
#[must_use]
pub fn frontend_key(addr: IpAddr, port: u16, protocol: Protocol) -> FrontendKey {
    FrontendKey { addr: address_bytes(addr), port: Be16::new(port), protocol: protocol.number(), scope: SCOPE_NODE }
}

/// An address as the maps hold it: IPv4 mapped into IPv6.
#[must_use]
pub fn address_bytes(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V4(addr) => mapped(addr.octets()),
        IpAddr::V6(addr) => addr.octets(),
    }
}

/// What `service` wants on the node `node`, given all of its slices.
pub fn expand<'a>(
    service: &ServiceFact,
    slices: impl Iterator<Item = &'a SliceFact> + Clone,
    node: &str,
) -> ServiceTable {
    let mut table = ServiceTable::default();
    for port in &service.ports {
        if port.protocol == Protocol::Sctp {
            table.notices.push(Notice::SctpNotServed { service: service.name.clone(), port: port.port });
            continue;
        }
        for &addr in &service.cluster_ips {
            let key = frontend_key(addr, port.port, port.protocol);
            let merged = merge(slices.clone(), Family::of(addr), &port.name, port.protocol);
            let cluster = usable(&merged, |_| true);
            let mut backends = match service.internal_policy {
                TrafficPolicy::Cluster => cluster,
                TrafficPolicy::Local => {
                    let local = usable(&merged, |endpoint| endpoint.node.as_deref() == Some(node));
                    if local.is_empty() && !cluster.is_empty() {
                        table.notices.push(Notice::NoLocalEndpoint { service: service.name.clone(), key });
                    }
                    local
                }
            };
            if backends.len() >= SetWord::COUNT_LIMIT as usize {
                let found = backends.len();
                table.notices.push(Notice::TooManyEndpoints { service: service.name.clone(), key, found });
                backends.truncate(SetWord::COUNT_LIMIT as usize - 1);
            }
            table.frontends.insert(key, PortTable { port: port.name.clone(), backends });
        }
    }
    table
}

/// All endpoints for one port and family, each address and port once. Of two occurrences (an endpoint on its way from one
/// slice to another, or an address that a new pod has got) the one that is not terminating counts, and of two equals the ready.
fn merge<'a>(
    slices: impl Iterator<Item = &'a SliceFact>,
    family: Family,
    port_name: &str,
    protocol: Protocol,
) -> BTreeMap<SocketAddr, &'a Endpoint> {
    let mut merged: BTreeMap<SocketAddr, &'a Endpoint> = BTreeMap::new();
    for slice in slices.filter(|slice| slice.family == family) {
        for port in slice.ports.iter().filter(|port| *port.name == *port_name && port.protocol == protocol) {
            for endpoint in &slice.endpoints {
                let rank = |endpoint: &Endpoint| (endpoint.terminating, !endpoint.ready, !endpoint.serving);
                merged
                    .entry(SocketAddr::new(endpoint.addr, port.port))
                    .and_modify(|known| {
                        if rank(endpoint) < rank(known) {
                            *known = endpoint;
                        }
                    })
                    .or_insert(endpoint);
            }
        }
    }
    merged
}

/// The ready endpoints among those `wanted`; if there are none, those that answer while terminating.
fn usable(merged: &BTreeMap<SocketAddr, &Endpoint>, wanted: impl Fn(&Endpoint) -> bool) -> Vec<SocketAddr> {
    let choose = |usable: fn(&Endpoint) -> bool| -> Vec<SocketAddr> {
        merged.iter().filter(|(_, endpoint)| wanted(endpoint) && usable(endpoint)).map(|(addr, _)| *addr).collect()
    };
    let ready = choose(|endpoint| endpoint.ready);
    if ready.is_empty() { choose(|endpoint| endpoint.serving && endpoint.terminating) } else { ready }
}
