//! What the sources say, in our own words: services with ports, slices with endpoints, nodes.
//!
//! Facts are shared ([`std::sync::Arc`]) and compared; one that is equal to what is known changes nothing. Names that occur
//! once for every endpoint are shared too: a hundred thousand endpoints are a few megabytes.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use fairlead_ebpf_shared::{IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP};
use ipnet::IpNet;

/// Namespace and name, of a service or of a slice. Displayed and ordered as `namespace/name`. A copy costs no memory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The name within the namespace.
    pub name: Arc<str>,
}

impl ObjectName {
    /// A name from its two parts.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A transport protocol that a service may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Transmission Control Protocol.
    Tcp,
    /// User Datagram Protocol.
    Udp,
    /// Stream Control Transmission Protocol. A socket hook cannot serve it; see [`crate::Notice::SctpNotServed`].
    Sctp,
}

impl Protocol {
    /// The IANA protocol number, as map keys hold it.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => IPPROTO_TCP,
            Self::Udp => IPPROTO_UDP,
            Self::Sctp => IPPROTO_SCTP,
        }
    }

    /// The name in capitals.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    #[must_use]
    pub const fn of(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// The family of a network.
    #[must_use]
    pub const fn of_net(net: IpNet) -> Self {
        match net {
            IpNet::V4(_) => Self::V4,
            IpNet::V6(_) => Self::V6,
        }
    }

    /// `IPv4` or `IPv6`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

/// Which endpoints clients may be sent to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TrafficPolicy {
    /// Endpoints on any node.
    #[default]
    Cluster,
    /// Endpoints on the client's node (from outside: on the node that was asked) only.
    Local,
}

/// A service that has virtual addresses. Headless services and mere aliases are not facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceFact {
    /// Its name.
    pub name: ObjectName,
    /// Its identity, for events; may be empty.
    pub uid: String,
    /// When it was created, in seconds since 1970 (UTC); `None`, as in hand-written files, counts as younger than any.
    pub created: Option<i64>,
    /// Its virtual addresses, at most one of each family. Only these families are served, at whatever address.
    pub cluster_ips: Vec<IpAddr>,
    /// Addresses outside of the cluster that lead to its nodes.
    pub external_ips: Vec<IpAddr>,
    /// Addresses of load balancers that pass packets on as they are (ingress with an address and without `ipMode: Proxy`).
    pub load_balancer_ips: Vec<IpAddr>,
    /// At `load_balancer_ips` only these clients are admitted; empty: all. One without a network of a family admits all
    /// clients of that family.
    pub source_ranges: Vec<IpNet>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// For clients that ask the cluster IP.
    pub internal_policy: TrafficPolicy,
    /// For clients that ask any other address.
    pub external_policy: TrafficPolicy,
    /// A client keeps its endpoint for so many seconds (1 to 86400) after its last new connection.
    pub affinity: Option<u32>,
    /// Where this node tells load balancers whether it has endpoints.
    pub health_check_node_port: Option<u16>,
}

impl ServiceFact {
    /// A service of that name with nothing in it.
    #[must_use]
    pub fn new(name: ObjectName) -> Self {
        Self {
            name,
            uid: String::new(),
            created: None,
            cluster_ips: Vec::new(),
            external_ips: Vec::new(),
            load_balancer_ips: Vec::new(),
            source_ranges: Vec::new(),
            ports: Vec::new(),
            internal_policy: TrafficPolicy::Cluster,
            external_policy: TrafficPolicy::Cluster,
            affinity: None,
            health_check_node_port: None,
        }
    }
}

/// A port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name, which slices refer to; may be empty.
    pub name: Arc<str>,
    /// Its protocol.
    pub protocol: Protocol,
    /// The number that clients connect to; not 0.
    pub port: u16,
    /// The number that clients connect to at the addresses of nodes; not 0.
    pub node_port: Option<u16>,
}

/// A port of the endpoints of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePort {
    /// Its name, which is a service port's; may be empty.
    pub name: Arc<str>,
    /// Its protocol.
    pub protocol: Protocol,
    /// The number that endpoints listen at; not 0.
    pub port: u16,
}

/// A part of the endpoints of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceFact {
    /// Its own name.
    pub name: ObjectName,
    /// The name of the service it belongs to, in the same namespace.
    pub service: Arc<str>,
    /// The family of all its endpoints.
    pub family: Family,
    /// The ports, by name and protocol, that every endpoint of this slice has.
    pub ports: Vec<SlicePort>,
    /// The endpoints.
    pub endpoints: Vec<Endpoint>,
    /// When the change happened that led to this state of the slice, in nanoseconds since 1970, if it says so. Decides
    /// nothing; see [`SliceFact::serves_as`].
    pub triggered: Option<i64>,
}

impl SliceFact {
    /// The full name of the service it belongs to.
    #[must_use]
    pub fn service_name(&self) -> ObjectName {
        ObjectName::new(self.name.namespace.clone(), self.service.clone())
    }

    /// Equal but for the time.
    #[must_use]
    pub fn serves_as(&self, other: &Self) -> bool {
        let Self { name, service, family, ports, endpoints, triggered: _ } = self;
        *name == other.name
            && *service == other.service
            && *family == other.family
            && *ports == other.ports
            && *endpoints == other.endpoints
    }
}

/// One endpoint of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address, of the slice's family.
    pub addr: IpAddr,
    /// Whether new connections should go to it.
    pub ready: bool,
    /// Whether it answers, be it ready or on its way out.
    pub serving: bool,
    /// Whether it is on its way out.
    pub terminating: bool,
    /// The node it is on, if known.
    pub node: Option<Arc<str>>,
    /// From where it should be used; `None`: from anywhere. Endpoints with equal hints should share one value.
    pub hints: Option<Arc<Hints>>,
}

/// From where an endpoint should be used.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hints {
    /// Zones; may be empty.
    pub zones: Vec<Arc<str>>,
    /// Names of nodes; may be empty.
    pub nodes: Vec<Arc<str>>,
}

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFact {
    /// Its name.
    pub name: Arc<str>,
    /// Its zone; not empty.
    pub zone: Option<Arc<str>>,
    /// Its addresses, internal ones before external ones.
    pub addresses: Vec<IpAddr>,
    /// The networks of its pods.
    pub pod_cidrs: Vec<IpNet>,
    /// It is being deleted.
    pub deleting: bool,
    /// A cluster autoscaler is about to delete it.
    pub to_be_deleted_taint: bool,
}

/// Something that a source has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A service is new or different (or the same: that does nothing).
    PutService(Arc<ServiceFact>),
    /// A service is gone.
    DeleteService(ObjectName),
    /// A slice is new or different (or the same: that does nothing).
    PutSlice(Arc<SliceFact>),
    /// A slice is gone.
    DeleteSlice(ObjectName),
    /// A node is new or different (or the same: that does nothing).
    PutNode(Arc<NodeFact>),
    /// A node is gone.
    DeleteNode(Arc<str>),
    /// All addresses of this node at which NodePorts are served; loopback does not belong here.
    OwnAddresses(BTreeSet<IpAddr>),
}
