//! What the operator has decided.

use std::sync::Arc;

use ipnet::IpNet;

/// What the operator has decided, as far as it decides anything here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The name of the node that this is.
    pub node: Arc<str>,
    /// Which clients frontends are made for.
    pub scopes: Scopes,
    /// Whether NodePorts are served at the addresses of other nodes too, without a way over that node.
    pub serve_other_nodes: bool,
    /// Whether NodePorts are served at loopback addresses, to processes in the node's own network namespace.
    pub localhost_node_ports: bool,
    /// Packets to a cluster IP get the node's address as source, whoever sends them.
    pub masquerade_all: bool,
    /// How the cluster's own clients are told from others.
    pub detect_local: DetectLocal,
}

impl Settings {
    /// The defaults, on that node: sockets' clients only, other nodes' NodePorts and localhost's served, nothing known about
    /// which clients are the cluster's own.
    pub fn new(node: impl Into<Arc<str>>) -> Self {
        Self {
            node: node.into(),
            scopes: Scopes::Node,
            serve_other_nodes: true,
            localhost_node_ports: true,
            masquerade_all: false,
            detect_local: DetectLocal::None,
        }
    }
}

/// Which clients frontends are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scopes {
    /// The node's own: its pods and its processes.
    Node,
    /// These, and those whose packets come from outside.
    NodeAndOutside,
}

/// How the cluster's own clients are told from others: by address, or by the interface that their packets come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DetectLocal {
    /// Not at all: nobody is masqueraded for being a stranger.
    None,
    /// By address; of each family the first network counts.
    ClusterCidr(Vec<IpNet>),
    /// By address: the networks of this node's pods, as its Node says.
    NodeCidr,
    /// By the name of the interface.
    BridgeInterface(String),
    /// By how the name of the interface begins.
    InterfaceNamePrefix(String),
}
