//! `status`: what the daemon told, and what the kernel says.

use std::fmt::Write;

use anyhow::Result;
use fairlead_ebpf_shared::Reason;
use fairlead_proxy_model::Sizes;
use serde_json::{Value, json};

use super::named;
use crate::attach::Inspection;
use crate::maps::Maps;
use crate::sources::Severity;
use crate::state::Status;

/// What the kernel says.
pub struct Kernel {
    sizes: Sizes,
    frontends: usize,
    backends: usize,
    counters: [u64; Reason::ALL.len()],
    /// Name, whether attached, detail.
    links: Vec<(String, bool, String)>,
}

impl Kernel {
    /// Reads it from the pins.
    pub fn read(inspection: &Inspection) -> Result<Self> {
        let dump = inspection.maps.dump()?;
        let links = inspection.links.iter().map(|link| (link.name.clone(), link.attached, link.detail.clone()));
        Ok(Self {
            sizes: inspection.maps.sizes(),
            frontends: dump.frontends.len(),
            backends: dump.sets.values().map(|set| set.backends.len()).sum(),
            counters: inspection.maps.counters()?,
            links: links.collect(),
        })
    }
}

/// One word for the whole.
fn verdict(running: bool, told: Option<&Status>, kernel: Option<&Kernel>) -> (&'static str, String) {
    let detached = kernel.map_or(0, |kernel| kernel.links.iter().filter(|(_, attached, _)| !attached).count());
    let told = told.filter(|_| running);
    let errors = told.map_or(0, |status| status.problems.iter().filter(|p| p.severity == Severity::Error).count());
    let held_over = told.map_or(0, |status| status.held_over.len());
    match (kernel, told) {
        (None, _) => ("absent", "nothing is in the kernel, no Service is served".to_owned()),
        _ if detached > 0 => ("broken", format!("{detached} programs are not attached")),
        (Some(_), None) => ("frozen", "no proxy runs; Services are served as they were last known".to_owned()),
        (Some(_), Some(status)) if !status.ready => ("starting", "the first state is not applied yet".to_owned()),
        (Some(_), Some(status)) if status.last_error.is_some() => {
            ("degraded", "the maps cannot be brought up to date".to_owned())
        }
        _ if errors > 0 => ("degraded", format!("{errors} errors in the source, see below")),
        _ if held_over > 0 => ("degraded", format!("{held_over} frontends are kept from before the start")),
        _ => ("serving", "everything is in force".to_owned()),
    }
}

/// For programs.
pub fn json(running: bool, told: Option<&Status>, kernel: Option<&Kernel>) -> Value {
    let (state, detail) = verdict(running, told, kernel);
    json!({
        "running": running,
        "state": state,
        "detail": detail,
        "daemon": told,
        "kernel": kernel.map(|kernel| json!({
            "maps": {
                "frontends": {"used": kernel.frontends, "size": kernel.sizes.slots},
                "backends": {"used": kernel.backends, "size": kernel.sizes.backends},
            },
            "links": kernel.links.iter().map(|(name, attached, detail)| {
                json!({"name": name, "attached": attached, "detail": detail})
            }).collect::<Vec<_>>(),
            "counters": named(&kernel.counters)
                .map(|(name, value)| (name.to_owned(), json!(value)))
                .collect::<serde_json::Map<_, _>>(),
        })),
    })
}

/// For people; `bright` with colour.
pub fn text(running: bool, told: Option<&Status>, kernel: Option<&Kernel>, bright: bool) -> String {
    let (state, detail) = verdict(running, told, kernel);
    let colour = match state {
        "serving" => "32",
        "starting" | "frozen" => "33",
        _ => "31",
    };
    let state = if bright { format!("\x1b[1;{colour}m{state}\x1b[0m") } else { state.to_owned() };
    let mut text = String::new();
    let mut line = |name: &str, value: &str| _ = writeln!(text, "{name:<10}{value}");
    line("state", &format!("{state}: {detail}"));
    match told {
        Some(status) if running => line("proxy", &format!("runs, pid {}, version {}", status.pid, status.version)),
        Some(status) => line("proxy", &format!("does not run; the last was pid {}", status.pid)),
        None if running => line("proxy", "runs, and has told nothing yet"),
        None => line("proxy", "does not run"),
    }
    if let Some(status) = told {
        let Status { files, services, slices, .. } = status;
        let files = files.map(|files| format!("{files} files, ")).unwrap_or_default();
        line("source", &format!("{}: {files}{services} Services, {slices} slices", status.source));
        line("node", &status.node);
        let tally = &status.tally;
        line(
            "writes",
            &format!(
                "{} operations, {} failed; verified {} times, {} entries repaired",
                tally.operations, tally.failed, tally.verified, tally.drift_repaired
            ),
        );
        line("error", status.last_error.as_deref().unwrap_or("none"));
    }
    if let Some(kernel) = kernel {
        let fill = |used: usize, size: u32| format!("{used} of {size}");
        line(
            "maps",
            &format!(
                "{} frontends, {} backend entries",
                fill(kernel.frontends, kernel.sizes.slots),
                fill(kernel.backends, kernel.sizes.backends)
            ),
        );
        let counters: Vec<String> = named(&kernel.counters).map(|(name, value)| format!("{name} {value}")).collect();
        line("counters", &counters.join(", "));
        for (name, attached, detail) in &kernel.links {
            let state = if *attached { "attached" } else { "NOT ATTACHED" };
            line("hook", &format!("{name:<13}{state}{}{detail}", if detail.is_empty() { "" } else { ", " }));
        }
    }
    if let Some(status) = told {
        for name in &status.held_over {
            line("kept", name);
        }
        for problem in &status.problems {
            let severity = match problem.severity {
                Severity::Error => "ERROR",
                Severity::Warning => "warning",
                Severity::Notice => "notice",
            };
            line(severity, &problem.to_string());
        }
    }
    text
}
