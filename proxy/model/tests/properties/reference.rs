//! The same rules once more, written as plainly as they are stated: one question, answered from all facts.
//!
//! Shares nothing with the crate but the facts and the verdict, so that what both get wrong they got wrong apart.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use fairlead_ebpf_shared::SCOPE_NODE;
use fairlead_proxy_model::{
    Client, Endpoint, Family, Protocol, ServiceFact, ServicePort, Settings, TrafficPolicy, Verdict, Why, any_node,
    frontend_key,
};

use super::generate::{Facts, NODE};

/// A question.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    pub client: Client,
    pub addr: IpAddr,
    pub port: u16,
    pub protocol: Protocol,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Cluster,
    LoadBalancer,
    External,
    Node,
}

pub fn verdict(facts: &Facts, settings: &Settings, probe: &Probe) -> Verdict {
    let Probe { client, addr, port, protocol } = *probe;
    // Oldest first, then by name.
    let mut services: Vec<&ServiceFact> = facts.services.values().map(|fact| &**fact).collect();
    services.sort_by_key(|service| (service.created.unwrap_or(i64::MAX), service.name.clone()));

    let exact = services.iter().find_map(|service| {
        let kind = kind_of(service, addr)?;
        let found = service.ports.iter().find(|found| found.port == port && found.protocol == protocol)?;
        Some((*service, found, kind))
    });
    if let Some((service, found, kind)) = exact {
        return answer(facts, service, found, kind, probe, addr);
    }
    let is_other = facts.nodes.values().any(|node| *node.name != *NODE && node.addresses.contains(&addr));
    let is_own = if addr.is_loopback() || addr.is_unspecified() {
        client.is_host && settings.localhost_node_ports
    } else {
        facts.own.contains(&addr)
    };
    if !(is_own || is_other && settings.serve_other_nodes) {
        let is_cluster_ip = !is_other && services.iter().any(|service| service.cluster_ips.contains(&addr));
        return if is_cluster_ip { Verdict::Refused(Why::UndefinedPort) } else { Verdict::Pass };
    }
    let node_port = services.iter().find_map(|service| {
        service.cluster_ips.iter().find(|ip| Family::of(**ip) == Family::of(addr))?;
        let found = service.ports.iter().find(|found| found.node_port == Some(port) && found.protocol == protocol)?;
        Some((*service, found))
    });
    match node_port {
        None => Verdict::Pass,
        Some((service, _))
            if !is_own && client.scope == SCOPE_NODE && service.external_policy == TrafficPolicy::Local =>
        {
            Verdict::Pass
        }
        Some((service, found)) => answer(facts, service, found, Kind::Node, probe, any_node(Family::of(addr))),
    }
}

fn kind_of(service: &ServiceFact, addr: IpAddr) -> Option<Kind> {
    service.cluster_ips.iter().find(|ip| Family::of(**ip) == Family::of(addr))?;
    if service.cluster_ips.contains(&addr) {
        Some(Kind::Cluster)
    } else if service.load_balancer_ips.contains(&addr) {
        Some(Kind::LoadBalancer)
    } else if service.external_ips.contains(&addr) {
        Some(Kind::External)
    } else {
        None
    }
}

