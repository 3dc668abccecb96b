//! `conformance`: lets the lab judge a directory of plugins. With `--bin-dir` nothing of ours is built but the lab itself.

use crate::setup::{self, For};
use crate::{dist, exit_code, peers, place, steps};
use anyhow::{Context, Result};
use std::process::ExitCode;

/// `cargo xtask conformance [options of fairlead-lab conformance]`.
pub fn run(rest: &[String]) -> Result<ExitCode> {
    setup::ensure(For::Everything)?;
    setup::machine::refuse_without_root("conformance")?;
    let mut arguments = rest.to_vec();
    let lab = if rest.iter().any(|word| word == "--bin-dir" || word.starts_with("--bin-dir=")) {
        let mut build = place::cargo();
        build.args(["build", "--release", "--locked", "--package", "fairlead-conformance", "--bin", "fairlead-lab"]);
        steps::run("build the lab", &mut build)?;
        place::target().join("release/fairlead-lab")
    } else {
        dist::build()?;
        peers::build()?;
        let ours = place::dist().join("cni/bin").to_string_lossy().into_owned();
        arguments.extend(["--bin-dir".to_owned(), ours, "--peer".to_owned(), peers::path()?]);
        place::dist().join("bin/fairlead-lab")
    };
    let mut judge = place::command(&lab.to_string_lossy());
    judge.arg("conformance").args(arguments).env("FAIRLEAD_DIST", place::dist());
    exit_code(judge.status().with_context(|| format!("start {}", lab.display()))?)
}
