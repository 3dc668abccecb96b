//! `endpoints`: where the endpoints of Services are, in which condition, and for whom they are used. The daemon knows; without
//! one the backends in the maps are all that is known.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::Result;
use fairlead_proxy_model::{
    Desired, Endpoint, Engine, Family, ObjectName, Protocol, ServiceFact, ServicePort, any_node, frontend_key,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::arguments::Endpoints;
use super::{inspect, plain_table, print, print_json, services, trimmed};
use crate::cli::Output;
use crate::state;
use crate::surface::questions::Question;
use crate::surface::socket::ask;

/// One endpoint of one port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Row {
    /// `namespace/name`; `None`: nobody has told.
    pub service: Option<String>,
    /// The port's name; may be empty.
    pub port: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Where it is.
    pub addr: SocketAddr,
    /// The node it is on, if known.
    pub node: Option<String>,
    /// `ready`, `terminating`, `gone`, `not ready` or, without a daemon, `unknown`.
    pub condition: String,
    /// Zones and nodes from where it should be used; none: from anywhere.
    pub hints: Vec<String>,
    /// Clients inside the cluster are sent to it (from this node).
    pub internal: bool,
    /// Clients of NodePorts, external and load balancer addresses are.
    pub external: bool,
}

/// `endpoints`.
pub fn endpoints(arguments: &Endpoints) -> Result<()> {
    let Endpoints { show, service } = arguments;
    let question = Question::Endpoints { service: service.as_ref().map(ToString::to_string) };
    let told: Option<Vec<Row>> = ask(&show.roots.state_dir, &question)?;
    let running = told.is_some();
    let rows = match told {
        Some(rows) => rows,
        None => match inspect(&show.roots)? {
            Some(inspection) => {
                let owners = state::read_owners(&show.roots.state_dir)?;
                from_maps(&services::rows(&inspection.maps, &owners)?, service.as_ref())
            }
            None => Vec::new(),
        },
    };
    match show.output {
        Output::Json => print_json(&json!({"running": running, "endpoints": rows})),
        Output::Table => print(&table(&rows, running)),
    }
}

/// What the engine knows, of `service` or of all.
pub fn rows(engine: &Engine, service: Option<&str>) -> Vec<Row> {
    let wanted = |fact: &&Arc<ServiceFact>| service.is_none_or(|service| service == fact.name.to_string());
    let mut rows: Vec<Row> = engine
        .services()
        .filter(wanted)
        .flat_map(|fact| fact.ports.iter().flat_map(|port| of_port(engine, fact, port)))
        .collect();
    rows.sort();
    rows
}

fn of_port(engine: &Engine, fact: &ServiceFact, port: &ServicePort) -> Vec<Row> {
    let [internal, external] = used(engine.desired(), fact, port);
    let row = |(addr, endpoint): (SocketAddr, &Endpoint)| Row {
        service: Some(fact.name.to_string()),
        port: port.name.to_string(),
        protocol: port.protocol.name().to_owned(),
        addr,
        node: endpoint.node.as_ref().map(ToString::to_string),
        condition: condition(endpoint).to_owned(),
        hints: hints(endpoint),
        internal: internal.contains(&addr),
        external: external.contains(&addr),
    };
    merged(engine, &fact.name, &port.name, port.protocol).into_iter().map(row).collect()
}

/// All endpoints of a port, each address and port once: the one that counts where two slices name it.
pub fn merged<'a>(
    engine: &'a Engine,
    service: &ObjectName,
    port: &str,
    protocol: Protocol,
) -> BTreeMap<SocketAddr, &'a Endpoint> {
    let mut merged: BTreeMap<SocketAddr, &Endpoint> = BTreeMap::new();
    for slice in engine.slices_of(service) {
        for there in slice.ports.iter().filter(|there| *there.name == *port && there.protocol == protocol) {
            for endpoint in &slice.endpoints {
                let rank = |endpoint: &Endpoint| (endpoint.terminating, !endpoint.ready, !endpoint.serving);
                let known = merged.entry(SocketAddr::new(endpoint.addr, there.port)).or_insert(endpoint);
                if rank(endpoint) < rank(known) {
                    *known = endpoint;
                }
            }
        }
    }
    merged
}