fn answer(facts: &Facts, service: &ServiceFact, port: &ServicePort, kind: Kind, probe: &Probe, at: IpAddr) -> Verdict {
    let Probe { client, addr, .. } = *probe;
    let family = Family::of(addr);
    let ranges: Vec<_> = service.source_ranges.iter().filter(|range| Family::of_net(**range) == family).collect();
    if kind == Kind::LoadBalancer && !ranges.is_empty() && ranges.iter().all(|range| range.prefix_len() > 0) {
        let Some(from) = client.addr else { return Verdict::Dropped(Why::ClientUnknown) };
        let node = facts.nodes.get(NODE);
        let node_ip = node.and_then(|node| node.addresses.iter().find(|addr| Family::of(**addr) == family).copied());
        let node_is_in = node_ip.is_some_and(|node| ranges.iter().any(|range| range.contains(&node)));
        let is_vip = service.load_balancer_ips.contains(&from);
        if !(ranges.iter().any(|range| range.contains(&from)) || node_is_in && is_vip) {
            return Verdict::Dropped(Why::SourceRange);
        }
    }
    let policy = match kind {
        Kind::Cluster => service.internal_policy,
        // The short-circuit: this node's own clients are under no external policy.
        _ if client.scope == SCOPE_NODE => TrafficPolicy::Cluster,
        _ => service.external_policy,
    };
    let endpoints = endpoints(facts, service, port, family);
    let zone = facts.nodes.get(NODE).and_then(|node| node.zone.clone());
    let backends = match policy {
        TrafficPolicy::Cluster => cluster(&endpoints, zone.as_deref()),
        TrafficPolicy::Local => local(&endpoints),
    };
    if !backends.is_empty() {
        let key =
            fairlead_ebpf_shared::FrontendKey { scope: client.scope, ..frontend_key(at, probe.port, probe.protocol) };
        return Verdict::To { key, backends };
    }
    let anywhere = endpoints.values().any(|endpoint| endpoint.ready || (endpoint.serving && endpoint.terminating));
    if anywhere { Verdict::Dropped(Why::NoLocalEndpoint) } else { Verdict::Refused(Why::NoEndpoint) }
}

fn endpoints(
    facts: &Facts,
    service: &ServiceFact,
    port: &ServicePort,
    family: Family,
) -> BTreeMap<SocketAddr, Endpoint> {
    let mut found: BTreeMap<SocketAddr, Endpoint> = BTreeMap::new();
    for slice in facts.slices.values() {
        if slice.service_name() != service.name || slice.family != family {
            continue;
        }
        for stated in &slice.ports {
            if stated.name != port.name || stated.protocol != port.protocol {
                continue;
            }
            for endpoint in &slice.endpoints {
                let addr = SocketAddr::new(endpoint.addr, stated.port);
                let rank = |endpoint: &Endpoint| (endpoint.terminating, !endpoint.ready, !endpoint.serving);
                if found.get(&addr).is_none_or(|known| rank(endpoint) < rank(known)) {
                    found.insert(addr, endpoint.clone());
                }
            }
        }
    }
    found
}

fn cluster(endpoints: &BTreeMap<SocketAddr, Endpoint>, zone: Option<&str>) -> Vec<SocketAddr> {
    let ready: Vec<(&SocketAddr, &Endpoint)> = endpoints.iter().filter(|(_, endpoint)| endpoint.ready).collect();
    let names = |endpoint: &Endpoint, by_node: bool| {
        let hints = endpoint.hints.as_deref().cloned().unwrap_or_default();
        if by_node { hints.nodes } else { hints.zones }
    };
    for (by_node, here) in [(true, Some(NODE)), (false, zone)] {
        let is_for_here = |endpoint: &Endpoint| names(endpoint, by_node).iter().any(|name| Some(&**name) == here);
        if ready.iter().all(|(_, endpoint)| !names(endpoint, by_node).is_empty()) {
            let chosen: Vec<SocketAddr> =
                ready.iter().filter(|(_, endpoint)| is_for_here(endpoint)).map(|(addr, _)| **addr).collect();
            if !chosen.is_empty() {
                return chosen;
            }
        }
    }
    if !ready.is_empty() {
        return ready.into_iter().map(|(addr, _)| *addr).collect();
    }
    let leaving = endpoints.iter().filter(|(_, endpoint)| endpoint.serving && endpoint.terminating);
    leaving.map(|(addr, _)| *addr).collect()
}

fn local(endpoints: &BTreeMap<SocketAddr, Endpoint>) -> Vec<SocketAddr> {
    let here = || endpoints.iter().filter(|(_, endpoint)| endpoint.node.as_deref() == Some(NODE));
    let ready: Vec<SocketAddr> = here().filter(|(_, endpoint)| endpoint.ready).map(|(addr, _)| *addr).collect();
    if !ready.is_empty() {
        return ready;
    }
    here().filter(|(_, endpoint)| endpoint.serving && endpoint.terminating).map(|(addr, _)| *addr).collect()
}
