//! What a running daemon goes by: the command line and the configuration file, read and checked once, before anything is
//! touched; read again when the file changes.
//!
//! The file is kube-proxy's, KubeProxyConfiguration v1alpha1. Each field of it is applied, or named in one remark with the
//! reason (`fields`). Invariant others may rely on: a [`Config`] is complete and without contradictions.

mod address;
mod conntrack;
mod document;
mod duration;
mod fields;
pub mod file;
mod flags;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod mode;
mod node_ports;
mod source;
mod validate;
mod value;
mod write;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fairlead_proxy_model::{DetectLocal, Scopes, Settings, Sizes};

use crate::cli::{LogFormat, LogLevel, Roots, Run};
use document::Document;

pub use conntrack::Conntrack;
pub use flags::Flags;
pub use mode::Mode;
pub use node_ports::{NodePortAddresses, Primary};
pub use source::{KubernetesConfig, SourceConfig};

/// Where `/healthz` and `/livez` are served (k8s.io/kubernetes, pkg/cluster/ports).
pub const HEALTHZ_PORT: u16 = 10256;
/// Where metrics are served.
pub const METRICS_PORT: u16 = 10249;

/// The shortest time between two verifications, whatever is asked for.
const LEAST_VERIFY: Duration = Duration::from_secs(1);

/// What a running daemon goes by.
#[derive(Clone, Debug)]
pub struct Config {
    /// The command line that all of this comes from, and by which it is read again.
    pub run: Run,
    /// Where facts come from.
    pub source: SourceConfig,
    /// Where it lives.
    pub roots: Roots,
    /// The name that endpoints on this node carry.
    pub node: String,
    /// Sizes of maps that do not exist yet.
    pub sizes: Sizes,
    /// Between two comparisons of the maps with what they should hold.
    pub verify_every: Duration,
    /// kube-proxy's `syncPeriod`: a change that waits for twice as long makes the proxy unhealthy.
    pub sync_period: Duration,
    /// The mode whose rules count where kube-proxy's modes differ; `/proxyMode` tells it.
    pub mode: Mode,
    /// Where `/healthz` and `/livez` are served. An unspecified address of either family stands for both. `None`: nowhere.
    pub healthz: Option<SocketAddr>,
    /// Where metrics are served; the same holds.
    pub metrics: Option<SocketAddr>,
    /// Whether it is fatal that one of them cannot be bound.
    pub bind_hard_fail: bool,
    /// The node's own address, where the operator says it; else the Node object does.
    pub bind_address: Option<IpAddr>,
    /// At which of its addresses NodePorts are served.
    pub node_ports: NodePortAddresses,
    /// Packets to a cluster IP get the node's address as source, whoever sends them.
    pub masquerade_all: bool,
    /// How the cluster's own clients are told from others.
    pub detect_local: DetectLocal,
    /// Only Services whose label `service.kubernetes.io/service-proxy-name` has this value; `None`: only those without it.
    pub service_proxy_name: Option<String>,
    /// Limits of connection tracking.
    pub conntrack: Conntrack,
    /// How readily the kernel kills the daemon when memory runs out: -1000 (never) to 1000.
    pub oom_score_adj: i32,
    /// How log lines look.
    pub log_format: LogFormat,
    /// The least important lines to log.
    pub log_level: LogLevel,
    /// All of kube-proxy's configuration as it holds now, as `/configz` and `--write-config-to` show it.
    pub effective: serde_json::Value,
    /// What an operator should know about the configuration: a line each.
    pub remarks: Vec<String>,
}

impl Config {
    /// Reads and checks everything. Refuses what cannot work.
    pub fn new(run: &Run) -> Result<Self> {
        let read = Read::new(run)?;
        let asked = read.asked_source(run);
        let source = source::SourceConfig::decide(asked)?;
        read.finish(run.clone(), source)
    }

    /// What `--write-config-to` writes: no source is needed for it.
    pub fn effective_yaml(run: &Run) -> Result<String> {
        let read = Read::new(run)?;
        write::yaml(&write::effective(&read.document, read.node_name.as_deref(), read.bind))
    }

    /// The same, from the file as it is now.
    pub fn reloaded(&self) -> Result<Self> {
        Self::new(&self.run)
    }

