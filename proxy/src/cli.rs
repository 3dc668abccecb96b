//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use fairlead_ebpf_shared::{DEFAULT_BACKENDS, DEFAULT_SLOTS, SetWord};

/// Leads connections to Kubernetes Services to their endpoints, by eBPF at the socket.
#[derive(Debug, Parser)]
#[command(name = "fairlead-proxy", version, about, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Serve the Services of a directory of Kubernetes YAML until SIGTERM; what is in the kernel stays in force then
    ///
    /// The directory is watched: files may be edited, replaced, added and removed at any time. A file that cannot be
    /// understood keeps its last good state. SIGHUP reads everything again and verifies the maps.
    Run(Run),
    /// Whether a proxy runs, how it fares, how full the maps are, what the programs have counted
    Status(Show),
    /// The Services as the kernel serves them now: addresses, backends, connections
    Services(Show),
    /// The maps in the kernel as they are, with slots and tags
    Dump(Show),
    /// Detach the programs, remove the maps and the state directory: Services are no longer served
    Cleanup(Cleanup),
}

/// Where a node's proxy lives.
#[derive(Debug, Clone, Args)]
pub struct Roots {
    /// The cgroup v2 directory whose processes are served
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/cgroup")]
    pub cgroup_root: PathBuf,
    /// The BPF file system that keeps maps and links while no proxy runs
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf")]
    pub bpffs_root: PathBuf,
    /// Lock and status of the one proxy that runs here
    #[arg(long, value_name = "DIR", default_value = "/run/fairlead/proxy")]
    pub state_dir: PathBuf,
}

/// `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// Directory of Services and EndpointSlices (*.yaml, *.yml, *.json)
    #[arg(long, value_name = "DIR")]
    pub source: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub roots: Roots,
    /// This node's name, for Services with internalTrafficPolicy: Local [default: the host name]
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// Most frontends (address, port and protocol) that can be served
    #[arg(long, value_name = "N", default_value_t = DEFAULT_SLOTS, value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    pub max_frontends: u32,
    /// Most backend entries; each frontend has its own, and two versions of them while it changes
    #[arg(long, value_name = "N", default_value_t = DEFAULT_BACKENDS,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(SetWord::BASE_LIMIT)))]
    pub max_backends: u32,
    /// Seconds between two comparisons of the maps with what they should hold
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub verify_seconds: u64,
    /// How log lines look on stderr
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// The least important lines to log
    #[arg(long, value_enum, default_value_t = LogLevel::Info)]
    pub log_level: LogLevel,
}

/// Verbs that only look.
#[derive(Debug, Args)]
pub struct Show {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub roots: Roots,
    /// How the answer looks on stdout
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `cleanup`.
#[derive(Debug, Args)]
pub struct Cleanup {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub roots: Roots,
}

/// How an answer looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One object a line
    Json,
}

/// How important a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}
