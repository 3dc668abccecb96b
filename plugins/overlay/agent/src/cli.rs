//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Keeps this node's VXLAN overlay as the peers file says.
#[derive(Debug, Parser)]
#[command(name = "fairlead-overlay", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Keep device, routes, neighbours, FDB and subnet file as the peers file says, until SIGTERM.
    ///
    /// The peers file is read again when it changes (or on SIGHUP); a bad one is reported and the last good one stays in
    /// force. On SIGTERM or SIGINT the agent ends and leaves everything in place: packets keep flowing.
    Run(RunOptions),
    /// Show the agent, its device and how many peers are programmed. Exit status 1 if anything is amiss.
    Status(ShowOptions),
    /// Show every peer and whether the kernel has all of its entries. Exit status 1 if one is incomplete.
    Peers(ShowOptions),
    /// Remove the device with its routes, the subnet file and the state directory. The agent must not be running.
    Cleanup(CleanupOptions),
}

/// Options of `run`.
#[derive(Debug, Args)]
pub struct RunOptions {
    /// The peers file, YAML or JSON.
    #[arg(long, value_name = "FILE")]
    pub peers: PathBuf,
    /// This node's name in the peers file.
    #[arg(long, value_name = "NAME")]
    pub node_name: String,
    /// Where the agent keeps its lock and its status.
    #[arg(long, value_name = "DIR", default_value = "/run/fairlead/overlay")]
    pub state_dir: PathBuf,
    /// The file that tells the CNI side its subnet and MTU, in flannel's format.
    #[arg(long, value_name = "FILE", default_value = "/run/flannel/subnet.env")]
    pub subnet_file: PathBuf,
    /// Form of the log on standard error.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Least level that is logged.
    #[arg(long, value_enum, default_value_t = LogLevel::Info)]
    pub log_level: LogLevel,
}

/// Options of the verbs that show.
#[derive(Debug, Args)]
pub struct ShowOptions {
    /// The state directory of the agent.
    #[arg(long, value_name = "DIR", default_value = "/run/fairlead/overlay")]
    pub state_dir: PathBuf,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// Options of `cleanup`.
#[derive(Debug, Args)]
pub struct CleanupOptions {
    /// The state directory of the agent.
    #[arg(long, value_name = "DIR", default_value = "/run/fairlead/overlay")]
    pub state_dir: PathBuf,
    /// The subnet file, if the state directory no longer tells which it is.
    #[arg(long, value_name = "FILE")]
    pub subnet_file: Option<PathBuf>,
}

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// Level of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Failures.
    Error,
    /// And what is odd.
    Warn,
    /// And decisions.
    Info,
    /// And every operation.
    Debug,
    /// And every wake-up.
    Trace,
}

/// Form of the output of the verbs that show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}
