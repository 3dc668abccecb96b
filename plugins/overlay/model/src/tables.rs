//! The three tables of a tunnel: what they must hold, and the ordered way there from what they hold.
//!
//! For a peer with subnet S, tunnel MAC M and underlay address P, as flannel has it (`pkg/backend/vxlan/vxlan_network.go`):
//! the FDB sends M to P, a permanent neighbour resolves S.0 to M, and S is routed via S.0 with `onlink`. No ARP, no
//! learning: the data path needs nobody to answer.
//!
//! Order. A route comes last and goes first, or packets would wait for an ARP answer that nobody gives (flannel removes
//! the neighbour first). A peer's FDB entry precedes its neighbour and the old one goes at the very end, so that a changed
//! MAC is resolved at every moment (flannel leaves the old entry for ever).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::mac::Mac;
use crate::peers::{Node, Peers};

/// `rtm_protocol` of our routes, so that we know them again and leave others alone. Free in `linux/rtnetlink.h` and in
/// iproute2's `rt_protos`.
pub const ROUTE_PROTOCOL: u8 = 0x4f;

/// What the kernel gives an IPv6 route without a metric (`include/net/ip6_route.h`, `IP6_RT_PRIO_USER`); IPv4 has 0.
const IPV6_METRIC: u32 = 1024;

/// What tells routes of one table apart. Replacing a route replaces the one with the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RouteKey {
    /// The destination.
    pub destination: IpNet,
    /// The metric, `RTA_PRIORITY`; 0 if absent.
    pub metric: u32,
}

impl RouteKey {
    /// The key under which we put a route.
    pub fn ours(destination: IpNet) -> RouteKey {
        let metric = if matches!(destination, IpNet::V4(_)) { 0 } else { IPV6_METRIC };
        RouteKey { destination, metric }
    }
}

/// Where a route of ours leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NextHop {
    /// The gateway; `None` never for a route we made.
    pub gateway: Option<IpAddr>,
    /// Whether the gateway is taken as on the link though no address says so.
    pub onlink: bool,
}

/// The entries of one tunnel device. Of what the kernel holds only what is ours: routes with [`ROUTE_PROTOCOL`] on the
/// device, permanent neighbours and permanent FDB entries on the device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tables {
    /// Routes in the main table.
    pub routes: BTreeMap<RouteKey, NextHop>,
    /// Neighbours: gateway to tunnel MAC.
    pub neighbours: BTreeMap<IpAddr, Mac>,
    /// FDB entries: tunnel MAC and underlay address. Only multicast and all-zero MACs can have several.
    pub fdb: BTreeSet<(Mac, IpAddr)>,
}

/// One change of the tables. Its `Display` is what one would type by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Create the FDB entry of a MAC, or point it elsewhere.
    SetFdb(Mac, IpAddr),
    /// Create the neighbour entry of a gateway, or give it another MAC.
    SetNeighbour(IpAddr, Mac),
    /// Create or replace the route to a subnet via the gateway.
    SetRoute(IpNet, IpAddr),
    /// Remove a route of ours.
    DeleteRoute(RouteKey),
    /// Remove a neighbour entry.
    DeleteNeighbour(IpAddr),
    /// Remove one destination of a MAC.
    DeleteFdb(Mac, IpAddr),
}

/// The operations of one peer, in order; if one fails the rest is not tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerChange {
    /// The peer's name.
    pub peer: String,
    /// FDB, neighbours, routes.
    pub operations: Vec<Operation>,
}

/// A route of somebody else that stands where ours should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// The peer that is not reachable because of it.
    pub peer: String,
    /// The subnet.
    pub subnet: IpNet,
    /// The other route, as `ip route` prints it.
    pub route: String,
}

/// The way from one state of the tables to another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// What is added or replaced, peer by peer.
    pub set: Vec<PeerChange>,
    /// What goes, after all that: routes, neighbours, FDB entries.
    pub remove: Vec<Operation>,
    /// What cannot be done without taking a route from somebody else.
    pub conflicts: Vec<Conflict>,
}

impl Plan {
    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }

    /// All operations in order.
    pub fn operations(&self) -> impl Iterator<Item = &Operation> {
        self.set.iter().flat_map(|change| &change.operations).chain(&self.remove)
    }
}

/// What the tables of a device must hold for one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerEntries {
    /// The tunnel MAC and the underlay address behind it.
    pub fdb: (Mac, IpAddr),
    /// The subnets, each with its gateway: the base address, S.0.
    pub paths: Vec<(IpNet, IpAddr)>,
}

impl PeerEntries {
    /// The entries of a node that is not this one.
    pub fn of(node: &Node) -> PeerEntries {
        let paths = node.subnets().map(|subnet| (subnet, subnet.network())).collect();
        PeerEntries { fdb: (node.mac, node.address), paths }
    }

    /// The operations that make all of it out of nothing.
    fn operations(&self) -> impl Iterator<Item = Operation> {
        let (mac, address) = self.fdb;
        let neighbours = self.paths.iter().map(move |(_, gateway)| Operation::SetNeighbour(*gateway, mac));
        let routes = self.paths.iter().map(|(subnet, gateway)| Operation::SetRoute(*subnet, *gateway));
        std::iter::once(Operation::SetFdb(mac, address)).chain(neighbours).chain(routes)
    }
}

impl Tables {
    /// What the tables must hold.
    pub fn desired(peers: &Peers) -> Tables {
        let mut tables = Tables::default();
        for node in peers.others.values() {
            PeerEntries::of(node).operations().for_each(|operation| tables.apply(&operation));
        }
        tables
    }

