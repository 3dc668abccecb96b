//! kube-proxy's flags (cmd/kube-proxy/app/options.go, with those of k8s.io/component-base/logs), so that the arguments of its
//! DaemonSet go on working. Each one sets a field of the configuration, and has what the field has: a default, a fate.
//!
//! With `--config` they are ignored as kube-proxy ignores them, but for those on logging, `--hostname-override` and `--master`.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches, error::Error};

use super::document::Document;
use super::fields;
use super::mode::Mode;
use super::validate::section;
use super::value::Kind;

/// One flag.
struct Flag {
    name: &'static str,
    /// `v` of `-v`.
    short: Option<char>,
    sets: Sets,
}

/// What a flag sets.
enum Sets {
    /// A field.
    Field(&'static str),
    /// A field of the section that holds for the mode, if the flag is for that mode.
    InSection(fn(Mode) -> bool, &'static str),
    /// `masqueradeAll` of nftables, or of iptables.
    MasqueradeAll,
    /// The port of an address; 0: nothing is served there.
    Port(&'static str),
    /// The name of the node, also beside a file.
    NodeName,
    /// The API server's URL, also beside a file.
    Master,
}

use Sets::{Field, InSection};

const fn flag(name: &'static str, path: &'static str) -> Flag {
    Flag { name, short: None, sets: Field(path) }
}

fn not_ipvs(mode: Mode) -> bool {
    mode != Mode::Ipvs
}

fn ipvs(mode: Mode) -> bool {
    mode == Mode::Ipvs
}

#[rustfmt::skip]
const FLAGS: &[Flag] = &[
    flag("bind-address", "bindAddress"),
    flag("bind-address-hard-fail", "bindAddressHardFail"),
    flag("cluster-cidr", "clusterCIDR"),
    flag("config-sync-period", "configSyncPeriod"),
    flag("conntrack-max-per-core", "conntrack.maxPerCore"),
    flag("conntrack-min", "conntrack.min"),
    flag("conntrack-tcp-be-liberal", "conntrack.tcpBeLiberal"),
    flag("conntrack-tcp-timeout-close-wait", "conntrack.tcpCloseWaitTimeout"),
    flag("conntrack-tcp-timeout-established", "conntrack.tcpEstablishedTimeout"),
    flag("conntrack-udp-timeout", "conntrack.udpTimeout"),
    flag("conntrack-udp-timeout-stream", "conntrack.udpStreamTimeout"),
    flag("detect-local-mode", "detectLocalMode"),
    flag("feature-gates", "featureGates"),
    flag("healthz-bind-address", "healthzBindAddress"),
    Flag { name: "healthz-port", short: None, sets: Sets::Port("healthzBindAddress") },
    Flag { name: "hostname-override", short: None, sets: Sets::NodeName },
    flag("iptables-localhost-nodeports", "iptables.localhostNodePorts"),
    flag("iptables-masquerade-bit", "iptables.masqueradeBit"),
    Flag { name: "iptables-min-sync-period", short: None, sets: InSection(not_ipvs, "minSyncPeriod") },
    Flag { name: "iptables-sync-period", short: None, sets: InSection(not_ipvs, "syncPeriod") },
    flag("ipvs-exclude-cidrs", "ipvs.excludeCIDRs"),
    Flag { name: "ipvs-min-sync-period", short: None, sets: InSection(ipvs, "minSyncPeriod") },
    flag("ipvs-scheduler", "ipvs.scheduler"),
    flag("ipvs-strict-arp", "ipvs.strictARP"),
    Flag { name: "ipvs-sync-period", short: None, sets: InSection(ipvs, "syncPeriod") },
    flag("ipvs-tcp-timeout", "ipvs.tcpTimeout"),
    flag("ipvs-tcpfin-timeout", "ipvs.tcpFinTimeout"),
    flag("ipvs-udp-timeout", "ipvs.udpTimeout"),
    flag("kube-api-burst", "clientConnection.burst"),
    flag("kube-api-content-type", "clientConnection.contentType"),
    flag("kube-api-qps", "clientConnection.qps"),
    flag("kubeconfig", "clientConnection.kubeconfig"),
    flag("log-flush-frequency", "logging.flushFrequency"),
    flag("log-json-info-buffer-size", "logging.options.json.infoBufferSize"),
    flag("log-json-split-stream", "logging.options.json.splitStream"),
    flag("log-text-info-buffer-size", "logging.options.text.infoBufferSize"),
    flag("log-text-split-stream", "logging.options.text.splitStream"),
    flag("logging-format", "logging.format"),
    Flag { name: "masquerade-all", short: None, sets: Sets::MasqueradeAll },
    Flag { name: "master", short: None, sets: Sets::Master },
    flag("metrics-bind-address", "metricsBindAddress"),
    Flag { name: "metrics-port", short: None, sets: Sets::Port("metricsBindAddress") },
    flag("nodeport-addresses", "nodePortAddresses"),
    flag("oom-score-adj", "oomScoreAdj"),
    flag("pod-bridge-interface", "detectLocal.bridgeInterface"),
    flag("pod-interface-name-prefix", "detectLocal.interfaceNamePrefix"),
    flag("profiling", "enableProfiling"),
    flag("proxy-mode", "mode"),
    flag("show-hidden-metrics-for-version", "showHiddenMetricsForVersion"),
    Flag { name: "v", short: Some('v'), sets: Field("logging.verbosity") },
    flag("vmodule", "logging.vmodule"),
];

/// The flags that were given, with their texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags(BTreeMap<&'static str, String>);

/// What flags say that no field holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// `--master`.
    pub master: Option<String>,
    /// `--hostname-override`.
    pub node_name: Option<String>,
    /// Nothing is served where this is false: an address or a port was given that says so.
    pub healthz: bool,
    /// The same.
    pub metrics: bool,
}

impl Flags {
    /// Whether one of them leads to an API server.
    pub fn name_server(&self) -> bool {
        ["kubeconfig", "master"].iter().any(|name| self.0.contains_key(name))
    }

    /// Sets the fields of a document. `from_file`: it comes from `--config`. Remarks name the flags that have no effect.
    pub fn apply(&self, document: &mut Document, from_file: bool) -> Result<(Beside, Vec<String>)> {
        let mut beside = Beside { healthz: true, metrics: true, ..Beside::default() };
        let (mut behind_file, mut of_other_mode) = (Vec::new(), Vec::new());
        // The mode decides where some of the others go.
        let mut given: Vec<_> = FLAGS.iter().filter_map(|flag| Some((flag, self.0.get(flag.name)?))).collect();
        given.sort_by_key(|(flag, _)| flag.name != "proxy-mode");
        for (flag, text) in given {
            let called = format!("--{}", flag.name);
            match flag.sets {
                Sets::Master => beside.master = Some(text.clone()),
                Sets::NodeName if text.is_empty() => {}
                Sets::NodeName => beside.node_name = Some(text.clone()),
                Field(path) if from_file && path.starts_with("logging.") => {
                    document.set_by_flag(path, flag.name, text)?
                }
                _ if from_file => behind_file.push(called),
                Field(path) => document.set_by_flag(path, flag.name, text)?,
                Sets::MasqueradeAll => {
                    let nftables = document.written_mode() == Some(Mode::Nftables);
                    let path = if nftables { "nftables.masqueradeAll" } else { "iptables.masqueradeAll" };
                    document.set_by_flag(path, flag.name, text)?;
                }
                InSection(is_for, name) => {
                    let mode = document.written_mode();
                    if is_for(mode.unwrap_or(Mode::Iptables)) {
                        let path = format!("{}.{name}", section(mode));
                        let field = fields::find(&path).map_or("", |field| field.path);
                        document.set_by_flag(field, flag.name, text)?;
                    } else {
                        of_other_mode.push(called);
                    }
                }
                Sets::Port(path) => match text.parse::<u16>() {
                    Ok(0) if path == "healthzBindAddress" => beside.healthz = false,
                    Ok(0) => beside.metrics = false,
                    Ok(port) => set_port(document, path, flag.name, port)?,
                    Err(_) => bail!("{called}: {text:?} is not allowed: must be a port, or 0 for none"),
                },
            }
        }
        let is_empty = |name: &str| !from_file && self.0.get(name).is_some_and(String::is_empty);
        beside.healthz &= !is_empty("healthz-bind-address");
        beside.metrics &= !is_empty("metrics-bind-address");
        let mut remarks = Vec::new();
        if !behind_file.is_empty() {
            remarks.push(format!("ignored because --config is given, as kube-proxy does: {}", behind_file.join(", ")));
        }
        if !of_other_mode.is_empty() {
            remarks.push(format!("ignored because --proxy-mode is another one: {}", of_other_mode.join(", ")));
        }
        Ok((beside, remarks))
    }
}

/// Gives an address without a port this one (addressFromDeprecatedFlags).
fn set_port(document: &mut Document, path: &'static str, name: &'static str, port: u16) -> Result<()> {
    let written = document.text(path).to_owned();
    let address = match written.as_str() {
        "" if path == "healthzBindAddress" => format!("0.0.0.0:{port}"),
        "" => format!("127.0.0.1:{port}"),
        alone => match super::address::ip(alone) {
            Some(std::net::IpAddr::V6(address)) => format!("[{address}]:{port}"),
            Some(std::net::IpAddr::V4(address)) => format!("{address}:{port}"),
            // It has a port.
            None => return Ok(()),
        },
    };
    document.set_by_flag(path, name, &address)
}

impl clap::Args for Flags {
    fn augment_args(mut command: Command) -> Command {
        for flag in FLAGS {
            let mut arg = Arg::new(flag.name).long(flag.name).action(ArgAction::Append).help_heading("As kube-proxy");
            if let Some(short) = flag.short {
                arg = arg.short(short);
            }
            let (kind, help) = describe(&flag.sets);
            arg = match kind {
                Kind::Switch => {
                    arg.value_name("BOOL").num_args(0..=1).require_equals(true).default_missing_value("true")
                }
                Kind::Integer => arg.value_name("N").allow_negative_numbers(true),
                Kind::Number => arg.value_name("NUMBER").allow_negative_numbers(true),
                Kind::Duration | Kind::Pause => arg.value_name("DURATION").allow_hyphen_values(true),
                Kind::List => arg.value_name("A,B"),
                Kind::Gates | Kind::Modules => arg.value_name("NAME=VALUE,…"),
                Kind::Text | Kind::Quantity => arg.value_name("TEXT"),
            };
            command = command.arg(arg.help(help));
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn describe(sets: &Sets) -> (Kind, String) {
    match sets {
        Field(path) => match fields::find(path) {
            Some(field) => (field.kind, format!("{path} of a configuration file{}", fate(field.fate))),
            None => (Kind::Text, String::new()),
        },
        InSection(_, name) => (Kind::Duration, format!("{name} of a configuration file, in the mode's section")),
        Sets::MasqueradeAll => (Kind::Switch, "masqueradeAll of a configuration file, in the mode's section".into()),
        Sets::Port(path) => (Kind::Integer, format!("The port of {path}; 0: not served")),
        Sets::NodeName => (Kind::Text, "This node's name; counts beside --config too".into()),
        Sets::Master => (Kind::Text, "URL of the API server, instead of the kubeconfig's".into()),
    }
}

fn fate(fate: fields::Fate) -> String {
    match fate {
        fields::Fate::Not(reason) => format!("; no effect: {reason}"),
        fields::Fate::Applied | fields::Fate::If(..) => String::new(),
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut flags = Self::default();
        for flag in FLAGS {
            let Some(texts) = matches.get_many::<String>(flag.name) else { continue };
            let texts: Vec<&str> = texts.map(String::as_str).collect();
            let adds_up = matches!(describe(&flag.sets).0, Kind::List | Kind::Gates);
            // Lists add up; of anything else the last one counts (pflag).
            let text = if adds_up { texts.join(",") } else { texts.last().copied().unwrap_or_default().to_owned() };
            flags.0.insert(flag.name, text);
        }
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_sets_a_field_there_is() {
        for flag in FLAGS {
            if let Field(path) | Sets::Port(path) = flag.sets {
                assert!(fields::find(path).is_some(), "--{}: {path}", flag.name);
            }
        }
        for section in ["iptables", "ipvs", "nftables"] {
            for name in ["syncPeriod", "minSyncPeriod"] {
                assert!(fields::find(&format!("{section}.{name}")).is_some(), "{section}.{name}");
            }
        }
    }
}
