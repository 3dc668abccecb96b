//! `demo`: builds what ships, then the lab shows it.

use crate::setup::{self, For};
use crate::{dist, exit_code, place};
use anyhow::{Context, Result};
use clap::Args;
use nix::sys::signal::{SigSet, Signal};
use std::process::ExitCode;

/// Options of `cargo xtask demo`; handed to `fairlead-lab demo`.
#[derive(Args)]
pub struct Options {
    /// Leave the two nodes up and print commands to play with
    #[arg(long, conflicts_with = "down")]
    keep: bool,
    /// Remove what `--keep` left
    #[arg(long)]
    down: bool,
}

/// Set up, build, show.
pub fn run(options: &Options) -> Result<ExitCode> {
    setup::machine::refuse_without_root("demo")?;
    let lab = place::dist().join("bin/fairlead-lab");
    // What is there can take down what it put up: nobody should wait for a build to get rid of something.
    if !(options.down && lab.is_file()) {
        setup::ensure(For::Demo)?;
        dist::build()?;
    }
    let mut demo = place::command(&lab.to_string_lossy());
    demo.arg("demo").env("FAIRLEAD_DIST", place::dist());
    if options.keep {
        demo.arg("--keep");
    }
    if options.down {
        demo.arg("--down");
    }
    let mut child = demo.spawn().with_context(|| format!("start {}", lab.display()))?;
    // Ctrl-C goes to both of us: the lab takes down what it built, and we wait for it.
    let mut interrupt = SigSet::empty();
    interrupt.add(Signal::SIGINT);
    interrupt.thread_block().context("block SIGINT")?;
    exit_code(child.wait().context("wait for the demo")?)
}
