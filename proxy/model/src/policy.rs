//! What a service wants: which frontends, with which endpoints and which rules, one service at a time.
//!
//! The rules are kube-proxy's (`pkg/proxy/serviceport.go` and `pkg/proxy/nftables/proxier.go`, Kubernetes 1.37), with one
//! difference that the place of the decision brings: a client of this node is known for one before its packets leave, so the
//! short-circuit of externalTrafficPolicy Local is a frontend of its own (scope 0) and not a rule. Nor are they masqueraded:
//! a socket that connects to an endpoint has a source address that leads back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use fairlead_ebpf_shared::{Be16, FrontendKey, SCOPE_NODE, SCOPE_OUTSIDE, SetWord, mapped};
use ipnet::IpNet;

use crate::desired::{DesiredFrontend, FrontendKind, Masquerade, WhenEmpty};
use crate::endpoints::{Categories, Here, Uses, categorize, is_local, merge};
use crate::facts::{Family, Protocol, ServiceFact, ServicePort, SliceFact, TrafficPolicy};
use crate::notice::Notice;
use crate::settings::{DetectLocal, Scopes, Settings};

/// What a service wants, before it is known whether another service claims the same address and port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServiceTable {
    /// Ascending by key.
    pub frontends: Vec<(FrontendKey, Arc<DesiredFrontend>)>,
    pub cluster_ips: Vec<IpAddr>,
    pub notices: Vec<Notice>,
    pub no_local: NoLocal,
    pub health_check: Option<HealthCheck>,
    /// Whether the node's zone matters to it.
    pub depends_on_zone: bool,
    /// Whether the node's addresses matter to it.
    pub depends_on_node_ip: bool,
}

/// Service ports that have endpoints, but none on this node although their policy is Local; `[IPv4, IPv6]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoLocal {
    /// By internalTrafficPolicy.
    pub internal: [usize; 2],
    /// By externalTrafficPolicy.
    pub external: [usize; 2],
}

/// What load balancers are told about a service at its health check node port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// Where they ask.
    pub port: u16,
    /// Different IPv4 addresses of ready endpoints on this node, over all ports; `None`: the service has no IPv4.
    pub v4: Option<u32>,
    /// The same of IPv6.
    pub v6: Option<u32>,
}

/// Where this node is, as far as it decides anything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub settings: &'a Settings,
    pub zone: Option<&'a str>,
    /// The first address of each family, `[IPv4, IPv6]`.
    pub node_ips: [Option<IpAddr>; 2],
}

impl<'a> Place<'a> {
    pub(crate) fn here(&self) -> Here<'a> {
        Here { node: &self.settings.node, zone: self.zone }
    }
}

/// The key of a frontend for clients on this node.
#[must_use]
pub fn frontend_key(addr: IpAddr, port: u16, protocol: Protocol) -> FrontendKey {
    FrontendKey { addr: address_bytes(addr), port: Be16::new(port), protocol: protocol.number(), scope: SCOPE_NODE }
}

/// The address that stands for every node's address in the keys of NodePorts.
#[must_use]
pub const fn any_node(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

/// An address as the maps hold it: IPv4 mapped into IPv6.
#[must_use]
pub fn address_bytes(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V4(addr) => mapped(addr.octets()),
        IpAddr::V6(addr) => addr.octets(),
    }
}

/// Which sets a service port needs.
pub(crate) fn uses(service: &ServiceFact, port: &ServicePort, family: Family) -> Uses {
    let reachable = is_externally_accessible(service, port, family);
    let internal_local = service.internal_policy == TrafficPolicy::Local;
    let external_local = service.external_policy == TrafficPolicy::Local;
    Uses { cluster: !internal_local || reachable, local: internal_local || (external_local && reachable) }
}

fn is_externally_accessible(service: &ServiceFact, port: &ServicePort, family: Family) -> bool {
    let has = |addrs: &[IpAddr]| addrs.iter().any(|addr| Family::of(*addr) == family);
    port.node_port.is_some() || has(&service.load_balancer_ips) || has(&service.external_ips)
}

/// What `service` wants here, given all of its slices.
pub(crate) fn expand(service: &ServiceFact, slices: &[Arc<SliceFact>], place: Place<'_>) -> ServiceTable {
    let mut table = ServiceTable { cluster_ips: service.cluster_ips.clone(), ..ServiceTable::default() };
    let mut frontends = BTreeMap::new();
    for &cluster_ip in &service.cluster_ips {
        let family = Family::of(cluster_ip);
        let ranges = source_ranges(service, family, place, &mut table);
        for port in &service.ports {
            let ports = PortOf { service, port, family, cluster_ip, ranges: ranges.clone(), place };
            ports.expand(slices, &mut table, &mut frontends);
        }
    }
    let sctp = service.ports.iter().filter(|port| port.protocol == Protocol::Sctp);
    table.notices.extend(sctp.map(|port| Notice::SctpNotServed { service: service.name.clone(), port: port.port }));
    table.depends_on_zone = slices.iter().any(|slice| {
        let mut hints = slice.endpoints.iter().filter_map(|endpoint| endpoint.hints.as_ref());
        hints.any(|hints| !hints.zones.is_empty())
    });
    table.health_check = health_check(service, slices, place);
    table.frontends = frontends.into_iter().map(|(key, frontend)| (key, Arc::new(frontend))).collect();
    table
}

