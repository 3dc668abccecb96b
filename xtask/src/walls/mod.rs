//! `walls`: what must be absent, checked from `cargo metadata` and the parsed sources. Each breach is printed with the
//! line that made it. ARCHITECTURE.md states the same walls in words.

mod graph;
mod imports;
mod rooms;
mod source;
mod unsafe_code;

use crate::place;
use anyhow::Result;
use graph::Graph;
use source::Source;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// A wall that does not hold, and where.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Breach {
    file: PathBuf,
    line: usize,
    what: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.what)
    }
}

/// `cargo xtask walls`.
pub fn run() -> Result<ExitCode> {
    let started = Instant::now();
    let root = place::workspace();
    let sources = source::load(root)?;
    let graph = Graph::load(root)?;
    let mut breaches = check(root, &sources, &graph);
    breaches.sort();
    for breach in &breaches {
        println!("{breach}");
    }
    if breaches.is_empty() {
        crate::steps::done(&format!("walls: {} files hold", sources.len()), started);
        return Ok(ExitCode::SUCCESS);
    }
    println!("{} breaches; ARCHITECTURE.md (Walls) says why each wall stands", breaches.len());
    Ok(ExitCode::FAILURE)
}

fn check(root: &Path, sources: &[Source], graph: &Graph) -> Vec<Breach> {
    let mut breaches = rooms::check(sources);
    breaches.extend(unsafe_code::check(sources));
    breaches.extend(imports::check(sources));
    breaches.extend(graph.check(root));
    breaches
}
