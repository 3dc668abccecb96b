//! The command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use fairlead_ebpf_shared::{DEFAULT_ADDRESSES, DEFAULT_BACKENDS, DEFAULT_RANGES, DEFAULT_SLOTS, OptionsWord, SetWord};

use crate::config::Flags;
use crate::verbs::arguments::{Endpoints, Top, Why};

/// Leads connections to Kubernetes Services to their endpoints, by eBPF at the socket.
///
/// Without a verb, options are those of `run`: the arguments of kube-proxy's DaemonSet work as they are.
#[derive(Debug, Parser)]
#[command(name = "fairlead-proxy", version, about, max_term_width = 110, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Serve Services until SIGTERM; what is in the kernel stays in force then
    ///
    /// Services come from a Kubernetes API server (--kubeconfig, or the pod's own credentials) or from a directory of
    /// Kubernetes YAML (--source), which is watched: files may be edited, replaced, added and removed at any time, and one
    /// that cannot be understood keeps its last good state. SIGHUP reads everything again and verifies the maps.
    Run(Run),
    /// Whether a proxy runs, how it fares, how full the maps are, what the programs have counted
    Status(Show),
    /// The Services as the kernel serves them now: addresses, backends, connections
    Services(Show),
    /// The endpoints of Services: where they are, in which condition, and for whom they are used
    Endpoints(Endpoints),
    /// What happens to a connection: which rule applies, which backends with which chance, and why not the others
    Why(Why),
    /// Which Services get connections at the moment, the busiest first; on a terminal until Ctrl-C
    Top(Top),
    /// The maps in the kernel as they are, with slots and tags
    Dump(Show),
    /// What of this machine helps or hinders a proxy with these options, and a verdict; fails if it cannot work
    Doctor(Doctor),
    /// Detach the programs, remove the maps and the state directory, give sysctls their old values: Services are no longer
    /// served
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
#[derive(Clone, Debug, Args)]
pub struct Run {
    /// Directory of Services and EndpointSlices (*.yaml, *.yml, *.json), instead of an API server
    #[arg(long, value_name = "DIR")]
    pub source: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub roots: Roots,
    /// This node's name [default: hostnameOverride, else the host name]
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// Serve only Services whose label service.kubernetes.io/service-proxy-name has this value [default: those without it]
    #[arg(long, value_name = "NAME")]
    pub service_proxy_name: Option<String>,
    /// Most frontends (address, port and protocol) that can be served
    #[arg(long, value_name = "N", default_value_t = DEFAULT_SLOTS,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(OptionsWord::GROUP_LIMIT)))]
    pub max_frontends: u32,
    /// Most backend entries; each frontend has its own, and two versions of them while it changes
    #[arg(long, value_name = "N", default_value_t = DEFAULT_BACKENDS,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(SetWord::BASE_LIMIT)))]
    pub max_backends: u32,
    /// Most addresses that are told apart: cluster IPs, and addresses of nodes
    #[arg(long, value_name = "N", default_value_t = DEFAULT_ADDRESSES, value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    pub max_addresses: u32,
    /// Most networks in loadBalancerSourceRanges; each frontend has its own
    #[arg(long, value_name = "N", default_value_t = DEFAULT_RANGES, value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    pub max_source_ranges: u32,
    /// Seconds between two comparisons of the maps with what they should hold [default: syncPeriod]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub verify_seconds: Option<u64>,
    /// How log lines look on stderr [default: logging.format]
    #[arg(long, value_enum)]
    pub log_format: Option<LogFormat>,
    /// The least important lines to log [default: by -v; info]
    #[arg(long, value_enum)]
    pub log_level: Option<LogLevel>,
    /// A KubeProxyConfiguration, as kube-proxy reads it; watched
    #[arg(long, value_name = "FILE", help_heading = "As kube-proxy")]
    pub config: Option<PathBuf>,
    /// Write the configuration as it would hold to this file, and exit
    #[arg(long, value_name = "FILE", help_heading = "As kube-proxy")]
    pub write_config_to: Option<PathBuf>,
    /// Do what the verb `cleanup` does, and exit
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value = "false", hide_default_value = true, hide_possible_values = true, help_heading = "As kube-proxy")]
    pub cleanup: bool,
    /// Do what needs privileges, sysctls and the programs in the kernel, and exit
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value = "false", hide_default_value = true, hide_possible_values = true, help_heading = "As kube-proxy")]
    pub init_only: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub flags: Flags,
}

impl Run {
    /// Whether anything is said about where Services come from.
    pub fn names_source(&self) -> bool {
        self.source.is_some() || self.config.is_some() || self.flags.name_server()
    }
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

/// `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub run: Run,
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

/// The arguments of this process, as clap is to see them: `run` where kube-proxy needs no verb, and `-` for `_` in the names of
/// options (pflag's WordSepNormalizeFunc).
pub fn arguments(given: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut given: Vec<OsString> = given.into_iter().collect();
    let called = given.first().and_then(|path| Path::new(path).file_name()).is_some_and(|name| name == "kube-proxy");
    let first = given.get(1).and_then(|argument| argument.to_str());
    let is_option =
        |argument: &str| argument.starts_with('-') && !matches!(argument, "-h" | "--help" | "-V" | "--version");
    if called || first.is_some_and(is_option) {
        given.insert(1.min(given.len()), "run".into());
    }
    given.into_iter().map(normal).collect()
}

fn normal(argument: OsString) -> OsString {
    let Some(name) = argument.to_str().filter(|text| text.starts_with("--")) else { return argument };
    let (name, value) = name.split_at(name.find('=').unwrap_or(name.len()));
    format!("{}{value}", name.replace('_', "-")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(words: &[&str]) -> Vec<String> {
        let words = arguments(words.iter().map(OsString::from));
        words.into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn the_arguments_of_kube_proxys_daemon_set_are_those_of_run() {
        let words =
            ["/usr/local/bin/kube-proxy", "--config=/var/lib/kube-proxy/config.conf", "--hostname-override=node"];
        let expected = [words[0], "run", words[1], words[2]];
        assert_eq!(seen(&words), expected);
        let Verb::Run(run) = Cli::try_parse_from(seen(&words)).unwrap().verb else { panic!("not run") };
        assert_eq!(run.config.unwrap(), Path::new("/var/lib/kube-proxy/config.conf"));

        assert_eq!(seen(&["kube-proxy"]), ["kube-proxy", "run"]);
        assert_eq!(
            seen(&["fairlead-proxy", "-v=2", "--proxy_mode=a_b"]),
            ["fairlead-proxy", "run", "-v=2", "--proxy-mode=a_b"]
        );
        for untouched in
            [&["fairlead-proxy", "--help"][..], &["fairlead-proxy"], &["fairlead-proxy", "status", "-o", "json"]]
        {
            assert_eq!(seen(untouched), untouched);
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
        for (words, expected) in [
            (&["run", "--cleanup"][..], true),
            (&["run", "--cleanup=true"], true),
            (&["run", "--cleanup=false"], false),
        ] {
            let words = [&["fairlead-proxy"], words].concat();
            let Verb::Run(run) = Cli::try_parse_from(&words).unwrap().verb else { panic!("not run") };
            assert_eq!(run.cleanup, expected, "{words:?}");
        }
    }
}