    /// What of a peer's entries is missing or different, in words; empty if all of it stands.
    pub fn missing(&self, node: &Node) -> Vec<Operation> {
        PeerEntries::of(node).operations().filter(|operation| !self.holds(operation)).collect()
    }

    /// Does to this state what the kernel does to its tables.
    pub fn apply(&mut self, operation: &Operation) {
        match *operation {
            Operation::SetFdb(mac, address) => {
                let others: Vec<_> = self.destinations(mac).copied().filter(|entry| entry.1 != address).collect();
                for entry in others {
                    self.fdb.remove(&entry);
                }
                self.fdb.insert((mac, address));
            }
            Operation::SetNeighbour(gateway, mac) => {
                self.neighbours.insert(gateway, mac);
            }
            Operation::SetRoute(subnet, gateway) => {
                self.routes.insert(RouteKey::ours(subnet), NextHop { gateway: Some(gateway), onlink: true });
            }
            Operation::DeleteRoute(key) => {
                self.routes.remove(&key);
            }
            Operation::DeleteNeighbour(gateway) => {
                self.neighbours.remove(&gateway);
            }
            Operation::DeleteFdb(mac, address) => {
                self.fdb.remove(&(mac, address));
            }
        }
    }

    /// The FDB entries of one MAC.
    fn destinations(&self, mac: Mac) -> impl Iterator<Item = &(Mac, IpAddr)> {
        let least = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        self.fdb.range((mac, least)..).take_while(move |(other, _)| *other == mac)
    }

    /// Whether an operation would change nothing.
    fn holds(&self, operation: &Operation) -> bool {
        match *operation {
            Operation::SetFdb(mac, address) => {
                let mut of_mac = self.destinations(mac);
                of_mac.next() == Some(&(mac, address)) && of_mac.next().is_none()
            }
            Operation::SetNeighbour(gateway, mac) => self.neighbours.get(&gateway) == Some(&mac),
            Operation::SetRoute(subnet, gateway) => {
                self.routes.get(&RouteKey::ours(subnet)) == Some(&NextHop { gateway: Some(gateway), onlink: true })
            }
            Operation::DeleteRoute(key) => !self.routes.contains_key(&key),
            Operation::DeleteNeighbour(gateway) => !self.neighbours.contains_key(&gateway),
            Operation::DeleteFdb(mac, address) => !self.fdb.contains(&(mac, address)),
        }
    }
}

/// The ordered way from `actual` to what `peers` ask for. `foreign` holds the routes of the main table that are not on our
/// device, in words: they are never replaced.
pub fn diff(peers: &Peers, actual: &Tables, foreign: &BTreeMap<RouteKey, String>) -> Plan {
    let mut plan = Plan::default();
    for node in peers.others.values() {
        let mut operations = actual.missing(node);
        operations.retain(|operation| {
            let Operation::SetRoute(subnet, _) = operation else { return true };
            let Some(route) = foreign.get(&RouteKey::ours(*subnet)) else { return true };
            plan.conflicts.push(Conflict { peer: node.name.clone(), subnet: *subnet, route: route.clone() });
            false
        });
        if !operations.is_empty() {
            plan.set.push(PeerChange { peer: node.name.clone(), operations });
        }
    }
    let desired = Tables::desired(peers);
    let macs: BTreeSet<Mac> = desired.fdb.iter().map(|(mac, _)| *mac).collect();
    let routes = actual.routes.keys().filter(|key| !desired.routes.contains_key(key));
    plan.remove.extend(routes.map(|key| Operation::DeleteRoute(*key)));
    let neighbours = actual.neighbours.keys().filter(|gateway| !desired.neighbours.contains_key(gateway));
    plan.remove.extend(neighbours.map(|gateway| Operation::DeleteNeighbour(*gateway)));
    let fdb = actual.fdb.iter().filter(|(mac, _)| !macs.contains(mac));
    plan.remove.extend(fdb.map(|(mac, address)| Operation::DeleteFdb(*mac, *address)));
    plan
}

impl Operation {
    /// The operation on the device `device`, as one would type it.
    pub fn on<'a>(&'a self, device: &'a str) -> impl fmt::Display + 'a {
        OnDevice { operation: self, device }
    }
}

struct OnDevice<'a> {
    operation: &'a Operation,
    device: &'a str,
}

impl fmt::Display for OnDevice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dev = self.device;
        match self.operation {
            Operation::SetFdb(mac, address) => {
                write!(f, "bridge fdb replace {mac} dev {dev} dst {address} self permanent")
            }
            Operation::SetNeighbour(gateway, mac) => {
                write!(f, "ip neigh replace {gateway} lladdr {mac} dev {dev} nud permanent")
            }
            Operation::SetRoute(subnet, gateway) => {
                write!(f, "ip route replace {subnet} via {gateway} dev {dev} onlink proto {ROUTE_PROTOCOL}")
            }
            Operation::DeleteRoute(RouteKey { destination, metric: 0 }) => {
                write!(f, "ip route del {destination} dev {dev} proto {ROUTE_PROTOCOL}")
            }
            Operation::DeleteRoute(RouteKey { destination, metric }) => {
                write!(f, "ip route del {destination} dev {dev} metric {metric} proto {ROUTE_PROTOCOL}")
            }
            Operation::DeleteNeighbour(gateway) => write!(f, "ip neigh del {gateway} dev {dev}"),
            Operation::DeleteFdb(mac, address) => write!(f, "bridge fdb del {mac} dev {dev} dst {address} self"),
        }
    }
}