    /// What `new` says otherwise and a running daemon does not take up; it has to be started again for it.
    pub fn needs_restart(&self, new: &Self) -> Vec<&'static str> {
        [
            (self.source != new.source, "clientConnection"),
            (self.node != new.node, "hostnameOverride"),
            (self.mode != new.mode, "mode"),
            (self.healthz != new.healthz, "healthzBindAddress"),
            (self.metrics != new.metrics, "metricsBindAddress"),
            (self.bind_hard_fail != new.bind_hard_fail, "bindAddressHardFail"),
            ((self.log_format, self.log_level) != (new.log_format, new.log_level), "logging"),
        ]
        .into_iter()
        .filter_map(|(is_other, name)| is_other.then_some(name))
        .collect()
    }

    /// What the model goes by.
    pub fn settings(&self) -> Settings {
        Settings {
            scopes: Scopes::Node,
            serve_other_nodes: true,
            localhost_node_ports: self.node_ports.localhost(),
            masquerade_all: self.masquerade_all,
            detect_local: self.detect_local.clone(),
            ..Settings::new(self.node.as_str())
        }
    }
}

/// Addresses to bind, both decided.
type Bind = (Option<SocketAddr>, Option<SocketAddr>);

/// Everything but the source.
struct Read {
    document: Document,
    bind: Bind,
    master: Option<String>,
    node_name: Option<String>,
    remarks: Vec<String>,
}

impl Read {
    fn new(run: &Run) -> Result<Self> {
        let (mut document, mut remarks) = match &run.config {
            None => (Document::default(), Vec::new()),
            Some(path) => {
                let read = || Document::read(&file::read(path)?);
                let (document, remarks) = read().with_context(|| format!("--config {}", path.display()))?;
                (document, remarks.into_iter().map(|remark| format!("{}: {remark}", path.display())).collect())
            }
        };
        let (beside, more) = run.flags.apply(&mut document, run.config.is_some())?;
        remarks.extend(more);
        let faults = validate::faults(&document);
        if !faults.is_empty() {
            let place = run.config.as_ref().map(|path| format!("--config {}: ", path.display())).unwrap_or_default();
            bail!("{place}{}", faults.join("; "));
        }
        let bind = bind_addresses(&document, &beside);
        remarks.extend(unapplied(&document));
        Ok(Self { document, bind, master: beside.master, node_name: beside.node_name, remarks })
    }

    fn asked_source(&self, run: &Run) -> source::Asked {
        let document = &self.document;
        let kubeconfig = Some(document.text("clientConnection.kubeconfig")).filter(|path| !path.is_empty());
        let by_flag = document.name("clientConnection.kubeconfig").starts_with("--");
        source::Asked {
            directory: run.source.clone(),
            kubeconfig: kubeconfig.map(|path| {
                (if by_flag { "--kubeconfig" } else { "clientConnection.kubeconfig" }, PathBuf::from(path))
            }),
            master: self.master.clone().filter(|url| !url.is_empty()),
            qps: document.number("clientConnection.qps"),
            burst: u32::try_from(document.integer("clientConnection.burst")).unwrap_or(0),
        }
    }

    fn finish(self, run: Run, source: SourceConfig) -> Result<Config> {
        let Self { document, bind, node_name, mut remarks, .. } = self;
        let sync_period = Duration::from_nanos(sync_period(&document).unsigned_abs());
        let verify_every = run.verify_seconds.map_or(sync_period, Duration::from_secs);
        if verify_every < LEAST_VERIFY {
            remarks.push(format!("maps are verified every {LEAST_VERIFY:?}, not every {verify_every:?}"));
        }
        let node_ports = NodePortAddresses::new(&document);
        remarks.extend(node_ports.remarks(&document));
        Ok(Config {
            source,
            roots: run.roots.clone(),
            node: node(&run, &document, node_name.as_deref())?,
            sizes: Sizes {
                slots: run.max_frontends,
                backends: run.max_backends,
                addresses: run.max_addresses,
                ranges: run.max_source_ranges,
            },
            verify_every: verify_every.max(LEAST_VERIFY),
            sync_period,
            mode: document.written_mode().unwrap_or(Mode::Nftables),
            healthz: bind.0,
            metrics: bind.1,
            bind_hard_fail: document.switch("bindAddressHardFail"),
            bind_address: address::ip(document.text("bindAddress")).filter(|address| !address.is_unspecified()),
            node_ports,
            masquerade_all: document.switch(masquerade_all(&document)),
            detect_local: detect_local(&document),
            service_proxy_name: run.service_proxy_name.clone().filter(|name| !name.is_empty()),
            conntrack: Conntrack::new(&document),
            oom_score_adj: document.integer("oomScoreAdj"),
            log_format: run.log_format.unwrap_or(match document.text("logging.format") {
                "json" => LogFormat::Json,
                _ => LogFormat::Text,
            }),
            log_level: run.log_level.unwrap_or(level(document.integer("logging.verbosity"))),
            effective: write::effective(&document, node_name.as_deref(), bind),
            remarks,
            run,
        })
    }
}

