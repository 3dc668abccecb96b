//! Verbs that look at what is in the kernel and at what the daemon last told. They work whether a daemon runs or not.

pub mod arguments;
mod cleanup;
mod doctor;
pub mod endpoints;
pub mod services;
mod status;
mod top;
mod walk;
pub mod why;

use std::io::{IsTerminal, Write};

use anyhow::{Context, Result};
use comfy_table::{ContentArrangement, Table, presets};
use fairlead_ebpf_shared::Reason;
use fairlead_proxy_model::{Outcome, frontend_name, render_dump};
use serde_json::{Value, json};

use self::status::Voice;
use crate::attach;
use crate::cli::{Output, Roots, Show};
use crate::maps::Maps;
use crate::state;
use crate::surface::questions::Question;
use crate::surface::socket::ask;

pub use cleanup::cleanup;
pub use doctor::doctor;
pub use endpoints::endpoints;
pub use top::top;
pub use why::why;

/// `services`.
pub fn services(show: &Show) -> Result<()> {
    let owners = state::read_owners(&show.roots.state_dir)?;
    let rows = match inspect(&show.roots)? {
        Some(inspection) => services::rows(&inspection.maps, &owners)?,
        None => Vec::new(),
    };
    match show.output {
        Output::Json => print_json(&serde_json::to_value(rows)?),
        Output::Table if rows.is_empty() => print("no Service is served here\n"),
        Output::Table => print(&services::table(&rows)),
    }
}

/// `status`.
pub fn status(show: &Show) -> Result<()> {
    let state_dir = &show.roots.state_dir;
    let last = || state::read_status(state_dir);
    let voice = match ask(state_dir, &Question::Status) {
        Ok(Some(status)) => Voice::Live(status),
        Ok(None) | Err(_) if !state::is_running(state_dir) => Voice::Past(last()?),
        Ok(None) => Voice::Silent(last()?, None),
        Err(error) => Voice::Silent(last()?, Some(format!("{error:#}"))),
    };
    let kernel = inspect(&show.roots)?.map(|inspection| status::Kernel::read(&inspection)).transpose()?;
    match show.output {
        Output::Json => print_json(&status::json(&voice, kernel.as_ref())),
        Output::Table => print(&status::text(&voice, kernel.as_ref(), is_bright())),
    }
}

/// `dump`.
pub fn dump(show: &Show) -> Result<()> {
    let Some(inspection) = inspect(&show.roots)? else {
        return match show.output {
            Output::Json => print_json(&json!({"frontends": []})),
            Output::Table => print("no maps are pinned here\n"),
        };
    };
    let dump = inspection.maps.dump()?;
    match show.output {
        Output::Table => print(&render_dump(&dump)),
        Output::Json => {
            let frontends = dump.frontends.iter().map(|(key, value)| {
                let set = dump.sets.get(&value.slot);
                let mut frontend = json!({
                    "frontend": frontend_name(key),
                    "slot": value.slot,
                    "tag": value.tag,
                    "base": set.map(|set| set.word.base()),
                    "count": set.map(|set| set.word.count()),
                });
                if let Some(fields) = frontend.as_object_mut() {
                    fields.extend(outcome_fields(&dump.resolve(key, value)));
                }
                frontend
            });
            print_json(&json!({ "frontends": frontends.collect::<Vec<_>>() }))
        }
    }
}

fn inspect(roots: &Roots) -> Result<Option<attach::Inspection>> {
    attach::inspect(&roots.bpffs_root, &roots.cgroup_root)
}

/// `backends`, and `state`: `serving`, `refused` or `broken: …`.
fn outcome_fields(outcome: &Outcome) -> serde_json::Map<String, Value> {
    let (state, backends) = match outcome {
        Outcome::Backends(backends) => ("serving".to_owned(), &backends[..]),
        Outcome::Refused => ("refused".to_owned(), &[][..]),
        Outcome::Dropped => ("dropped".to_owned(), &[][..]),
        Outcome::Broken(part) => (format!("broken: {part}"), &[][..]),
    };
    let backends: Vec<String> = backends.iter().map(ToString::to_string).collect();
    serde_json::Map::from_iter([("state".to_owned(), json!(state)), ("backends".to_owned(), json!(backends))])
}

/// What each counter of the programs is called, and its value.
fn named(counters: &[u64; Reason::ALL.len()]) -> impl Iterator<Item = (&'static str, u64)> + '_ {
    Reason::ALL.iter().map(|reason| (reason.name(), counters[*reason as usize]))
}

/// Whether colours are wanted: on a terminal, unless `NO_COLOR` is set to anything (no-color.org).
fn is_bright() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn plain_table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(head);
    table
}

/// A table without the blanks around it.
fn trimmed(table: &Table) -> String {
    table.lines().map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(&line).trim_end())).collect()
}

fn print(text: &str) -> Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        // `| head` has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.context("write to stdout"),
    }
}

fn print_json(value: &Value) -> Result<()> {
    print(&format!("{value:#}\n"))
}
