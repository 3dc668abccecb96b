//! What people are told, while it happens: what was done on stdout, what was not on stderr.

use std::path::Path;
use std::process::ExitCode;

use super::plan::{Deed, Piece, Step, Stray};
use crate::cnitool::DIRECTORY;
use crate::{complain, tell};

/// What was told so far.
pub struct Report {
    dry_run: bool,
    /// What was done for the attachment at hand.
    done: Vec<String>,
    /// Whether any line was about something that was done.
    any: bool,
    troubles: usize,
    /// What to do about troubles; empty: they say it.
    hint: &'static str,
}

impl Report {
    /// Of a hand-over to a directory.
    pub fn new(to: &Path, dry_run: bool) -> Report {
        let tense = if dry_run { "would be " } else { "" };
        tell(&format!("pods {tense}handed over to the plugins in {}\n", to.display()));
        Report { dry_run, done: Vec::new(), any: false, troubles: 0, hint: "run the same again when that is mended" }
    }

    /// Of `--drop`.
    pub fn of_drop(dry_run: bool) -> Report {
        tell(&format!("{}taken away\n", if dry_run { "would be " } else { "" }));
        Report { dry_run, done: Vec::new(), any: false, troubles: 0, hint: "" }
    }

    /// Nothing was done.
    pub fn failed(trouble: String) -> Report {
        let mut report = Report { dry_run: false, done: Vec::new(), any: false, troubles: 0, hint: "" };
        report.trouble(&trouble);
        report
    }

    pub fn unreadable(&mut self, files: &[String]) {
        for file in files {
            self.trouble(&format!("{file}: cannot be read; if its pod is no more, remove the file"));
        }
    }

    /// What became of a piece, or would.
    pub fn outcome(&mut self, step: &Step<'_>, piece: Piece, deed: &Deed, outcome: Result<(), String>) {
        match (outcome, deed) {
            (Err(reason), _) => {
                let (name, piece, kept) = (name(step), piece.name(), self.kept());
                self.trouble(&format!("{name}: {piece} {kept} as it is: {reason}"));
            }
            (Ok(()), Deed::Drop) => self.done.push(format!("{} dropped, its namespace is gone", piece.name())),
            (Ok(()), _) => self.done.push(piece.name().to_owned()),
        }
    }

    /// All pieces of an attachment are done.
    pub fn finished(&mut self, step: &Step<'_>) {
        if !self.done.is_empty() {
            self.line(&format!("{}: {}", name(step), self.done.join(", ")));
            self.done.clear();
        }
    }

    pub fn stray(&mut self, stray: &Stray) {
        let mark = stray.owner.split(',').next().unwrap_or_default();
        let (owner, what, kept) = (&stray.owner, stray.what.join(", "), self.kept());
        self.trouble(&format!(
            "{owner} ({what}) {kept}: no file in {DIRECTORY} knows it; if that pod is no more: fairlead-cni hand-over \
             --drop {mark}"
        ));
    }

    pub fn dropped(&mut self, stray: &Stray) {
        self.line(&format!("{}: {}", stray.owner, stray.what.join(", ")));
    }

    pub fn trouble(&mut self, trouble: &str) {
        self.troubles += 1;
        complain(format_args!("fairlead-cni hand-over: {trouble}"));
    }

    /// The end. Exit status: whether nothing of ours is left to be done.
    pub fn end(self) -> ExitCode {
        if self.troubles > 0 {
            if !self.hint.is_empty() {
                complain(format_args!("fairlead-cni hand-over: incomplete; {}", self.hint));
            }
            return ExitCode::FAILURE;
        }
        if !self.any {
            tell("  nothing of ours is there\n");
        }
        ExitCode::SUCCESS
    }

    fn line(&mut self, text: &str) {
        self.any = true;
        tell(&format!("  {text}\n"));
    }

    fn kept(&self) -> &'static str {
        if self.dry_run { "would stay" } else { "stays" }
    }
}

fn name(step: &Step<'_>) -> String {
    let attachment = &step.found.attachment;
    format!("{} {} {}", step.found.network, attachment.container_id, attachment.ifname)
}
