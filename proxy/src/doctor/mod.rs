//! What of this machine helps or hinders the proxy: a finding a line, and a verdict.
//!
//! Looks only; changes nothing. What a look needs and does not get (root, the host's namespaces) is a finding too.

mod api;
mod machine;
mod network;
mod others;
mod ports;
mod processes;
#[cfg(test)]
mod tests;

use std::fmt::Write;

use serde_json::{Value, json};

use crate::cli::Run;
use crate::config::Config;

/// What one look found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub what: &'static str,
    /// How it stands.
    pub state: State,
    /// What was found.
    pub found: String,
    /// What to do about it; empty: nothing.
    pub to_do: String,
}

/// How something stands. Ordered: the worst is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// As it should be.
    Good,
    /// Good to know.
    Note,
    /// It works, but not as somebody may expect.
    Warning,
    /// The proxy cannot work, or serves nothing.
    Bad,
}

impl State {
    /// In one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Bad => "bad",
        }
    }
}

impl Finding {
    fn good(what: &'static str, found: impl Into<String>) -> Self {
        Self { what, state: State::Good, found: found.into(), to_do: String::new() }
    }

    fn note(what: &'static str, found: impl Into<String>, to_do: impl Into<String>) -> Self {
        Self { what, state: State::Note, found: found.into(), to_do: to_do.into() }
    }

    fn warning(what: &'static str, found: impl Into<String>, to_do: impl Into<String>) -> Self {
        Self { what, state: State::Warning, found: found.into(), to_do: to_do.into() }
    }

    fn bad(what: &'static str, found: impl Into<String>, to_do: impl Into<String>) -> Self {
        Self { what, state: State::Bad, found: found.into(), to_do: to_do.into() }
    }

    /// From a check that says in one sentence, with a semicolon, what is wrong and what to do.
    fn of(what: &'static str, good: impl Into<String>, checked: anyhow::Result<()>) -> Self {
        match checked {
            Ok(()) => Self::good(what, good),
            Err(error) => {
                let text = format!("{error:#}");
                let (found, to_do) = text.split_once("; ").unwrap_or((&text, ""));
                Self::bad(what, found, to_do)
            }
        }
    }
}

/// Looks at everything. `config`: what a daemon would go by, or why it would not start.
pub fn examine(run: &Run, config: &anyhow::Result<Config>) -> Vec<Finding> {
    let roots = &run.roots;
    let mut findings = vec![machine::kernel(), machine::privileges()];
    findings.extend([machine::btf(), machine::compiler()].into_iter().flatten());
    findings.extend(machine::cgroup(&roots.cgroup_root));
    findings.push(machine::bpffs(&roots.bpffs_root));
    findings.push(machine::programs(roots));
    match config {
        Ok(config) => {
            findings.extend(config.remarks.iter().map(|remark| Finding::note("configuration", remark, "")));
            findings.extend(api::source(config));
            findings.extend(ports::findings(config));
        }
        Err(_) if !run.names_source() => {
            findings.push(Finding::note(
                "source",
                "none is given, so it is not judged",
                "give the options that `run` gets",
            ));
        }
        Err(error) => findings.push(Finding::bad("configuration", format!("{error:#}"), "")),
    }
    findings.extend(network::findings());
    findings.extend(others::findings());
    findings
}

/// One line for the whole, and whether the proxy can work.
pub fn verdict(findings: &[Finding]) -> (String, bool) {
    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    let (bad, warnings) = (count(State::Bad), count(State::Warning));
    let plural = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    match (bad, warnings) {
        (0, 0) => ("the proxy can work here".to_owned(), true),
        (0, _) => (format!("the proxy can work here, with {}", plural(warnings, "warning")), true),
        _ => (format!("the proxy cannot work here: {}", plural(bad, "hindrance")), false),
    }
}

/// For people.
pub fn text(findings: &[Finding], bright: bool) -> String {
    let width = findings.iter().map(|finding| finding.what.len()).max().unwrap_or(0);
    let mut text = String::new();
    for Finding { what, state, found, to_do } in findings {
        let word = format!("{:7}", state.name());
        let word = match (bright, state) {
            (false, _) | (true, State::Note) => word,
            (true, State::Good) => format!("\x1b[32m{word}\x1b[0m"),
            (true, State::Warning) => format!("\x1b[33m{word}\x1b[0m"),
            (true, State::Bad) => format!("\x1b[31m{word}\x1b[0m"),
        };
        // Writing into a String does not fail.
        let _ = writeln!(text, "{what:width$}  {word}  {found}");
        if !to_do.is_empty() {
            let _ = writeln!(text, "{:width$}           do: {to_do}", "");
        }
    }
    let _ = writeln!(text, "\n{}", verdict(findings).0);
    text
}

/// For programs.
pub fn json(findings: &[Finding]) -> Value {
    let (verdict, can_work) = verdict(findings);
    let rows = findings.iter().map(|Finding { what, state, found, to_do }| {
        json!({"what": what, "state": state.name(), "found": found, "toDo": to_do})
    });
    json!({"verdict": verdict, "canWork": can_work, "findings": rows.collect::<Vec<_>>()})
}
