//! Which endpoints of a service port are used: kube-proxy's rules (`pkg/proxy/topology.go`, `CategorizeEndpoints`, and
//! `pkg/proxy/endpointslicecache.go`, both Kubernetes 1.37), one service port and one family at a time.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::facts::{Endpoint, Family, Protocol, SliceFact};

/// An endpoint as a service port sees it: its address with the port number of its own slice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate<'a> {
    pub addr: SocketAddr,
    pub endpoint: &'a Endpoint,
}

/// Where clients are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Here<'a> {
    pub node: &'a str,
    pub zone: Option<&'a str>,
}

/// By which hints endpoints are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topology {
    /// By none: some ready endpoint has no hint, or none is meant for here.
    #[default]
    Anywhere,
    /// Those meant for this zone.
    SameZone,
    /// Those meant for this node.
    SameNode,
}

/// Which sets a service port needs at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Uses {
    pub cluster: bool,
    pub local: bool,
}

/// The endpoints in use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Categories {
    /// For traffic policy Cluster, ascending.
    pub cluster: Vec<SocketAddr>,
    /// For traffic policy Local, ascending.
    pub local: Vec<SocketAddr>,
    /// Whether any endpoint anywhere could be used, be it in a set or not.
    pub any: bool,
    pub topology: Topology,
    /// `cluster` consists of endpoints on their way out: none is ready.
    pub cluster_is_terminating: bool,
    /// The same of `local`.
    pub local_is_terminating: bool,
}

/// All endpoints for one port and family, ascending, each address and port once. Of two occurrences (an endpoint on its way
/// from one slice to another, or an address that a new pod has got) the one that is not terminating counts, of two such the
/// ready, and of two equals the one in the first slice: `slices` are to come in an order that does not depend on history.
pub(crate) fn merge<'a>(
    slices: impl Iterator<Item = &'a SliceFact>,
    family: Family,
    port_name: &str,
    protocol: Protocol,
) -> Vec<Candidate<'a>> {
    let mut merged: Vec<Candidate<'a>> = Vec::new();
    for slice in slices.filter(|slice| slice.family == family) {
        for port in slice.ports.iter().filter(|port| *port.name == *port_name && port.protocol == protocol) {
            let candidates = slice.endpoints.iter().map(|endpoint| {
                let addr = SocketAddr::new(endpoint.addr, port.port);
                Candidate { addr, endpoint }
            });
            merged.extend(candidates);
        }
    }
    merged
        .sort_by_key(|Candidate { addr, endpoint }| (*addr, endpoint.terminating, !endpoint.ready, !endpoint.serving));
    merged.dedup_by_key(|candidate| candidate.addr);
    merged
}

/// Chooses. Cluster and Local fall back to endpoints on their way out independently of each other; topology concerns only
/// ready endpoints of Cluster.
pub(crate) fn categorize(candidates: &[Candidate<'_>], uses: Uses, here: Here<'_>) -> Categories {
    let mut categories = Categories::default();
    let choose = |wanted: &dyn Fn(&Endpoint) -> bool| -> Vec<SocketAddr> {
        candidates.iter().filter(|candidate| wanted(candidate.endpoint)).map(|candidate| candidate.addr).collect()
    };
    if uses.cluster {
        categories.topology = topology(candidates, here);
        categories.cluster = choose(&|endpoint| endpoint.ready && is_meant_for(endpoint, categories.topology, here));
        if categories.cluster.is_empty() {
            categories.cluster = choose(&is_leaving);
            categories.cluster_is_terminating = !categories.cluster.is_empty();
        }
        categories.any = !categories.cluster.is_empty();
    }
    if uses.local {
        categories.local = choose(&|endpoint| endpoint.ready && is_local(endpoint, here));
        if categories.local.is_empty() {
            categories.local = choose(&|endpoint| is_leaving(endpoint) && is_local(endpoint, here));
            categories.local_is_terminating = !categories.local.is_empty();
        }
        categories.any |= candidates.iter().any(|candidate| candidate.endpoint.ready || is_leaving(candidate.endpoint));
    }
    categories
}

/// Whether it is on this node. An endpoint whose node is not known is on none.
pub(crate) fn is_local(endpoint: &Endpoint, here: Here<'_>) -> bool {
    endpoint.node.as_deref() == Some(here.node)
}

/// Whether it answers while terminating.
pub(crate) fn is_leaving(endpoint: &Endpoint) -> bool {
    endpoint.serving && endpoint.terminating
}

/// Whether its hints let it be used from here.
pub(crate) fn is_meant_for(endpoint: &Endpoint, topology: Topology, here: Here<'_>) -> bool {
    let has = |names: &[Arc<str>], wanted: &str| names.iter().any(|name| **name == *wanted);
    match (topology, &endpoint.hints) {
        (Topology::Anywhere, _) => true,
        (Topology::SameNode, Some(hints)) => has(&hints.nodes, here.node),
        (Topology::SameZone, Some(hints)) => here.zone.is_some_and(|zone| has(&hints.zones, zone)),
        (_, None) => false,
    }
}

/// By hints for nodes if every ready endpoint has some and one is meant for this node; else likewise by zones.
fn topology(candidates: &[Candidate<'_>], here: Here<'_>) -> Topology {
    let ready = || candidates.iter().map(|candidate| candidate.endpoint).filter(|endpoint| endpoint.ready);
    let decides = |topology: Topology, names: fn(&crate::Hints) -> &[Arc<str>]| {
        ready().all(|endpoint| endpoint.hints.as_ref().is_some_and(|hints| !names(hints).is_empty()))
            && ready().any(|endpoint| is_meant_for(endpoint, topology, here))
    };
    if decides(Topology::SameNode, |hints| &hints.nodes) {
        Topology::SameNode
    } else if decides(Topology::SameZone, |hints| &hints.zones) {
        Topology::SameZone
    } else {
        Topology::Anywhere
    }
}
