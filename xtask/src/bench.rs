//! `bench`: builds what ships and the peers, then lets the lab measure.

use crate::setup::{self, For};
use crate::{dist, exit_code, peers, place};
use anyhow::{Context, Result};
use std::process::ExitCode;

/// `cargo xtask bench [NAME] [options of fairlead-lab bench]`.
pub fn run(rest: &[String]) -> Result<ExitCode> {
    setup::ensure(For::Everything)?;
    setup::machine::refuse_without_root("bench")?;
    dist::build()?;
    peers::build()?;
    let lab = place::dist().join("bin/fairlead-lab");
    let mut bench = place::command(&lab.to_string_lossy());
    bench.arg("bench").args(rest).env("FAIRLEAD_DIST", place::dist());
    exit_code(bench.status().with_context(|| format!("start {}", lab.display()))?)
}
