//! `endpoints`: where the endpoints of Services are, in which condition, and for whom they are used. The daemon knows; without
//! one the backends in the maps are all that is known.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

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
use crate::surface::questions::{Name, Question};
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

/// Some endpoints, in the order of their Services.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The endpoints.
    pub rows: Vec<Row>,
    /// The last Service that is here, if there are more after it.
    pub next: Option<Name>,
}

/// Rows of a page, about: half a millisecond of the loop's time.
const PAGE: usize = 500;

/// `endpoints`.
pub fn endpoints(arguments: &Endpoints) -> Result<()> {
    let Endpoints { show, service } = arguments;
    let state_dir = &show.roots.state_dir;
    let told = from_daemon(state_dir, service.as_ref())?;
    let running = told.is_some();
    let rows = match told {
        Some(rows) => rows,
        None => match inspect(&show.roots)? {
            Some(inspection) => {
                let owners = state::read_owners(state_dir)?;
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

/// Asks page by page; `None`: no daemon runs.
fn from_daemon(state_dir: &Path, service: Option<&ObjectName>) -> Result<Option<Vec<Row>>> {
    let mut rows = Vec::new();
    let mut after = None;
    loop {
        let question = Question::Endpoints { service: service.map(Name::from), after };
        let Some(page) = ask::<Page>(state_dir, &question)? else { return Ok(None) };
        rows.extend(page.rows);
        if page.next.is_none() {
            return Ok(Some(rows));
        }
        after = page.next;
    }
}

/// What the engine knows of the Services after `after`, as many as the loop can tell of without being missed.
pub fn page(engine: &Engine, after: Option<&ObjectName>) -> Page {
    let mut services = engine.services().skip_while(|fact| after.is_some_and(|after| fact.name <= *after)).peekable();
    let mut page = Page { rows: Vec::new(), next: None };
    for fact in services.by_ref() {
        page.rows.extend(of_fact(engine, fact));
        page.next = Some(Name::from(&fact.name));
        if page.rows.len() >= PAGE {
            break;
        }
    }
    if services.peek().is_none() {
        page.next = None;
    }
    page
}

/// All that the engine knows of one Service.
pub fn of_service(engine: &Engine, service: &ObjectName) -> Page {
    let rows = engine.service(service).map(|fact| of_fact(engine, fact)).unwrap_or_default();
    Page { rows, next: None }
}

fn of_fact(engine: &Engine, fact: &ServiceFact) -> Vec<Row> {
    let mut rows: Vec<Row> = fact.ports.iter().flat_map(|port| of_port(engine, fact, port)).collect();
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