/// One line that names every field with another value than its default that is not applied, by reason.
fn unapplied(document: &Document) -> Option<String> {
    let mut by_reason: Vec<(&str, Vec<String>)> = Vec::new();
    for field in fields::FIELDS.iter().filter(|field| document.is_changed(field.path)) {
        let reason = match field.fate {
            fields::Fate::Applied => continue,
            fields::Fate::If(holds, _) if holds(document) => continue,
            fields::Fate::If(_, reason) | fields::Fate::Not(reason) => reason,
        };
        let name = document.name(field.path);
        match by_reason.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, names)) => names.push(name),
            None => by_reason.push((reason, vec![name])),
        }
    }
    let parts: Vec<_> = by_reason.iter().map(|(reason, names)| format!("{} ({reason})", names.join(", "))).collect();
    (!parts.is_empty()).then(|| format!("not applied: {}", parts.join("; ")))
}

fn bind_addresses(document: &Document, beside: &flags::Beside) -> Bind {
    let is_ipv6 = address::ip(document.text("bindAddress")).is_some_and(|address| address.is_ipv6());
    let (anywhere, here): (IpAddr, IpAddr) = match is_ipv6 {
        false => (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::LOCALHOST.into()),
        true => (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::LOCALHOST.into()),
    };
    let bind = |path: &str, default: IpAddr, port: u16| {
        address::bind(document.text(path), port).unwrap_or(SocketAddr::new(default, port))
    };
    (
        beside.healthz.then(|| bind("healthzBindAddress", anywhere, HEALTHZ_PORT)),
        beside.metrics.then(|| bind("metricsBindAddress", here, METRICS_PORT)),
    )
}

/// Nanoseconds of the `syncPeriod` that holds.
fn sync_period(document: &Document) -> i64 {
    document.nanos(&format!("{}.syncPeriod", validate::section(document.written_mode())))
}

/// The path of the `masqueradeAll` that holds.
fn masquerade_all(document: &Document) -> &'static str {
    match document.written_mode() {
        Some(Mode::Nftables) => "nftables.masqueradeAll",
        _ => "iptables.masqueradeAll",
    }
}

fn detect_local(document: &Document) -> DetectLocal {
    match document.text("detectLocalMode") {
        "NodeCIDR" => DetectLocal::NodeCidr,
        "BridgeInterface" => DetectLocal::BridgeInterface(document.text("detectLocal.bridgeInterface").to_owned()),
        "InterfaceNamePrefix" => {
            DetectLocal::InterfaceNamePrefix(document.text("detectLocal.interfaceNamePrefix").to_owned())
        }
        _ => match validate::cluster_cidrs(document.text("clusterCIDR")) {
            Some(networks) => DetectLocal::ClusterCidr(networks),
            None => DetectLocal::None,
        },
    }
}

/// klog's verbosity, which has no end, on our levels.
fn level(verbosity: i32) -> LogLevel {
    match verbosity {
        ..4 => LogLevel::Info,
        4..6 => LogLevel::Debug,
        6.. => LogLevel::Trace,
    }
}

/// The flag before the file; else the host name, in small letters as kubelet and kube-proxy have it.
fn node(run: &Run, document: &Document, by_flag: Option<&str>) -> Result<String> {
    let overridden = by_flag.or(Some(document.text("hostnameOverride")).filter(|name| !name.is_empty()));
    match (&run.node_name, overridden) {
        (Some(name), _) if name.is_empty() => bail!("--node-name: empty"),
        (Some(name), Some(other)) if *name != other.trim().to_lowercase() => {
            bail!("--node-name {name} and the host name {other} are both given; leave one out")
        }
        (Some(name), _) => Ok(name.clone()),
        (None, Some(name)) if name.trim().is_empty() => bail!("the host name to use is empty (hostnameOverride)"),
        (None, Some(name)) => Ok(name.trim().to_lowercase()),
        (None, None) => {
            let name =
                fs::read_to_string("/proc/sys/kernel/hostname").context("read the host name; give --node-name")?;
            Ok(name.trim().to_lowercase())
        }
    }
}

#[cfg(test)]
pub mod tests;
