//! Verdicts as a table, or as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::Result;
use comfy_table::{Table, presets};

use super::{Judged, Outcome, Output, Verdict};

impl Judged {
    /// What `fairlead-lab conformance` prints.
    pub fn render(&self, output: Output) -> Result<String> {
        Ok(match output {
            Output::Json => serde_json::to_string_pretty(&self.outcomes)?,
            Output::Table => format!("{}\n{}{}", self.table(), self.details(), self.sum()),
        })
    }

    fn table(&self) -> Table {
        let mut rows: Vec<((&str, &str), [usize; 5])> = Vec::new();
        for outcome in &self.outcomes {
            let key = (outcome.plugin, outcome.verb);
            let row = match rows.iter().position(|(known, _)| *known == key) {
                Some(row) => row,
                None => {
                    // The verbs of a plugin stay together, whatever order the tables are in.
                    let behind =
                        rows.iter().rposition(|((plugin, _), _)| *plugin == key.0).map_or(rows.len(), |at| at + 1);
                    rows.insert(behind, (key, [0; 5]));
                    behind
                }
            };
            rows[row].1[column(&outcome.verdict)] += 1;
        }
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED);
        table.set_header(["plugin", "verb", "pass", "differs", "fails", "known fault", "skipped"]);
        for ((plugin, verb), counts) in rows {
            let cells = counts.map(|count| if count == 0 { String::new() } else { count.to_string() });
            table.add_row([plugin.to_owned(), verb.to_owned()].into_iter().chain(cells));
        }
        table
    }

    /// Everything that did not simply pass, one paragraph for each reason, with the versions it was met in.
    fn details(&self) -> String {
        let mut told: BTreeMap<(usize, String), Vec<&Outcome>> = BTreeMap::new();
        for outcome in &self.outcomes {
            if let Some(text) = reason(outcome) {
                told.entry((order(&outcome.verdict), text)).or_default().push(outcome);
            }
        }
        let mut text = String::new();
        for ((_, reason), outcomes) in told {
            let versions: Vec<&str> = outcomes.iter().map(|outcome| outcome.version).collect();
            let _ = writeln!(text, "{reason}    [{}]", versions.join(" "));
        }
        text
    }

    fn sum(&self) -> String {
        let mut counts = [0; 5];
        for outcome in &self.outcomes {
            counts[column(&outcome.verdict)] += 1;
        }
        let [pass, differs, fails, known, skipped] = counts;
        format!("{pass} pass, {differs} differ, {fails} fail, {known} known faults of the reference, {skipped} skipped")
    }
}

fn column(verdict: &Verdict) -> usize {
    match verdict {
        Verdict::Pass => 0,
        Verdict::Differs { .. } => 1,
        Verdict::Fails { .. } => 2,
        Verdict::KnownFault { .. } => 3,
        Verdict::Skipped { .. } => 4,
    }
}

/// A program that died tells its whole stack: its first lines are enough to find it again.
fn cut(why: &str) -> String {
    const LINES: usize = 12;
    let mut lines: Vec<&str> = why.lines().collect();
    if lines.len() > LINES {
        lines.truncate(LINES);
        lines.push("...");
    }
    lines.join("\n    ")
}

/// The worst comes last, where the eye is when the screen stands still.
fn order(verdict: &Verdict) -> usize {
    match verdict {
        Verdict::Pass => 0,
        Verdict::Skipped { .. } => 1,
        Verdict::KnownFault { .. } => 2,
        Verdict::Differs { .. } => 3,
        Verdict::Fails { .. } => 4,
    }
}

fn reason(outcome: &Outcome) -> Option<String> {
    let Outcome { id, plugin, verb, title, source, verdict, .. } = outcome;
    let head = |word: &str| format!("{word} {plugin} {verb} {id}: {title} ({source})");
    Some(match verdict {
        Verdict::Pass => return None,
        Verdict::Skipped { kernel: Some(kernel), why } => {
            format!("{}\n    runs on {kernel}: {why}\n   ", head("SKIPPED"))
        }
        // What is not there has no rules: one line for all of them.
        Verdict::Skipped { kernel: None, why } => format!("SKIPPED {plugin}: {why}\n   "),
        Verdict::KnownFault { issue, what, .. } => format!("KNOWN   {plugin} {verb} {id}: {what}: {issue}\n   "),
        Verdict::Differs { facts } => format!("{}\n    {}\n   ", head("DIFFERS"), facts.join("\n    ")),
        Verdict::Fails { why } => format!("{}\n    {}\n   ", head("FAILS  "), cut(why)),
    })
}
