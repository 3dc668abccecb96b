//! The service proxy daemon and its operator verbs: a library with a thin binary, so that what reads other people's bytes can
//! be fuzzed without a process for every try.
//!
//! Holds no packet path: that is in the kernel and goes on without it. Invariant others may rely on: only `apply` writes
//! the maps, only `attach` loads, pins and attaches, only `convert` knows a Kubernetes type.

mod addresses;
mod apply;
mod attach;
mod cli;
mod config;
mod convert;
mod doctor;
mod event_loop;
mod events;
mod flows;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
#[allow(missing_docs)]
pub mod fuzz;
mod health;
mod kernel_settings;
mod lock;
mod logging;
mod maps;
mod metrics;
mod notify;
mod rfc3339;
mod sources;
mod state;
mod surface;
mod verbs;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use crate::cli::{Cleanup, Cli, Run, Verb};
use crate::config::Config;
use crate::event_loop::Daemon;
use crate::state::StateDir;

/// The whole program: arguments and environment are the process's own.
pub fn main() -> ExitCode {
    let outcome = match Cli::parse_from(cli::arguments(std::env::args_os())).verb {
        Verb::Run(arguments) => run(arguments),
        Verb::Status(show) => verbs::status(&show),
        Verb::Services(show) => verbs::services(&show),
        Verb::Endpoints(arguments) => verbs::endpoints(&arguments),
        Verb::Why(arguments) => verbs::why(&arguments),
        Verb::Top(arguments) => verbs::top(&arguments),
        Verb::Dump(show) => verbs::dump(&show),
        Verb::Doctor(arguments) => match verbs::doctor(&arguments) {
            // It has said why.
            Ok(false) => return ExitCode::FAILURE,
            outcome => outcome.map(drop),
        },
        Verb::Cleanup(arguments) => verbs::cleanup(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fairlead-proxy: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Run) -> Result<()> {
    if let Some(path) = &arguments.write_config_to {
        let text = Config::effective_yaml(&arguments)?;
        return std::fs::write(path, text).with_context(|| format!("--write-config-to {}", path.display()));
    }
    if arguments.cleanup {
        return verbs::cleanup(&Cleanup { roots: arguments.roots });
    }
    fairlead_kernel::memory::give_back_early();
    let config = Config::new(&arguments)?;
    logging::start(config.log_format, config.log_level);
    for remark in &config.remarks {
        tracing::warn!("configuration: {remark}");
    }
    let state_dir = StateDir::open(&config.roots.state_dir)?;
    tracing::info!(
        source = %config.source,
        cgroup = %config.roots.cgroup_root.display(),
        node = config.node,
        "fairlead-proxy {} starts",
        env!("CARGO_PKG_VERSION")
    );
    for failed in kernel_settings::apply(&config) {
        tracing::warn!("{failed}");
    }
    let maps = attach::ensure(&config.roots.bpffs_root, &config.roots.cgroup_root, config.sizes)?;
    if arguments.init_only {
        tracing::info!("--init-only: sysctls, programs and maps are in place");
        return Ok(());
    }
    let cleaner = Box::new(flows::Kernel::new(attach::origins(&config.roots.bpffs_root)?));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Grace periods, credential plugins, and what else may wait, beside each other.
        .max_blocking_threads(4)
        .build()
        .context("start the event loop")?;
    // A grace period that is still being waited for is nobody's concern after the end.
    let outcome = runtime.block_on(async { Daemon::open(&config, maps, cleaner, state_dir).await?.run().await });
    runtime.shutdown_background();
    outcome
}
