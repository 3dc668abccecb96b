//! Where UDP services are asked, and which endpoints may answer there. Pure.
//!
//! Whoever serves counts, ready or on its way out, wherever it is: policies, topology and hints decide about new flows and
//! never end one that is there. So it is with kube-proxy (`pkg/proxy/conntrack/cleanup.go`, Kubernetes 1.37), with one
//! difference: an endpoint that is ready and says that it does not serve (`publishNotReadyAddresses`) is one that new flows
//! are led to, and its flows are not ended.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use fairlead_ebpf_shared::{FrontendKey, IPPROTO_UDP};
use fairlead_proxy_model::{Engine, Family, ObjectName, Protocol, ServiceFact, ServicePort, SliceFact, ip_addr};

/// Where a UDP service is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Front {
    /// At an address of its own.
    At(SocketAddr),
    /// At this port of any node's address.
    NodePort(Family, u16),
}

impl Front {
    /// `None`: it is not UDP's.
    pub fn of(key: &FrontendKey) -> Option<Self> {
        if key.protocol != IPPROTO_UDP {
            return None;
        }
        let (addr, port) = (ip_addr(key.addr), key.port.get());
        Some(match addr.is_unspecified() {
            true => Self::NodePort(Family::of(addr), port),
            false => Self::At(SocketAddr::new(addr, port)),
        })
    }

    pub fn family(self) -> Family {
        match self {
            Self::At(addr) => Family::of(addr.ip()),
            Self::NodePort(family, _) => family,
        }
    }

    pub fn port(self) -> u16 {
        match self {
            Self::At(addr) => addr.port(),
            Self::NodePort(_, port) => port,
        }
    }
}

/// The endpoints that may answer.
pub type Serving = Arc<BTreeSet<SocketAddr>>;

/// A front whose endpoints are others than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shift {
    pub front: Front,
    /// `None`: there was no such front.
    pub before: Option<Serving>,
    /// `None`: there is none any more.
    pub after: Option<Serving>,
}

/// All fronts.
#[derive(Debug, Default)]
pub struct Table {
    fronts: BTreeMap<Front, BTreeMap<ObjectName, Serving>>,
    of: BTreeMap<ObjectName, BTreeMap<Front, Serving>>,
}

impl Table {
    /// Takes up a service as the engine has it now.
    pub fn take_up(&mut self, engine: &Engine, name: &ObjectName) -> Vec<Shift> {
        let fronts = engine.service(name).map(|service| fronts_of(service, engine.slices_of(name)));
        self.replace(name, fronts.unwrap_or_default())
    }

    pub fn is_empty(&self) -> bool {
        self.fronts.is_empty()
    }

    /// Who may answer at `front`. Two services may claim one front: what either has is left alone.
    pub fn serving(&self, front: &Front) -> Option<Serving> {
        let mut claims = self.fronts.get(front)?.values();
        let first = claims.next()?;
        let others: Vec<&Serving> = claims.collect();
        if others.is_empty() {
            return Some(first.clone());
        }
        Some(Arc::new(others.into_iter().chain([first]).flat_map(|serving| serving.iter().copied()).collect()))
    }

    /// All fronts with who may answer there.
    pub fn all(&self) -> impl Iterator<Item = (Front, Option<Serving>)> {
        self.fronts.keys().map(|front| (*front, self.serving(front)))
    }

    fn replace(&mut self, name: &ObjectName, fronts: BTreeMap<Front, Serving>) -> Vec<Shift> {
        let old = self.of.remove(name).unwrap_or_default();
        if old == fronts {
            // Nearly always: it has no UDP port, or nothing about its endpoints is new.
            if !old.is_empty() {
                self.of.insert(name.clone(), old);
            }
            return Vec::new();
        }
        let touched: BTreeSet<Front> = old.keys().chain(fronts.keys()).copied().collect();
        let mut shifts = Vec::new();
        for front in touched {
            let before = self.serving(&front);
            let claims = self.fronts.entry(front).or_default();
            match fronts.get(&front) {
                Some(serving) => drop(claims.insert(name.clone(), serving.clone())),
                None => drop(claims.remove(name)),
            }
            if claims.is_empty() {
                self.fronts.remove(&front);
            }
            let after = self.serving(&front);
            if before != after {
                shifts.push(Shift { front, before, after });
            }
        }
        if !fronts.is_empty() {
            self.of.insert(name.clone(), fronts);
        }
        shifts
    }
}

/// Where a service is asked by UDP.
fn fronts_of(service: &ServiceFact, slices: &[Arc<SliceFact>]) -> BTreeMap<Front, Serving> {
    let mut fronts = BTreeMap::new();
    for port in service.ports.iter().filter(|port| port.protocol == Protocol::Udp) {
        for cluster_ip in &service.cluster_ips {
            let family = Family::of(*cluster_ip);
            let serving: Serving = Arc::new(serving(slices, family, port));
            let others = service.external_ips.iter().chain(&service.load_balancer_ips);
            let others = others.filter(|addr| Family::of(**addr) == family);
            let at = |addr: &IpAddr| Front::At(SocketAddr::new(*addr, port.port));
            let node_port = port.node_port.map(|port| Front::NodePort(family, port));
            let all = [at(cluster_ip)].into_iter().chain(others.map(at)).chain(node_port);
            fronts.extend(all.map(|front| (front, serving.clone())));
        }
    }
    fronts
}

fn serving(slices: &[Arc<SliceFact>], family: Family, port: &ServicePort) -> BTreeSet<SocketAddr> {
    let slices = slices.iter().filter(|slice| slice.family == family);
    let ports = slices.flat_map(|slice| slice.ports.iter().map(move |port| (slice, port)));
    let of_port = ports.filter(|(_, found)| found.protocol == port.protocol && found.name == port.name);
    of_port
        .flat_map(|(slice, found)| {
            let serving = slice.endpoints.iter().filter(|endpoint| endpoint.ready || endpoint.serving);
            serving.map(|endpoint| SocketAddr::new(endpoint.addr, found.port))
        })
        .collect()
}