/// Where clients are sent that ask the cluster IP, and those that ask any other address.
fn used(desired: &Desired, fact: &ServiceFact, port: &ServicePort) -> [BTreeSet<SocketAddr>; 2] {
    let inside = fact.cluster_ips.iter().map(|addr| (*addr, port.port));
    let outside = fact.external_ips.iter().chain(&fact.load_balancer_ips).map(|addr| (*addr, port.port));
    let at_nodes = port.node_port.map(|number| Family::ALL.map(|family| (any_node(family), number)));
    let of = |places: &mut dyn Iterator<Item = (IpAddr, u16)>| -> BTreeSet<SocketAddr> {
        places
            .filter_map(|(addr, number)| desired.frontends.get(&frontend_key(addr, number, port.protocol)))
            .filter(|frontend| frontend.service == fact.name)
            .flat_map(|frontend| frontend.backends.iter().copied())
            .collect()
    };
    [of(&mut { inside }), of(&mut outside.chain(at_nodes.into_iter().flatten()))]
}

/// One word or two; the first that applies.
pub fn condition(endpoint: &Endpoint) -> &'static str {
    match (endpoint.ready, endpoint.terminating, endpoint.serving) {
        (true, ..) => "ready",
        (false, true, true) => "terminating",
        (false, true, false) => "gone",
        (false, false, _) => "not ready",
    }
}

fn hints(endpoint: &Endpoint) -> Vec<String> {
    let Some(hints) = &endpoint.hints else { return Vec::new() };
    let zones = hints.zones.iter().map(|zone| format!("zone {zone}"));
    zones.chain(hints.nodes.iter().map(|node| format!("node {node}"))).collect()
}

/// What the maps alone say, of `service` or of all.
fn from_maps(frontends: &[services::Row], service: Option<&ObjectName>) -> Vec<Row> {
    let wanted = service.map(ToString::to_string);
    let wanted = |row: &&services::Row| wanted.is_none() || row.service == wanted;
    let rows = frontends.iter().filter(wanted).flat_map(|row| {
        let protocol = row.frontend.rsplit('/').next().unwrap_or_default();
        row.backends.iter().filter_map(move |backend| {
            Some(Row {
                service: row.service.clone(),
                port: row.port.clone(),
                protocol: protocol.to_owned(),
                addr: backend.parse().ok()?,
                node: None,
                condition: "unknown".to_owned(),
                hints: Vec::new(),
                internal: true,
                external: false,
            })
        })
    });
    let rows: BTreeSet<Row> = rows.collect();
    rows.into_iter().collect()
}

/// For people.
pub fn table(rows: &[Row], running: bool) -> String {
    let foot = match running {
        true => "",
        false => {
            "no proxy runs: these are the backends in the maps; who else there is, and in which condition, is not known\n"
        }
    };
    if rows.is_empty() {
        return format!("no endpoint is known\n{foot}");
    }
    let mut table = plain_table(&["SERVICE", "PORT", "ENDPOINT", "NODE", "CONDITION", "USED FOR", "HINTS"]);
    for row in rows {
        let used = match (running, row.internal, row.external) {
            (false, ..) => "in the maps",
            (true, true, true) => "all",
            (true, true, false) => "cluster IP",
            (true, false, true) => "other addresses",
            (true, false, false) => "nothing",
        };
        table.add_row([
            row.service.clone().unwrap_or_else(|| "(unknown)".to_owned()),
            format!("{}/{}", row.port, row.protocol).trim_start_matches('/').to_owned(),
            row.addr.to_string(),
            row.node.clone().unwrap_or_default(),
            row.condition.clone(),
            used.to_owned(),
            row.hints.join(", "),
        ]);
    }
    format!("{}{foot}", trimmed(&table))
}

#[cfg(test)]
mod tests;
