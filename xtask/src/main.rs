//! The developer's loop: `cargo xtask setup|demo|test|fuzz|bench|conformance|dist|walls|vm`.
//!
//! It knows no packet, no CNI and no Kubernetes: it installs what the build needs, builds, calls the lab and the test
//! binaries, and adds up what they say. It must stay buildable on a machine that has nothing but rustup and a C linker,
//! so it depends on no other room of this house.

mod bench;
mod conformance;
mod demo;
mod dist;
mod fuzz;
mod peers;
mod place;
mod setup;
mod steps;
mod test;
mod vm;
mod walls;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Set up, build, show, test and measure Fairlead")]
struct Arguments {
    #[command(subcommand)]
    deed: Deed,
}

#[derive(Subcommand)]
enum Deed {
    /// Install what the build, the demo and the tests need; says what before it does
    Setup {
        /// Print a table of what is there and what is missing; change nothing. Exit 1 when something is missing
        #[arg(long)]
        check: bool,
    },
    /// Two nodes, an overlay, a Service: watch requests cross while things are taken away
    Demo(demo::Options),
    /// Every test, in rings: pure, namespaces, BPF, conformance, other kernels
    Test(test::Options),
    /// Pairs measured alternately against the reference; arguments go to `fairlead-lab bench`
    Bench {
        /// Name of a benchmark, and its options (`--json`, `--rounds N`); none: all of them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// Judge any directory of CNI plugins; arguments go to `fairlead-lab conformance`
    Conformance {
        /// `--bin-dir DIR [--peer DIR] [--plugin NAME] [--verb VERB] [-o table|json]`; without --bin-dir: ours beside the
        /// reference
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// Feed broken bytes to whatever reads other people's: libFuzzer, on the stable compiler
    Fuzz(fuzz::Options),
    /// Build what ships into target/dist
    Dist,
    /// Check what must be absent: dependencies, imports, unsafe, long files
    Walls,
    /// Run a command under another kernel (qemu, no KVM needed); this machine's files are there, writes are lost
    Vm(vm::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().deed {
        Deed::Setup { check: true } => setup::check(),
        Deed::Setup { check: false } => setup::ensure(setup::For::Everything).map(|()| ExitCode::SUCCESS),
        Deed::Demo(options) => demo::run(&options),
        Deed::Test(options) => test::run(&options),
        Deed::Bench { rest } => bench::run(&rest),
        Deed::Conformance { rest } => conformance::run(&rest),
        Deed::Fuzz(options) => fuzz::run(&options),
        Deed::Dist => dist::run(),
        Deed::Walls => walls::run(),
        Deed::Vm(options) => vm::run(&options),
    };
    result.unwrap_or_else(|error| {
        eprintln!("cargo xtask: {error:#}");
        ExitCode::FAILURE
    })
}

/// A child's exit status as ours: its code, or 128 + signal as shells count.
fn exit_code(status: std::process::ExitStatus) -> Result<ExitCode> {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}
