//! What the tables should say, without slots and regions: those are `ids`' matter.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use fairlead_ebpf_shared::{AddressClass, FrontendKey, OptionsWord};
use ipnet::IpNet;

use crate::facts::ObjectName;
use crate::tables::Entry;

/// Every frontend with its backends, and what the addresses are that have none at a port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// By key.
    pub frontends: BTreeMap<FrontendKey, Arc<DesiredFrontend>>,
    /// By address.
    pub addresses: BTreeMap<IpAddr, AddressClass>,
}

/// One frontend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredFrontend {
    /// The service that it belongs to.
    pub service: ObjectName,
    /// The name of the service's port; may be empty.
    pub port: Arc<str>,
    /// Which of the service's addresses it is.
    pub kind: FrontendKind,
    /// Ascending, each once; shared by the frontends of a service port that have the same.
    pub backends: Arc<[SocketAddr]>,
    /// What clients get when there is no backend.
    pub when_empty: WhenEmpty,
    /// Only these clients are admitted; `None`: all. Never empty, no bits beyond the prefixes, each once.
    pub ranges: Option<Arc<[IpNet]>>,
    /// Seconds that a client keeps its backend after its last new connection.
    pub affinity_s: Option<u32>,
    /// The frontend whose slot names the group that shares affinity: the service port's cluster IP. Without affinity: itself.
    pub group: FrontendKey,
    /// The other frontends of its group, if it is the one that names it.
    pub members: Arc<[FrontendKey]>,
    /// At addresses of other nodes it is left to them.
    pub local_only: bool,
    /// Whose packets get the node's address as source. Clients of this node are translated at their sockets and need none.
    pub masquerade: Masquerade,
}

/// Which of a service's addresses a frontend is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FrontendKind {
    /// The cluster IP.
    ClusterIp,
    /// An address that the load balancer passes on.
    LoadBalancer,
    /// An external IP.
    ExternalIp,
    /// Any address of a node, at the node port.
    NodePort,
}

impl FrontendKind {
    /// As Kubernetes calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClusterIp => "ClusterIP",
            Self::LoadBalancer => "LoadBalancer",
            Self::ExternalIp => "externalIP",
            Self::NodePort => "NodePort",
        }
    }
}

/// What clients get when there is no backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum WhenEmpty {
    /// A refusal: there is no endpoint anywhere.
    #[default]
    Refuse,
    /// Nothing: there are endpoints, but none on this node, and the policy is Local.
    Drop,
}

/// Whose packets get the node's address as source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Masquerade {
    /// Nobody's (but those of a client that is sent to itself).
    #[default]
    Nobody,
    /// Those of clients that are none of the cluster's own pods ([`crate::DetectLocal`]).
    Foreigners,
    /// Everybody's.
    Everybody,
}

impl Desired {
    /// Everything that is desired.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        let frontends = self.frontends.keys().copied().map(Entry::Frontend);
        frontends.chain(self.addresses.keys().copied().map(Entry::Address))
    }

    /// Whether an entry is desired and, a frontend, has backends.
    #[must_use]
    pub fn leads_somewhere(&self, entry: &Entry) -> bool {
        match entry {
            Entry::Frontend(key) => self.frontends.get(key).is_some_and(|frontend| !frontend.backends.is_empty()),
            Entry::Address(addr) => self.addresses.contains_key(addr),
        }
    }

    /// The frontend whose slot names the affinity group of the frontend `key`: another one of the same service, or itself
    /// (also where the other address has been lost to another service).
    #[must_use]
    pub fn group_of(&self, key: &FrontendKey, frontend: &DesiredFrontend) -> FrontendKey {
        let is_ours = |named: &Arc<DesiredFrontend>| named.service == frontend.service;
        if self.frontends.get(&frontend.group).is_some_and(is_ours) { frontend.group } else { *key }
    }
}

impl DesiredFrontend {
    /// The plainest there is: a cluster IP that anybody may use, without affinity.
    pub fn plain(
        key: FrontendKey,
        service: ObjectName,
        port: impl Into<Arc<str>>,
        backends: impl Into<Arc<[SocketAddr]>>,
    ) -> Self {
        Self {
            service,
            port: port.into(),
            kind: FrontendKind::ClusterIp,
            backends: backends.into(),
            when_empty: WhenEmpty::Refuse,
            ranges: None,
            affinity_s: None,
            group: key,
            members: Arc::default(),
            local_only: false,
            masquerade: Masquerade::Nobody,
        }
    }

    /// The `FLAG_` constants of [`OptionsWord`] that say the same.
    #[must_use]
    pub fn flags(&self) -> u8 {
        let masquerade = match self.masquerade {
            Masquerade::Nobody => 0,
            Masquerade::Foreigners => OptionsWord::FLAG_MASQUERADE_FOREIGN,
            Masquerade::Everybody => OptionsWord::FLAG_MASQUERADE,
        };
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        masquerade
            | flag(self.backends.is_empty() && self.when_empty == WhenEmpty::Drop, OptionsWord::FLAG_DROP)
            | flag(self.ranges.is_some(), OptionsWord::FLAG_RANGES)
            | flag(self.local_only, OptionsWord::FLAG_LOCAL_ONLY)
    }
}
