//! The nodes of an overlay and what must hold between them. Declarations come from a source (the peers file, later
//! Kubernetes Nodes) with the line they stand on; what comes out is consistent, or one error that names both parties.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::mac::Mac;

/// UDP port of the Linux kernel and of flannel when none is given (`drivers/net/vxlan/vxlan_core.c`, `vxlan_port`).
pub const DEFAULT_PORT: u16 = 8472;
/// The VXLAN network identifier when none is given, as flannel has it.
pub const DEFAULT_VNI: u32 = 1;
/// The wire allows 24 bits; `flannel.<vni>` must fit into the 15 characters of an interface name (IFNAMSIZ).
pub const MAX_VNI: u32 = 9_999_999;

/// A value and the line of the file it stands on (1-based); 0 where the source has no lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Its line.
    pub line: u64,
}

/// The peers as declared, syntax checked and nothing else.
#[derive(Debug, Clone)]
pub struct Declared {
    /// The cluster's IPv4 network.
    pub network: Option<At<Ipv4Net>>,
    /// The cluster's IPv6 network.
    pub ipv6_network: Option<At<Ipv6Net>>,
    /// VXLAN network identifier.
    pub vni: At<u64>,
    /// UDP port, host order.
    pub port: At<u64>,
    /// The nodes, in the order of the file.
    pub nodes: Vec<DeclaredNode>,
}

/// One node as declared.
#[derive(Debug, Clone)]
pub struct DeclaredNode {
    /// Its name.
    pub name: At<String>,
    /// Its address on the underlay.
    pub address: At<IpAddr>,
    /// Its pods' IPv4 subnet.
    pub subnet: Option<At<Ipv4Net>>,
    /// Its pods' IPv6 subnet.
    pub ipv6_subnet: Option<At<Ipv6Net>>,
    /// Its tunnel device's MAC, if not the derived one.
    pub mac: Option<At<Mac>>,
}

/// One node of the overlay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its name, unique.
    pub name: String,
    /// Its address on the underlay, where the others send the tunnel's packets.
    pub address: IpAddr,
    /// Its pods' IPv4 subnet, without host bits.
    pub subnet: Option<Ipv4Net>,
    /// Its pods' IPv6 subnet, without host bits.
    pub ipv6_subnet: Option<Ipv6Net>,
    /// The MAC of its tunnel device.
    pub mac: Mac,
}

impl Node {
    /// Its subnets of both families.
    pub fn subnets(&self) -> impl Iterator<Item = IpNet> {
        self.subnet.map(IpNet::V4).into_iter().chain(self.ipv6_subnet.map(IpNet::V6))
    }
}

/// A consistent overlay as one node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peers {
    /// The cluster's IPv4 network.
    pub network: Option<Ipv4Net>,
    /// The cluster's IPv6 network.
    pub ipv6_network: Option<Ipv6Net>,
    /// VXLAN network identifier, 1..=[`MAX_VNI`].
    pub vni: u32,
    /// UDP port, host order, not 0.
    pub port: u16,
    /// This node.
    pub me: Node,
    /// All the others, by name.
    pub others: BTreeMap<String, Node>,
}

impl Peers {
    /// The name of the tunnel device: flannel's.
    pub fn device_name(&self) -> String {
        format!("flannel.{}", self.vni)
    }

    /// The cluster's networks of both families.
    pub fn networks(&self) -> impl Iterator<Item = IpNet> {
        self.network.map(IpNet::V4).into_iter().chain(self.ipv6_network.map(IpNet::V6))
    }
}

/// Why a set of declarations is no overlay: the place and one sentence that says what to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeersError {
    /// The line in the source, 1-based; `None` if the fault is in no line.
    pub line: Option<u64>,
    /// What is wrong, with the field and the nodes.
    pub message: String,
}

impl PeersError {
    pub(crate) fn at(line: u64, message: impl Into<String>) -> PeersError {
        PeersError { line: (line > 0).then_some(line), message: message.into() }
    }

    /// The error with the file it is about: `peers.yaml:7: …`.
    pub fn in_file(&self, path: &std::path::Path) -> String {
        match self.line {
            Some(line) => format!("{}:{line}: {}", path.display(), self.message),
            None => format!("{}: {}", path.display(), self.message),
        }
    }
}

impl fmt::Display for PeersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for PeersError {}
