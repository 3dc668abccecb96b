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

/// Problems that are shown to people, at most.
const LINES: usize = 50;

/// What the kernel says.
pub struct Kernel {
    sizes: Sizes,
    frontends: usize,
    backends: usize,
    addresses: usize,
    ranges: usize,
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
            addresses: dump.addresses.len(),
            ranges: dump.ranges.len(),
            counters: inspection.maps.counters()?,
            links: links.collect(),
        })
    }
}

/// Who says what the daemon would say.
pub enum Voice {
    /// The daemon, just now.
    Live(Status),
    /// It runs and says nothing, for this reason if it is not just starting; what was written last, maybe by another.
    Silent(Option<Status>, Option<String>),
    /// None runs; what was written last.
    Past(Option<Status>),
}

impl Voice {
    /// Whether a daemon runs.
    pub fn is_running(&self) -> bool {
        !matches!(self, Self::Past(_))
    }

    /// What was told, however long ago.
    fn told(&self) -> Option<&Status> {
        match self {
            Self::Live(status) => Some(status),
            Self::Silent(status, _) | Self::Past(status) => status.as_ref(),
        }
    }
}

/// One word for the whole.
fn verdict(voice: &Voice, kernel: Option<&Kernel>) -> (&'static str, String) {
    let detached = kernel.map_or(0, |kernel| kernel.links.iter().filter(|(_, attached, _)| !attached).count());
    if kernel.is_none() && !voice.is_running() {
        return ("absent", "nothing is in the kernel, no Service is served".to_owned());
    }
    if detached > 0 {
        return ("broken", format!("{detached} programs are not attached"));
    }
    let status = match voice {
        Voice::Live(status) => status,
        Voice::Silent(_, Some(error)) => return ("degraded", format!("the proxy runs and does not answer: {error}")),
        Voice::Silent(_, None) => return ("starting", "the proxy does not answer yet".to_owned()),
        Voice::Past(_) => return ("frozen", "no proxy runs; Services are served as they were last known".to_owned()),
    };
    let errors = status.problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    let held_over = status.held_over.len();
    if !status.ready {
        ("starting", "the first state is not applied yet".to_owned())
    } else if status.last_error.is_some() {
        ("degraded", "the maps cannot be brought up to date".to_owned())
    } else if errors > 0 {
        ("degraded", format!("{errors} errors in the source, see below"))
    } else if held_over > 0 {
        ("degraded", format!("{held_over} frontends are kept from before the start"))
    } else {
        ("serving", "everything is in force".to_owned())
    }
}

/// For programs.
pub fn json(voice: &Voice, kernel: Option<&Kernel>) -> Value {
    let (state, detail) = verdict(voice, kernel);
    json!({
        "running": voice.is_running(),
        "state": state,
        "detail": detail,
        "daemon": voice.told(),
        "kernel": kernel.map(|kernel| json!({
            "maps": {
                "frontends": {"used": kernel.frontends, "size": kernel.sizes.slots},
                "backends": {"used": kernel.backends, "size": kernel.sizes.backends},
                "addresses": {"used": kernel.addresses, "size": kernel.sizes.addresses},
                "ranges": {"used": kernel.ranges, "size": kernel.sizes.ranges},
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
pub fn text(voice: &Voice, kernel: Option<&Kernel>, bright: bool) -> String {
    let (state, detail) = verdict(voice, kernel);
    let told = voice.told();
    let colour = match state {
        "serving" => "32",
        "starting" | "frozen" => "33",
        _ => "31",
    };
    let state = if bright { format!("\x1b[1;{colour}m{state}\x1b[0m") } else { state.to_owned() };
    let mut text = String::new();
    let mut line = |name: &str, value: &str| _ = writeln!(text, "{name:<10}{value}");
    line("state", &format!("{state}: {detail}"));
    match voice {
        Voice::Live(status) => line("proxy", &format!("runs, pid {}, version {}", status.pid, status.version)),
        Voice::Silent(None, _) => line("proxy", "runs, and has told nothing yet"),
        Voice::Silent(Some(status), _) => line("proxy", &format!("runs; the last that told was pid {}", status.pid)),
        Voice::Past(Some(status)) => line("proxy", &format!("does not run; the last was pid {}", status.pid)),
        Voice::Past(None) => line("proxy", "does not run"),
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
                "{} frontends, {} backend entries, {} addresses, {} source ranges",
                fill(kernel.frontends, kernel.sizes.slots),
                fill(kernel.backends, kernel.sizes.backends),
                fill(kernel.addresses, kernel.sizes.addresses),
                fill(kernel.ranges, kernel.sizes.ranges),
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
        let kept = status.held_over.iter().map(|name| ("kept", name.clone()));
        let problems = status.problems.iter().map(|problem| {
            let severity = match problem.severity {
                Severity::Error => "ERROR",
                Severity::Warning => "warning",
                Severity::Notice => "notice",
            };
            (severity, problem.to_string())
        });
        let mut lines: Vec<(&str, String)> = kept.chain(problems).collect();
        // What is bad first; what is bad must not be lost among a thousand waiting slices.
        lines.sort_by_key(|(severity, _)| ["ERROR", "kept", "warning", "notice"].iter().position(|s| s == severity));
        for (severity, text) in lines.iter().take(LINES) {
            line(severity, text);
        }
        let left_out = lines.len().saturating_sub(LINES);
        if left_out > 0 {
            line("", &format!("and {left_out} more; -o json lists all"));
        }
    }
    text
}

#[cfg(test)]
mod tests;
