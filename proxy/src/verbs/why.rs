//! `why`: what happens to a connection, from the live maps and, while a daemon runs, from what it knows of the endpoints.

use std::fmt::Write;
use std::net::SocketAddr;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::arguments::Why;
use super::walk::{Probe, Walk, walk};
use super::{inspect, plain_table, print, print_json, trimmed};
use crate::cli::Output;
use crate::maps::Maps;
use crate::state;
use crate::surface::questions::Question;
use crate::surface::socket::ask;

/// What the daemon says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// `namespace/name` of the Service that applies.
    pub service: Option<String>,
    /// The port's name; may be empty.
    pub port: String,
    /// Which rule applies, a sentence for each step.
    pub rule: Vec<String>,
    /// All endpoints of the port, of the address's family.
    pub endpoints: Vec<Candidate>,
}

/// An endpoint that may or may not be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Where it is.
    pub addr: SocketAddr,
    /// The node it is on, if known.
    pub node: Option<String>,
    /// Whether connections may go to it.
    pub used: bool,
    /// Why not; empty when it is used.
    pub reason: String,
}

/// `why`.
pub fn why(arguments: &Why) -> Result<()> {
    let Why { show, client, protocol, to } = arguments;
    let probe = Probe { client: *client, protocol: *protocol, to: *to };
    let state_dir = &show.roots.state_dir;
    let found = match inspect(&show.roots)? {
        Some(inspection) => Some(walk(&inspection.maps.dump()?, &inspection.maps.host()?, &probe)),
        None => None,
    };
    let question = Question::Why { client: *client, protocol: *protocol, to: *to };
    let told: Option<Told> = ask(state_dir, &question)?;
    let owner = match found.as_ref().and_then(|walk| walk.frontend.as_ref()) {
        Some(frontend) => state::read_owners(state_dir)?.remove(frontend),
        None => None,
    };
    let answer = Answer { probe, walk: found.as_ref(), told: told.as_ref(), owner };
    match show.output {
        Output::Json => print_json(&answer.json()),
        Output::Table => print(&answer.text()),
    }
}

/// All that is known.
struct Answer<'a> {
    probe: Probe,
    walk: Option<&'a Walk>,
    told: Option<&'a Told>,
    owner: Option<state::Owner>,
}

impl Answer<'_> {
    fn name(&self) -> String {
        let Probe { client, protocol, to } = self.probe;
        format!("{client} to {to}/{}", format!("{protocol:?}").to_uppercase())
    }

    /// Service and port, from the daemon if it runs, else from what the last one wrote.
    fn service(&self) -> Option<(String, String)> {
        let told = self.told.and_then(|told| Some((told.service.clone()?, told.port.clone())));
        told.or_else(|| self.owner.as_ref().map(|owner| (owner.service.clone(), owner.port.clone())))
    }

    /// The daemon wants other backends than the maps have: a change on its way, or drift.
    fn differs(&self) -> bool {
        let (Some(walk), Some(told)) = (self.walk, self.told) else { return false };
        let mut wanted: Vec<SocketAddr> =
            told.endpoints.iter().filter(|candidate| candidate.used).map(|candidate| candidate.addr).collect();
        wanted.sort_unstable();
        walk.frontend.is_some() && walk.verdict != "dropped" && wanted != walk.backends
    }

    fn json(&self) -> Value {
        let chance = self.walk.map_or(0.0, |walk| 1.0 / walk.backends.len().max(1) as f64);
        let service = self.service();
        json!({
            "client": self.probe.client,
            "protocol": self.probe.protocol,
            "to": self.probe.to,
            "verdict": self.walk.map_or("left alone", |walk| walk.verdict),
            "frontend": self.walk.and_then(|walk| walk.frontend.clone()),
            "service": service.as_ref().map(|(service, _)| service),
            "port": service.as_ref().map(|(_, port)| port),
            "steps": self.walk.map(|walk| walk.steps.clone()).unwrap_or_default(),
            "affinitySeconds": self.walk.map_or(0, |walk| walk.affinity_s),
            "backends": self.walk.map(|walk| {
                walk.backends.iter().map(|addr| json!({"address": addr, "chance": chance})).collect::<Vec<_>>()
            }).unwrap_or_default(),
            "daemon": self.told,
            "differs": self.differs(),
        })
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: &str| _ = writeln!(text, "{name:<10}{value}");
        let verdict = match self.walk {
            None => "left alone: nothing is in the kernel, no Service is served".to_owned(),
            Some(walk) => match (walk.verdict, walk.backends.len()) {
                ("backends", 1) => "goes to its one backend".to_owned(),
                ("backends", count) => format!("goes to one of {count} backends"),
                ("broken", _) => "refused: the maps are damaged, `status` tells more".to_owned(),
                (verdict, _) => verdict.to_owned(),
            },
        };
        line(&self.name(), "");
        line("verdict", &verdict);
        if let Some((service, port)) = self.service() {
            let port = if port.is_empty() { String::new() } else { format!(", port {port}") };
            line("service", &format!("{service}{port}"));
        }
        if let Some(walk) = self.walk {
            if let Some(frontend) = &walk.frontend {
                line("frontend", frontend);
            }
            for step in &walk.steps {
                line("because", step);
            }
            if walk.affinity_s > 0 {
                let hours = format!("a client keeps its backend for {} s after its last connection", walk.affinity_s);
                line("affinity", &hours);
            }
        }
        for rule in self.told.map(|told| &told.rule[..]).unwrap_or_default() {
            line("rule", rule);
        }
        if self.told.is_none() {
            line(
                "daemon",
                "does not run: what is in the kernel holds, and why other endpoints are not used is not known",
            );
        }
        if self.differs() {
            line("differs", "the daemon wants other backends than the maps have: ask again, then see `status`");
        }
        text.push_str(&self.backends());
        // The first line is a heading, without a value.
        text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }

    fn backends(&self) -> String {
        let used = self.walk.map(|walk| &walk.backends[..]).unwrap_or_default();
        let candidates = self.told.map(|told| &told.endpoints[..]).unwrap_or_default();
        if used.is_empty() && candidates.is_empty() {
            return String::new();
        }
        let mut table = plain_table(&["BACKEND", "CHANCE", "NODE", "WHY NOT"]);
        for addr in used {
            let known = candidates.iter().find(|candidate| candidate.addr == *addr);
            let node = known.and_then(|known| known.node.clone()).unwrap_or_default();
            table.add_row([addr.to_string(), format!("{:.1} %", 100.0 / used.len() as f64), node, String::new()]);
        }
        for candidate in candidates.iter().filter(|candidate| !used.contains(&candidate.addr)) {
            let node = candidate.node.clone().unwrap_or_default();
            let reason = if candidate.used { "not in the maps yet" } else { &*candidate.reason };
            table.add_row([candidate.addr.to_string(), "none".to_owned(), node, reason.to_owned()]);
        }
        format!("\n{}", trimmed(&table))
    }
}

#[cfg(test)]
mod tests;
