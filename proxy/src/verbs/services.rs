//! `services`: backends and connections from the live maps, names from what the daemon last told.

use anyhow::Result;
use fairlead_proxy_model::{Outcome, frontend_name};
use serde::Serialize;

use super::{plain_table, trimmed};
use crate::maps::Maps;
use crate::state::Owners;

/// One frontend.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Row {
    /// `namespace/name`; `None`: the daemon never told.
    pub service: Option<String>,
    /// The port's name; may be empty.
    pub port: String,
    /// `address:port/PROTOCOL`.
    pub frontend: String,
    /// `serving`, `refused` or `broken: …`.
    pub state: String,
    /// `address:port` of each backend.
    pub backends: Vec<String>,
    /// Connections and datagrams that were sent to it.
    pub connections: u64,
}

/// All frontends in the maps, by service.
pub fn rows(maps: &impl Maps, owners: &Owners) -> Result<Vec<Row>> {
    let dump = maps.dump()?;
    let slots: Vec<u32> = dump.frontends.values().map(|value| value.slot).collect();
    let counters = maps.slot_counters(&slots)?;
    let rows = dump.frontends.iter().zip(counters).map(|((key, value), connections)| {
        let frontend = frontend_name(key);
        let (state, backends) = match dump.resolve(key, value) {
            Outcome::Backends(backends) => ("serving".to_owned(), backends),
            Outcome::Refused => ("refused".to_owned(), Vec::new()),
            Outcome::Dropped => ("dropped".to_owned(), Vec::new()),
            Outcome::Broken(part) => (format!("broken: {part}"), Vec::new()),
        };
        let owner = owners.get(&frontend);
        Row {
            service: owner.map(|owner| owner.service.clone()),
            port: owner.map(|owner| owner.port.clone()).unwrap_or_default(),
            frontend,
            state,
            backends: backends.iter().map(ToString::to_string).collect(),
            connections,
        }
    });
    let mut rows: Vec<Row> = rows.collect();
    rows.sort();
    Ok(rows)
}

/// For people.
pub fn table(rows: &[Row]) -> String {
    let mut table = plain_table(&["SERVICE", "PORT", "FRONTEND", "CONNECTIONS", "BACKENDS"]);
    for row in rows {
        let backends = if row.backends.is_empty() {
            match row.state.as_str() {
                empty @ ("refused" | "dropped") => format!("none: {empty}"),
                broken => broken.to_owned(),
            }
        } else {
            row.backends.join("\n")
        };
        table.add_row([
            row.service.clone().unwrap_or_else(|| "(unknown)".to_owned()),
            row.port.clone(),
            row.frontend.clone(),
            row.connections.to_string(),
            backends,
        ]);
    }
    trimmed(&table)
}
