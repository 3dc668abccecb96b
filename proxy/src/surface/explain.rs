//! What the engine knows about one connection: which rule applies, which endpoints there are, and why some are not used.

use std::net::{IpAddr, SocketAddr};

use fairlead_ebpf_shared::{AddressClass, FrontendKey};
use fairlead_proxy_model::{
    DesiredFrontend, Endpoint, Engine, Family, FrontendKind, Protocol, TrafficPolicy, WhenEmpty, any_node, frontend_key,
};

use crate::verbs::endpoints::merged;
use crate::verbs::why::{Candidate, Told};

/// Explains a connection of the node's own to `to`. `from`: its source address, if that is known.
pub fn explain(engine: &Engine, from: Option<IpAddr>, protocol: Protocol, to: SocketAddr) -> Told {
    let mut told = Told::default();
    let Some((key, at_other_node)) = find(engine, protocol, to, &mut told.rule) else { return told };
    let Some(frontend) = engine.desired().frontends.get(&key) else { return told };
    told.service = Some(frontend.service.to_string());
    told.port = frontend.port.to_string();
    told.rule.extend(rules(engine, frontend, at_other_node, from));
    let family = Family::of(to.ip().to_canonical());
    let endpoints = merged(engine, &frontend.service, &frontend.port, protocol);
    told.endpoints = endpoints
        .into_iter()
        .filter(|(addr, _)| Family::of(addr.ip()) == family)
        .map(|(addr, endpoint)| {
            let used = frontend.backends.binary_search(&addr).is_ok();
            Candidate {
                addr,
                node: endpoint.node.as_ref().map(ToString::to_string),
                used,
                reason: if used { String::new() } else { why_not(engine, frontend, endpoint) },
            }
        })
        .collect();
    told
}

/// The frontend that applies, and whether it was found at the address of another node.
fn find(engine: &Engine, protocol: Protocol, to: SocketAddr, rule: &mut Vec<String>) -> Option<(FrontendKey, bool)> {
    let (addr, port) = (to.ip().to_canonical(), to.port());
    let desired = engine.desired();
    let exact = frontend_key(addr, port, protocol);
    if !addr.is_unspecified() && desired.frontends.contains_key(&exact) {
        return Some((exact, false));
    }
    let is_local = addr.is_loopback() || addr.is_unspecified();
    let class = if is_local { Some(AddressClass::OwnNode) } else { desired.addresses.get(&addr).copied() };
    let wildcard = frontend_key(any_node(Family::of(addr)), port, protocol);
    match class {
        Some(AddressClass::ClusterIp) => rule.push(format!("no Service has port {port}/{} at {addr}", protocol.name())),
        Some(class) if desired.frontends.contains_key(&wildcard) => {
            return Some((wildcard, class == AddressClass::OtherNode));
        }
        Some(_) => rule.push(format!("no Service has the NodePort {port}/{}", protocol.name())),
        None => rule.push(format!("no Service and no node has the address {addr}")),
    }
    None
}

fn rules(engine: &Engine, frontend: &DesiredFrontend, at_other_node: bool, from: Option<IpAddr>) -> Vec<String> {
    let mut rules = Vec::new();
    let Some(service) = engine.service(&frontend.service) else { return rules };
    let kind = frontend.kind.name();
    rules.push(match (frontend.kind, service.internal_policy, service.external_policy) {
        (FrontendKind::ClusterIp, TrafficPolicy::Cluster, _) => format!("{kind}: internalTrafficPolicy is Cluster"),
        (FrontendKind::ClusterIp, TrafficPolicy::Local, _) => {
            format!("{kind}: internalTrafficPolicy is Local, only endpoints on this node count")
        }
        (_, _, TrafficPolicy::Cluster) => format!("{kind}: externalTrafficPolicy is Cluster"),
        (_, _, TrafficPolicy::Local) if at_other_node => {
            format!("{kind}: externalTrafficPolicy is Local, so that the node that is asked decides")
        }
        (_, _, TrafficPolicy::Local) => format!(
            "{kind}: externalTrafficPolicy is Local, which does not count for the node's own pods and processes"
        ),
    });
    if let Some(ranges) = &frontend.ranges {
        let list: Vec<String> = ranges.iter().map(ToString::to_string).collect();
        let verdict = match from {
            None => "whether the client is in them is for the kernel to say".to_owned(),
            Some(addr) if ranges.iter().any(|range| range.contains(&addr)) => format!("{addr} is in them"),
            Some(addr) => format!("{addr} is not in them"),
        };
        rules.push(format!("loadBalancerSourceRanges are {}: {verdict}", list.join(", ")));
    }
    if let Some(seconds) = frontend.affinity_s {
        rules.push(format!("sessionAffinity is ClientIP, for {seconds} s"));
    }
    if frontend.backends.is_empty() {
        rules.push(match frontend.when_empty {
            WhenEmpty::Refuse => "no endpoint anywhere can be used: refused".to_owned(),
            WhenEmpty::Drop => "no endpoint on this node can be used, others have some: dropped".to_owned(),
        });
    }
    rules
}

/// One sentence: the first rule that leaves it out.
fn why_not(engine: &Engine, frontend: &DesiredFrontend, endpoint: &Endpoint) -> String {
    let policy = engine.service(&frontend.service).map(|service| service.internal_policy);
    let only_here = frontend.kind == FrontendKind::ClusterIp && policy == Some(TrafficPolicy::Local);
    let node = &*engine.settings().node;
    let is_leaving = endpoint.serving && endpoint.terminating;
    if !endpoint.ready && !is_leaving {
        let text = if endpoint.terminating { "terminating, and serves no longer" } else { "not ready" };
        return text.to_owned();
    }
    if only_here && endpoint.node.as_deref() != Some(node) {
        return format!("not on {node}, and internalTrafficPolicy is Local");
    }
    if !endpoint.ready {
        return "terminating, and others are ready".to_owned();
    }
    match &endpoint.hints {
        Some(hints) => {
            let zone = engine.own_node().and_then(|node| node.zone.as_deref()).unwrap_or("no zone");
            let names: Vec<&str> = hints.nodes.iter().chain(&hints.zones).map(|name| &**name).collect();
            format!("its hints are for {}, this is {node} in {zone}", names.join(", "))
        }
        None => "its Service has more endpoints than a set can hold".to_owned(),
    }
}