/// One port of a service, of one family.
struct PortOf<'a> {
    service: &'a ServiceFact,
    port: &'a ServicePort,
    family: Family,
    cluster_ip: IpAddr,
    ranges: Option<Arc<[IpNet]>>,
    place: Place<'a>,
}

/// What the frontends of one port and scope have in common, be they internal or external.
struct Target {
    backends: Arc<[SocketAddr]>,
    when_empty: WhenEmpty,
    masquerade: Masquerade,
    local_only: bool,
}

impl PortOf<'_> {
    fn expand(
        &self,
        slices: &[Arc<SliceFact>],
        table: &mut ServiceTable,
        frontends: &mut BTreeMap<FrontendKey, DesiredFrontend>,
    ) {
        let Self { service, port, .. } = *self;
        let candidates = merge(slices.iter().map(|slice| &**slice), self.family, &port.name, port.protocol);
        let categories = categorize(&candidates, uses(service, port, self.family), self.place.here());
        drop(candidates);
        self.count(&categories, table);
        let any = categories.any;
        let cluster = self.bounded(categories.cluster, table);
        let local =
            if cluster[..] == categories.local[..] { cluster.clone() } else { self.bounded(categories.local, table) };

        let group = self.key(self.cluster_ip, port.port, SCOPE_NODE);
        let mut made = BTreeSet::new();
        let scopes: &[u8] = match self.place.settings.scopes {
            Scopes::Node => &[SCOPE_NODE],
            Scopes::NodeAndOutside => &[SCOPE_NODE, SCOPE_OUTSIDE],
        };
        for &scope in scopes {
            let internal = self.target(service.internal_policy, &cluster, &local, any, self.internal_masquerade(scope));
            let external = self.external(scope, &cluster, &local, any);
            for (kind, addr, number) in self.places() {
                let target = if kind == FrontendKind::ClusterIp { &internal } else { &external };
                let key = self.key(addr, number, scope);
                let frontend = self.frontend(kind, target, if service.affinity.is_some() { group } else { key });
                frontends.entry(key).or_insert_with(|| {
                    made.insert(key);
                    frontend
                });
            }
        }
        if service.affinity.is_some()
            && made.remove(&group)
            && let Some(naming) = frontends.get_mut(&group)
        {
            naming.members = made.into_iter().collect();
        }
    }

    /// Everywhere it is served; where an address is stated twice, the first is what it is.
    fn places(&self) -> impl Iterator<Item = (FrontendKind, IpAddr, u16)> {
        let Self { service, port, family, .. } = *self;
        let of_family = move |addr: &&IpAddr| Family::of(**addr) == family;
        let listed = move |kind: FrontendKind, addrs: &'_ [IpAddr]| -> Vec<(FrontendKind, IpAddr, u16)> {
            addrs.iter().filter(of_family).map(|addr| (kind, *addr, port.port)).collect()
        };
        let node_port = port.node_port.map(|number| (FrontendKind::NodePort, any_node(family), number));
        std::iter::once((FrontendKind::ClusterIp, self.cluster_ip, port.port))
            .chain(listed(FrontendKind::LoadBalancer, &service.load_balancer_ips))
            .chain(listed(FrontendKind::ExternalIp, &service.external_ips))
            .chain(node_port)
    }

    fn key(&self, addr: IpAddr, number: u16, scope: u8) -> FrontendKey {
        FrontendKey { scope, ..frontend_key(addr, number, self.port.protocol) }
    }

    fn frontend(&self, kind: FrontendKind, target: &Target, group: FrontendKey) -> DesiredFrontend {
        DesiredFrontend {
            service: self.service.name.clone(),
            port: self.port.name.clone(),
            kind,
            backends: target.backends.clone(),
            when_empty: target.when_empty,
            ranges: if kind == FrontendKind::LoadBalancer { self.ranges.clone() } else { None },
            affinity_s: self.service.affinity,
            group,
            members: Arc::default(),
            local_only: target.local_only && kind == FrontendKind::NodePort,
            masquerade: target.masquerade,
        }
    }

    /// Clients of this node take the short cut: as if they had gone out to a load balancer and come in again at a node that
    /// has endpoints. At another node's own address that is for this node to decide only if the policy is Cluster.
    fn external(&self, scope: u8, cluster: &Arc<[SocketAddr]>, local: &Arc<[SocketAddr]>, any: bool) -> Target {
        match (self.service.external_policy, scope) {
            (TrafficPolicy::Local, SCOPE_NODE) => Target {
                local_only: true,
                ..self.target(TrafficPolicy::Cluster, cluster, local, any, Masquerade::Nobody)
            },
            (TrafficPolicy::Local, _) => self.target(TrafficPolicy::Local, cluster, local, any, Masquerade::Nobody),
            (TrafficPolicy::Cluster, SCOPE_NODE) => {
                self.target(TrafficPolicy::Cluster, cluster, local, any, Masquerade::Nobody)
            }
            (TrafficPolicy::Cluster, _) => {
                self.target(TrafficPolicy::Cluster, cluster, local, any, Masquerade::Everybody)
            }
        }
    }

    fn target(
        &self,
        policy: TrafficPolicy,
        cluster: &Arc<[SocketAddr]>,
        local: &Arc<[SocketAddr]>,
        any: bool,
        masquerade: Masquerade,
    ) -> Target {
        let backends = match policy {
            TrafficPolicy::Cluster => cluster,
            TrafficPolicy::Local => local,
        };
        let when_empty = if any && policy == TrafficPolicy::Local { WhenEmpty::Drop } else { WhenEmpty::Refuse };
        Target { backends: backends.clone(), when_empty, masquerade, local_only: false }
    }

    fn internal_masquerade(&self, scope: u8) -> Masquerade {
        let Settings { masquerade_all, detect_local, .. } = self.place.settings;
        match (scope, masquerade_all, detect_local) {
            (SCOPE_NODE, _, _) | (_, false, DetectLocal::None) => Masquerade::Nobody,
            (_, true, _) => Masquerade::Everybody,
            (_, false, _) => Masquerade::Foreigners,
        }
    }

    /// Notes what a policy Local has nothing for.
    fn count(&self, categories: &Categories, table: &mut ServiceTable) {
        if !categories.any || !categories.local.is_empty() {
            return;
        }
        let family = self.family as usize;
        if self.service.internal_policy == TrafficPolicy::Local {
            table.no_local.internal[family] += 1;
            let key = self.key(self.cluster_ip, self.port.port, SCOPE_NODE);
            table.notices.push(Notice::NoLocalEndpoint { service: self.service.name.clone(), key });
        }
        if self.service.external_policy == TrafficPolicy::Local {
            table.no_local.external[family] += 1;
        }
    }

    fn bounded(&self, mut backends: Vec<SocketAddr>, table: &mut ServiceTable) -> Arc<[SocketAddr]> {
        if backends.len() >= SetWord::COUNT_LIMIT as usize {
            let key = self.key(self.cluster_ip, self.port.port, SCOPE_NODE);
            let service = self.service.name.clone();
            table.notices.push(Notice::TooManyEndpoints { service, key, found: backends.len() });
            backends.truncate(SetWord::COUNT_LIMIT as usize - 1);
        }
        backends.into()
    }
}

