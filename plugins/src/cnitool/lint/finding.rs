//! What lint has to say, and how it is printed.

use std::fmt::Write;

use serde_json::{Value, json};

use super::document::Place;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// An ADD fails, or does not do what is written.
    Error,
    /// It works, but hardly as somebody meant it.
    Warning,
    /// Good to know.
    Note,
}

impl Severity {
    pub fn name(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}

/// One thing found in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    /// A name for it that stays: `unknown-key`.
    pub rule: &'static str,
    pub at: Option<Place>,
    /// `plugins[0].ipam.ranges[1][0].subnet`; empty: the file.
    pub field: String,
    /// What happens.
    pub message: String,
    /// What to do; empty when nothing need be done.
    pub remedy: String,
}

/// The findings of one file, in the order of their places.
#[derive(Debug, Default)]
pub struct Report {
    findings: Vec<Finding>,
}

/// Where a finding belongs: the field and its place.
#[derive(Clone, Debug)]
pub struct Spot {
    pub field: String,
    pub at: Option<Place>,
}

impl Spot {
    pub fn new(field: impl Into<String>, at: Place) -> Spot {
        Spot { field: field.into(), at: Some(at) }
    }

    /// The whole file.
    pub fn file() -> Spot {
        Spot { field: String::new(), at: None }
    }
}

impl Report {
    pub fn error(&mut self, rule: &'static str, spot: Spot, message: impl Into<String>, remedy: impl Into<String>) {
        self.add(Severity::Error, rule, spot, message.into(), remedy.into());
    }

    pub fn warning(&mut self, rule: &'static str, spot: Spot, message: impl Into<String>, remedy: impl Into<String>) {
        self.add(Severity::Warning, rule, spot, message.into(), remedy.into());
    }

    pub fn note(&mut self, rule: &'static str, spot: Spot, message: impl Into<String>, remedy: impl Into<String>) {
        self.add(Severity::Note, rule, spot, message.into(), remedy.into());
    }

    fn add(&mut self, severity: Severity, rule: &'static str, spot: Spot, message: String, remedy: String) {
        let Spot { field, at } = spot;
        self.findings.push(Finding { severity, rule, at, field, message, remedy });
    }

    /// True when an error was found below this field.
    pub fn has_error_in(&self, field: &str) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Error && finding.field.starts_with(field))
    }

    pub fn finish(mut self) -> Vec<Finding> {
        self.findings.sort_by_key(|finding| (finding.at, finding.severity));
        self.findings
    }
}

/// A line a finding, and one for the remedy.
pub fn as_text(file: &str, findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { severity, rule, at, field, message, remedy } in findings {
        let place = at.map(|at| format!(":{at}")).unwrap_or_default();
        let field = if field.is_empty() { String::new() } else { format!("{field}: ") };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{file}{place}: {}: {field}{message} [{rule}]", severity.name());
        if !remedy.is_empty() {
            let _ = writeln!(text, "    {remedy}");
        }
    }
    text
}

pub fn as_json(file: &str, findings: &[Finding]) -> Vec<Value> {
    let object = |finding: &Finding| {
        json!({
            "file": file,
            "line": finding.at.map(|at| at.line),
            "column": finding.at.map(|at| at.column),
            "severity": finding.severity.name(),
            "rule": finding.rule,
            "field": finding.field,
            "message": finding.message,
            "remedy": finding.remedy,
        })
    };
    findings.iter().map(object).collect()
}

/// `2 errors, 1 warning, 0 notes`.
pub fn count(findings: &[Finding]) -> String {
    let words = [Severity::Error, Severity::Warning, Severity::Note].map(|severity| {
        let number = findings.iter().filter(|finding| finding.severity == severity).count();
        format!("{number} {}{}", severity.name(), if number == 1 { "" } else { "s" })
    });
    words.join(", ")
}
