//! What a source of services says, in our own words: services with ports, slices with endpoints.

use std::fmt;
use std::net::IpAddr;

use fairlead_ebpf_shared::{IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP};

/// Namespace and name, of a service or of a slice. Displayed and ordered as `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// The namespace.
    pub namespace: String,
    /// The name within the namespace.
    pub name: String,
}

impl ObjectName {
    /// A name from its two parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
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
    /// The family of an address.
    #[must_use]
    pub const fn of(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// Which endpoints a client on this node may be sent to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrafficPolicy {
    /// Endpoints on any node.
    #[default]
    Cluster,
    /// Endpoints on the client's node only.
    Local,
}

/// A service that has virtual addresses. Headless services and mere aliases are not facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceFact {
    /// Its name.
    pub name: ObjectName,
    /// When it was created, in seconds since 1970 (UTC); `None`, as in hand-written files, counts as younger than any.
    pub created: Option<i64>,
    /// Its virtual addresses, at most one of each family.
    pub cluster_ips: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// For clients inside the cluster.
    pub internal_policy: TrafficPolicy,
}

/// A port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name, which slices refer to; may be empty.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// The number that clients connect to; not 0.
    pub port: u16,
}

/// A part of the endpoints of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceFact {
    /// Its own name.
    pub name: ObjectName,
    /// The name of the service it belongs to, in the same namespace.
    pub service: String,
    /// The family of all its endpoints.
    pub family: Family,
    /// The ports, by name and protocol, that every endpoint of this slice has.
    pub ports: Vec<ServicePort>,
    /// The endpoints.
    pub endpoints: Vec<Endpoint>,
}

impl SliceFact {
    /// The full name of the service it belongs to.
    #[must_use]
    pub fn service_name(&self) -> ObjectName {
        ObjectName::new(self.name.namespace.clone(), self.service.clone())
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
    pub node: Option<String>,
}