/// The networks that the load balancers' addresses admit. A range that holds this node's address admits these addresses
/// too: where they are the node's own, its processes send from them.
fn source_ranges(
    service: &ServiceFact,
    family: Family,
    place: Place<'_>,
    table: &mut ServiceTable,
) -> Option<Arc<[IpNet]>> {
    let vips = || service.load_balancer_ips.iter().filter(|addr| Family::of(**addr) == family);
    let ranges = service.source_ranges.iter().filter(|range| Family::of_net(**range) == family);
    let mut ranges: BTreeSet<IpNet> = ranges.map(IpNet::trunc).collect();
    if vips().next().is_none() || ranges.is_empty() || ranges.iter().any(|range| range.prefix_len() == 0) {
        return None;
    }
    table.depends_on_node_ip = true;
    if place.node_ips[family as usize].is_some_and(|addr| ranges.iter().any(|range| range.contains(&addr))) {
        ranges.extend(vips().map(|addr| IpNet::from(*addr)));
    }
    Some(ranges.into_iter().collect())
}

/// Counted over all ports that the slices state, as an endpoint at two ports is one.
fn health_check(service: &ServiceFact, slices: &[Arc<SliceFact>], place: Place<'_>) -> Option<HealthCheck> {
    let port = service.health_check_node_port.filter(|_| service.external_policy == TrafficPolicy::Local)?;
    let count = |family: Family| -> Option<u32> {
        service.cluster_ips.iter().find(|addr| Family::of(**addr) == family)?;
        let ports: BTreeSet<(&str, Protocol)> =
            slices.iter().flat_map(|slice| &slice.ports).map(|port| (&*port.name, port.protocol)).collect();
        let merged = ports
            .into_iter()
            .flat_map(|(name, protocol)| merge(slices.iter().map(|slice| &**slice), family, name, protocol));
        let ready = merged.filter(|found| found.endpoint.ready && is_local(found.endpoint, place.here()));
        Some(ready.map(|found| found.addr.ip()).collect::<BTreeSet<IpAddr>>().len() as u32)
    };
    Some(HealthCheck { port, v4: count(Family::V4), v6: count(Family::V6) })
}
