//! fairlead-overlay: the node agent of the overlay. It keeps one VXLAN device and its routes, neighbours and FDB entries as
//! the peers file says, and writes the subnet file for the CNI side.
//!
//! What must be is decided in `fairlead-overlay-model`; here are only the loop that waits for a reason to look again
//! ([`run`]), reading the kernel ([`observe`]) and doing the steps ([`apply`]). The kernel is never told what it holds already.

mod apply;
mod cleanup;
mod cli;
mod files;
mod instance;
mod log;
mod notify;
mod observe;
mod reconcile;
mod run;
mod show;
mod state;
mod sysctl;
mod watch;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Verb};

fn main() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::Run(options) => Ok(run::run(&options)),
        Verb::Status(options) => show::status(&options),
        Verb::Peers(options) => show::peers(&options),
        Verb::Cleanup(options) => cleanup::cleanup(&options).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        eprintln!("fairlead-overlay: {error:#}");
        ExitCode::FAILURE
    })
}
