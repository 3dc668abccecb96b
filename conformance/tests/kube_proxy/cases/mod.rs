//! The cases, by what they are about. A case is a name and its steps; see `side.rs` for how its objects are written.

mod balancer;
mod changes;
mod cluster_ip;
mod endpoints;
mod hints;
mod node_port;
mod policies;

use serde_json::{Value, json};

use super::play::Case;
use super::side::merge;

/// All of them, or those whose name contains what `FAIRLEAD_CASE` says.
pub fn all() -> Vec<Case> {
    let wanted = std::env::var("FAIRLEAD_CASE").unwrap_or_default();
    let all = [
        cluster_ip::CASES,
        endpoints::CASES,
        policies::CASES,
        hints::CASES,
        node_port::CASES,
        balancer::CASES,
        changes::CASES,
    ]
    .concat();
    all.into_iter().filter(|(name, _)| name.contains(&wanted)).collect()
}

/// A port of a Service, and of a slice: name, protocol and number.
fn port(name: &str, protocol: &str, number: u16) -> Value {
    json!({"name": name, "protocol": protocol, "port": number})
}

/// The object with these members merged over it.
fn with(mut object: Value, over: Value) -> Value {
    merge(&mut object, &over);
    object
}

/// The Service with these entries of `status.loadBalancer.ingress`.
fn ingress(service: Value, entries: Value) -> Value {
    with(service, json!({"status": {"loadBalancer": {"ingress": entries}}}))
}

fn dual() -> Value {
    json!(["IPv4", "IPv6"])
}
