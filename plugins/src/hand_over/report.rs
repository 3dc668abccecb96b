//! What people are told: what was done on stdout, what was not on stderr.

use std::path::Path;
use std::process::ExitCode;

use super::plan::{Deed, Piece, Step, Stray};
use crate::cnitool::DIRECTORY;
use crate::{complain, tell};

/// Lines, and whether all of it is done.
pub struct Report {
    said: String,
    troubles: Vec<String>,
    dry_run: bool,
    /// The attachment that the last line is about.
    last: Option<String>,
    /// What to do about troubles, if there are any.
    hint: &'static str,
}

impl Report {
    /// Of a hand-over to a directory.
    pub fn new(to: &Path, dry_run: bool) -> Report {
        let tense = if dry_run { "would be " } else { "" };
        let said = format!("pods {tense}handed over to the plugins in {}\n", to.display());
        Report { said, troubles: Vec::new(), dry_run, last: None, hint: "run the same again when that is mended" }
    }

    /// Of `--drop`.
    pub fn of_drop(dry_run: bool) -> Report {
        let said = format!("{}taken away\n", if dry_run { "would be " } else { "" });
        Report { said, troubles: Vec::new(), dry_run, last: None, hint: "" }
    }

    /// Nothing was done.
    pub fn failed(trouble: String) -> Report {
        Report { said: String::new(), troubles: vec![trouble], dry_run: false, last: None, hint: "" }
    }

    pub fn unreadable(&mut self, files: &[String]) {
        let line = |file: &String| format!("{file}: cannot be read; if its pod is no more, remove the file");
        self.troubles.extend(files.iter().map(line));
    }

    pub fn planned(&mut self, step: &Step<'_>) {
        for (piece, deed) in &step.pieces {
            match deed {
                Deed::Keep(reason) => self.outcome(step, *piece, deed, Err(reason.clone())),
                _ => self.outcome(step, *piece, deed, Ok(())),
            }
        }
    }

    pub fn outcome(&mut self, step: &Step<'_>, piece: Piece, deed: &Deed, outcome: Result<(), String>) {
        let attachment = &step.found.attachment;
        let name = format!("{} {} {}", step.found.network, attachment.container_id, attachment.ifname);
        if let Err(reason) = outcome {
            let kept = if self.dry_run { "would stay" } else { "stays" };
            self.troubles.push(format!("{name}: {} {kept} as it is: {reason}", piece.name()));
            return;
        }
        let what = match deed {
            Deed::Drop => format!("{} dropped, its namespace is gone", piece.name()),
            _ => piece.name().to_owned(),
        };
        if self.last.as_ref() == Some(&name) {
            self.said.truncate(self.said.trim_end().len());
            self.said += &format!(", {what}\n");
        } else {
            self.said += &format!("  {name}: {what}\n");
            self.last = Some(name);
        }
    }

    pub fn stray(&mut self, stray: &Stray) {
        let mark = stray.owner.split(',').next().unwrap_or_default();
        let (kept, what) = (if self.dry_run { "would stay" } else { "stays" }, stray.what.join(", "));
        self.troubles.push(format!(
            "{} ({what}) {kept}: no file in {DIRECTORY} knows it; if that pod is no more: fairlead-cni hand-over --drop \
             {mark}",
            stray.owner
        ));
    }

    pub fn dropped(&mut self, stray: &Stray) {
        self.said += &format!("  {}: {}\n", stray.owner, stray.what.join(", "));
    }

    pub fn trouble(&mut self, trouble: &str) {
        self.troubles.push(trouble.to_owned());
    }

    /// Prints. Exit status: whether nothing of ours is left to be done.
    pub fn tell(self) -> ExitCode {
        let Report { mut said, troubles, last, hint, .. } = self;
        if !said.is_empty() {
            if troubles.is_empty() && said.lines().count() == 1 && last.is_none() {
                said += "  nothing of ours is there\n";
            }
            tell(&said);
        }
        troubles.iter().for_each(|trouble| complain(format_args!("fairlead-cni hand-over: {trouble}")));
        if troubles.is_empty() {
            return ExitCode::SUCCESS;
        }
        if !hint.is_empty() {
            complain(format_args!("fairlead-cni hand-over: incomplete; {hint}"));
        }
        ExitCode::FAILURE
    }
}
