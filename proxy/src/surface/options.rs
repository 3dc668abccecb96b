//! What the surface is told at the start.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use fairlead_proxy_model::Family;
use serde_json::Value;

use crate::config::{Config, SourceConfig};
use crate::health::NodeState;

/// How the surface is to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// This node's name.
    pub node: String,
    /// The families that the node has.
    pub families: Vec<Family>,
    /// What it means that there is no Node object for this node.
    pub node_state: NodeState,
    /// Where `/healthz` and `/livez` are; `None`: nowhere.
    pub healthz: Option<SocketAddr>,
    /// Where `/metrics` is; `None`: nowhere.
    pub metrics: Option<SocketAddr>,
    /// An address that cannot be bound ends the daemon.
    pub hard_fail: bool,
    /// A change that waits this long is too late: twice kube-proxy's syncPeriod.
    pub health_timeout: Duration,
    /// What `/proxyMode` says.
    pub proxy_mode: &'static str,
    /// What `/configz` says, in kube-proxy's form.
    pub configz: Value,
    /// There is an API server that takes events.
    pub events: bool,
}

impl Options {
    /// As the configuration has it.
    pub fn new(config: &Config) -> Self {
        let of_cluster = matches!(config.source, SourceConfig::Kubernetes(_));
        Self {
            node: config.node.clone(),
            families: families(),
            node_state: if of_cluster { NodeState::Missing } else { NodeState::Staying },
            healthz: config.healthz,
            metrics: config.metrics,
            hard_fail: config.bind_hard_fail,
            health_timeout: config.sync_period * 2,
            proxy_mode: config.mode.name(),
            configz: config.effective.clone(),
            events: of_cluster,
        }
    }
}

/// The families that this node has. IPv4 is always there; a kernel may be started without IPv6.
fn families() -> Vec<Family> {
    let has_ipv6 = Path::new("/proc/net/if_inet6").exists();
    if has_ipv6 { vec![Family::V4, Family::V6] } else { vec![Family::V4] }
}
