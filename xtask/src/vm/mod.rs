//! Ring 5's machine: a command under another Linux kernel, in qemu without KVM.
//!
//! The guest sees this machine's files read-only under an overlay in memory, so every binary built here is there at the
//! same path; what it writes is lost, but for what it writes below `/vmout`. It is root, with cgroup v2, bpffs and `lo`
//! up, and loads modules by itself. Code runs 10–20 times slower than here: behaviour is tested there, never time.

mod guest;
mod kernel;

use crate::steps;
use anyhow::{Result, bail};
use clap::Parser;
use std::process::ExitCode;
use std::time::{Duration, Instant};

pub use guest::{Guest, Outcome};
pub use kernel::{Kernel, PACKAGES, is_prepared, prepare};

/// `cargo xtask vm -k 6.1 -- COMMAND …`
#[derive(Parser)]
pub struct Options {
    /// The kernel: 6.1 or 6.12, from Debian's packages
    #[arg(short, long, default_value = "6.1")]
    kernel: Kernel,
    /// Memory of the machine in MiB
    #[arg(short, long, default_value_t = 3072)]
    memory: u32,
    /// Give up after so many seconds
    #[arg(short, long, default_value_t = 600)]
    limit: u64,
    /// What to run there, with its arguments
    #[arg(required = true, trailing_var_arg = true)]
    command: Vec<String>,
}

/// Boot, run, show what the command wrote; its exit status is ours.
pub fn run(options: &Options) -> Result<ExitCode> {
    crate::setup::ensure(crate::setup::For::Kernels)?;
    let prepared = prepare(options.kernel)?;
    let started = Instant::now();
    let guest = Guest {
        memory_mib: options.memory,
        limit: Duration::from_secs(options.limit),
        environment: vec![("FAIRLEAD_PATIENCE".into(), "20".into())],
    };
    let outcome = guest.run(&prepared, &options.command, true)?;
    steps::done(&format!("under Linux {}", options.kernel), started);
    match outcome {
        Outcome::Ended { status, .. } => Ok(ExitCode::from(u8::try_from(status).unwrap_or(1))),
        Outcome::Lost { console, .. } => bail!(
            "the guest never reported an exit status (it hung past {} s, or its kernel panicked); the end of its console:\n{console}",
            options.limit
        ),
    }
}
