//! Every field of KubeProxyConfiguration v1alpha1 (k8s.io/kube-proxy v0.37.2, config/v1alpha1/types.go, with the types of
//! k8s.io/component-base that it embeds): what it holds, what stands there when nothing is written, and what becomes of it
//! here. `tests` holds the list of the upstream type against it.

use super::document::Document;
use super::mode::Mode;
use super::value::Kind::{self, Duration, Gates, Integer, List, Modules, Number, Pause, Quantity, Switch, Text};

/// One field.
#[derive(Debug)]
pub struct Field {
    /// With dots between the levels.
    pub path: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// As a flag would say it.
    pub default: &'static str,
    /// Whether a zero is a value of its own; else it stands for the default (no pointer in Go).
    pub zero_counts: bool,
    /// What becomes of it.
    pub fate: Fate,
}

/// What becomes of a field here.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    /// It is applied.
    Applied,
    /// It is applied if this holds for the document; else why not.
    If(fn(&Document) -> bool, &'static str),
    /// It is not applied; why. No word is lost if it has its default.
    Not(&'static str),
}

use Fate::{Applied, If, Not};

const WINDOWS: &str = "of Windows nodes only";
const IPVS: &str = "there is no IPVS here";
const MARK: &str = "no packet mark is used";
const AT_ONCE: &str = "a change is written at once, for it costs only what it touches";
const PROTOCOL: &str = "the API server is spoken to in JSON";
const LINES: &str = "log lines go to stderr as they arise";
const OTHER_MODE: &str = "it is of another mode than the one in force";

const fn field(path: &'static str, kind: Kind, default: &'static str, fate: Fate) -> Field {
    Field { path, kind, default, zero_counts: false, fate }
}

const fn pointer(path: &'static str, kind: Kind, default: &'static str, fate: Fate) -> Field {
    Field { path, kind, default, zero_counts: true, fate }
}

fn mode_is_nftables(document: &Document) -> bool {
    document.written_mode() == Some(Mode::Nftables)
}

fn mode_is_ipvs(document: &Document) -> bool {
    document.written_mode() == Some(Mode::Ipvs)
}

fn mode_is_not_nftables(document: &Document) -> bool {
    !mode_is_nftables(document)
}

fn mode_is_iptables_or_unset(document: &Document) -> bool {
    !mode_is_nftables(document) && !mode_is_ipvs(document)
}

fn mode_is_of_iptables(document: &Document) -> bool {
    matches!(document.written_mode(), Some(Mode::Iptables | Mode::Ipvs))
}

fn local_is_cluster_cidr(document: &Document) -> bool {
    matches!(document.text("detectLocalMode"), "" | "ClusterCIDR")
}

fn local_is_bridge(document: &Document) -> bool {
    document.text("detectLocalMode") == "BridgeInterface"
}

fn local_is_prefix(document: &Document) -> bool {
    document.text("detectLocalMode") == "InterfaceNamePrefix"
}

fn conntrack_max_is_set(document: &Document) -> bool {
    document.integer("conntrack.maxPerCore") > 0
}

/// The table.
#[rustfmt::skip]
pub const FIELDS: &[Field] = &[
    field("bindAddress", Text, "0.0.0.0", Applied),
    field("bindAddressHardFail", Switch, "false", Applied),
    field("clientConnection.acceptContentTypes", Text, "", Not(PROTOCOL)),
    field("clientConnection.burst", Integer, "10", Applied),
    field("clientConnection.contentType", Text, "application/vnd.kubernetes.protobuf", Not(PROTOCOL)),
    field("clientConnection.kubeconfig", Text, "", Applied),
    field("clientConnection.qps", Number, "5", Applied),
    field("clusterCIDR", Text, "", If(local_is_cluster_cidr, "detectLocalMode is not ClusterCIDR")),
    field("configSyncPeriod", Duration, "15m", Not("the watch itself is checked; nothing is asked for again in a rhythm")),
    pointer("conntrack.maxPerCore", Integer, "32768", Applied),
    pointer("conntrack.min", Integer, "131072", If(conntrack_max_is_set, "conntrack.maxPerCore is 0")),
    field("conntrack.tcpBeLiberal", Switch, "false", Applied),
    pointer("conntrack.tcpCloseWaitTimeout", Duration, "1h", Applied),
    pointer("conntrack.tcpEstablishedTimeout", Duration, "24h", Applied),
    field("conntrack.udpStreamTimeout", Duration, "0", Applied),
    field("conntrack.udpTimeout", Duration, "0", Applied),
    field("detectLocal.bridgeInterface", Text, "", If(local_is_bridge, "detectLocalMode is not BridgeInterface")),
    field("detectLocal.interfaceNamePrefix", Text, "", If(local_is_prefix, "detectLocalMode is not InterfaceNamePrefix")),
    field("detectLocalMode", Text, "", Applied),
    field("enableProfiling", Switch, "false", Not("there is no profiler inside; perf(1) sees the process")),
    field("featureGates", Gates, "", Not("gates of kube-proxy's own code")),
    field("healthzBindAddress", Text, "", Applied),
    field("hostnameOverride", Text, "", Applied),
    pointer("iptables.localhostNodePorts", Switch, "true", If(mode_is_of_iptables, OTHER_MODE)),
    field("iptables.masqueradeAll", Switch, "false", If(mode_is_not_nftables, OTHER_MODE)),
    pointer("iptables.masqueradeBit", Integer, "14", Not(MARK)),
    field("iptables.minSyncPeriod", Duration, "1s", Not(AT_ONCE)),
    field("iptables.syncPeriod", Duration, "30s", If(mode_is_iptables_or_unset, OTHER_MODE)),
    field("ipvs.excludeCIDRs", List, "", Not(IPVS)),
    field("ipvs.minSyncPeriod", Duration, "0", Not(AT_ONCE)),
    field("ipvs.scheduler", Text, "", Not(IPVS)),
    field("ipvs.strictARP", Switch, "false", Not(IPVS)),
    field("ipvs.syncPeriod", Duration, "30s", If(mode_is_ipvs, OTHER_MODE)),
    field("ipvs.tcpFinTimeout", Duration, "0", Not(IPVS)),
    field("ipvs.tcpTimeout", Duration, "0", Not(IPVS)),
    field("ipvs.udpTimeout", Duration, "0", Not(IPVS)),
    field("logging.flushFrequency", Pause, "5s", Not(LINES)),
    field("logging.format", Text, "text", Applied),
    field("logging.options.json.infoBufferSize", Quantity, "0", Not(LINES)),
    field("logging.options.json.splitStream", Switch, "false", Not(LINES)),
    field("logging.options.text.infoBufferSize", Quantity, "0", Not(LINES)),
    field("logging.options.text.splitStream", Switch, "false", Not(LINES)),
    field("logging.verbosity", Integer, "0", Applied),
    field("logging.vmodule", Modules, "", Not("names files of kube-proxy's own code")),
    field("metricsBindAddress", Text, "", Applied),
    field("mode", Text, "", Applied),
    field("nftables.masqueradeAll", Switch, "false", If(mode_is_nftables, OTHER_MODE)),
    pointer("nftables.masqueradeBit", Integer, "14", Not(MARK)),
    field("nftables.minSyncPeriod", Duration, "1s", Not(AT_ONCE)),
    field("nftables.syncPeriod", Duration, "30s", If(mode_is_nftables, OTHER_MODE)),
    field("nodePortAddresses", List, "", Applied),
    pointer("oomScoreAdj", Integer, "-999", Applied),
    field("portRange", Text, "", Not("kube-proxy does not use it either")),
    field("showHiddenMetricsForVersion", Text, "", Not("no metric is hidden")),
    field("windowsRunAsService", Switch, "false", Not(WINDOWS)),
    field("winkernel.enableDSR", Switch, "false", Not(WINDOWS)),
    field("winkernel.forwardHealthCheckVip", Switch, "false", Not(WINDOWS)),
    field("winkernel.networkName", Text, "", Not(WINDOWS)),
    field("winkernel.rootHnsEndpointName", Text, "", Not(WINDOWS)),
    field("winkernel.sourceVip", Text, "", Not(WINDOWS)),
];

/// The row of a path. Paths are written in this room only.
pub fn find(path: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|field| field.path == path)
}
