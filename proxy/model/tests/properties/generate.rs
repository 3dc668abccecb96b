//! Facts at random: few names, addresses and ports, so that services meet.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use fairlead_proxy_model::{
    Change, DetectLocal, Endpoint, Family, Hints, NodeFact, ObjectName, Protocol, Scopes, ServiceFact, ServicePort,
    Settings, SliceFact, SlicePort, TrafficPolicy,
};
use ipnet::IpNet;
use proptest::prelude::*;

pub const NODE: &str = "here";

/// The facts as they stand.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub services: BTreeMap<ObjectName, Arc<ServiceFact>>,
    pub slices: BTreeMap<ObjectName, Arc<SliceFact>>,
    pub nodes: BTreeMap<Arc<str>, Arc<NodeFact>>,
    pub own: BTreeSet<IpAddr>,
}

impl Facts {
    pub fn apply(&mut self, change: &Change) {
        match change.clone() {
            Change::PutService(fact) => drop(self.services.insert(fact.name.clone(), fact)),
            Change::DeleteService(name) => drop(self.services.remove(&name)),
            Change::PutSlice(fact) => drop(self.slices.insert(fact.name.clone(), fact)),
            Change::DeleteSlice(name) => drop(self.slices.remove(&name)),
            Change::PutNode(fact) => drop(self.nodes.insert(fact.name.clone(), fact)),
            Change::DeleteNode(name) => drop(self.nodes.remove(&name)),
            Change::OwnAddresses(own) => self.own = own,
        }
    }

    /// In another order than they came.
    pub fn changes(&self) -> Vec<Change> {
        let slices = self.slices.values().cloned().map(Change::PutSlice);
        let nodes = self.nodes.values().cloned().map(Change::PutNode);
        let services = self.services.values().rev().cloned().map(Change::PutService);
        let own = std::iter::once(Change::OwnAddresses(self.own.clone()));
        slices.chain(services).chain(own).chain(nodes).collect()
    }
}

pub fn settings() -> impl Strategy<Value = Settings> {
    let detect = prop_oneof![
        Just(DetectLocal::None),
        Just(DetectLocal::NodeCidr),
        Just(DetectLocal::ClusterCidr(vec![IpNet::from(IpAddr::from([10, 244, 0, 0]))])),
    ];
    (any::<[bool; 3]>(), detect).prop_map(|([both, others, all], detect_local)| Settings {
        scopes: if both { Scopes::NodeAndOutside } else { Scopes::Node },
        serve_other_nodes: others,
        masquerade_all: all,
        detect_local,
        ..Settings::new(NODE)
    })
}

fn service_name(index: u8) -> ObjectName {
    ObjectName::new("default", format!("service-{index}"))
}

fn slice_name(index: u8) -> ObjectName {
    ObjectName::new("default", format!("slice-{index}"))
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![4 => Just(Protocol::Tcp), 2 => Just(Protocol::Udp), 1 => Just(Protocol::Sctp)]
}

fn port_name() -> impl Strategy<Value = Arc<str>> {
    prop_oneof![Just(""), Just("a"), Just("b")].prop_map(Arc::from)
}

fn policy() -> impl Strategy<Value = TrafficPolicy> {
    prop_oneof![2 => Just(TrafficPolicy::Cluster), 1 => Just(TrafficPolicy::Local)]
}

fn v6(group: u16, last: u8) -> IpAddr {
    IpAddr::from([0xfd00, group, 0, 0, 0, 0, 0, u16::from(last)])
}

/// Addresses that services share, that are nodes' too, of both families.
fn outer_address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (1..4_u8).prop_map(|last| IpAddr::from([203, 0, 113, last])),
        (1..3_u8).prop_map(|last| IpAddr::from([192, 168, 0, last])),
        (1..3_u8).prop_map(|last| v6(9, last)),
    ]
}

fn range() -> impl Strategy<Value = IpNet> {
    prop_oneof![
        Just("10.244.1.0/30"),
        Just("10.244.1.1/32"),
        Just("192.168.0.0/24"),
        Just("fd00:1::/64"),
        Just("0.0.0.0/0"),
    ]
    .prop_map(|text| text.parse().expect("a network"))
}

fn service() -> impl Strategy<Value = ServiceFact> {
    let port = (port_name(), protocol(), 80..83_u16, proptest::option::of(30_000..30_003_u16));
    let identity = (0..6_u8, proptest::option::of(0..3_i64), 1..5_u8, any::<bool>());
    let addresses = (
        proptest::collection::vec(outer_address(), 0..2),
        proptest::collection::vec(outer_address(), 0..2),
        proptest::collection::vec(range(), 0..3),
    );
    let rules = (policy(), policy(), proptest::option::weighted(0.4, 1..100_u32), proptest::option::of(Just(32_000)));
    (identity, addresses, proptest::collection::vec(port, 1..3), rules).prop_map(
        |((index, created, address, dual), (external_ips, load_balancer_ips, source_ranges), ports, rules)| {
            let mut cluster_ips = vec![IpAddr::from([10, 96, 0, address])];
            if dual {
                cluster_ips.push(v6(0, address));
            }
            let mut seen = BTreeSet::new();
            let ports = ports
                .into_iter()
                .filter(|(name, protocol, port, node_port)| {
                    let known = [
                        (name.clone(), 0, *protocol),
                        (Arc::from("?port"), *port, *protocol),
                        (Arc::from("?node"), node_port.unwrap_or(0), *protocol),
                    ];
                    let is_known = known.iter().any(|key| seen.contains(key));
                    seen.extend(known);
                    !is_known
                })
                .map(|(name, protocol, port, node_port)| ServicePort { name, protocol, port, node_port });
            let (internal_policy, external_policy, affinity, health_check_node_port) = rules;
            ServiceFact {
                created,
                cluster_ips,
                external_ips,
                load_balancer_ips,
                source_ranges,
                ports: ports.collect(),
                internal_policy,
                external_policy,
                affinity,
                health_check_node_port,
                ..ServiceFact::new(service_name(index))
            }
        },
    )
}

fn hints() -> impl Strategy<Value = Option<Arc<Hints>>> {
    let names = |one: &'static str, other: &'static str| {
        proptest::collection::vec(prop_oneof![Just(one), Just(other)].prop_map(Arc::<str>::from), 0..3)
    };
    let hints = (names("zone-a", "zone-b"), names(NODE, "there"));
    proptest::option::weighted(0.7, hints.prop_map(|(zones, nodes)| Arc::new(Hints { zones, nodes })))
}

fn slice() -> impl Strategy<Value = SliceFact> {
    let port = (port_name(), protocol(), 8080..8082_u16);
    let node = proptest::option::of(prop_oneof![Just(NODE), Just("there")]);
    let endpoint = (1..6_u8, any::<[bool; 3]>(), node, hints());
    let ports = proptest::collection::vec(port, 0..3);
    let names = (0..8_u8, 0..7_u8, any::<bool>());
    (names, ports, proptest::collection::vec(endpoint, 0..5), proptest::option::of(0..5_i64)).prop_map(
        |((index, service, is_v6), ports, endpoints, triggered)| SliceFact {
            name: slice_name(index),
            service: service_name(service).name,
            family: if is_v6 { Family::V6 } else { Family::V4 },
            ports: ports.into_iter().map(|(name, protocol, port)| SlicePort { name, protocol, port }).collect(),
            endpoints: endpoints
                .into_iter()
                .map(|(addr, [ready, serving, terminating], node, hints)| Endpoint {
                    addr: if is_v6 { v6(1, addr) } else { IpAddr::from([10, 244, 1, addr]) },
                    ready,
                    serving,
                    terminating,
                    node: node.map(Arc::from),
                    hints,
                })
                .collect(),
            triggered,
        },
    )
}

fn node_address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![(1..5_u8).prop_map(|last| IpAddr::from([192, 168, 0, last])), (1..3_u8).prop_map(|last| v6(9, last))]
}

fn node() -> impl Strategy<Value = NodeFact> {
    let name = prop_oneof![2 => Just(NODE), 1 => Just("there"), 1 => Just("elsewhere")];
    let zone = proptest::option::of(prop_oneof![Just("zone-a"), Just("zone-b")]);
    let addresses = proptest::collection::vec(node_address(), 0..3);
    (name, zone, addresses, any::<bool>()).prop_map(|(name, zone, addresses, deleting)| NodeFact {
        name: name.into(),
        zone: zone.map(Arc::from),
        addresses,
        pod_cidrs: Vec::new(),
        deleting,
        to_be_deleted_taint: false,
    })
}

fn change() -> impl Strategy<Value = Change> {
    let node_name = prop_oneof![Just(NODE), Just("there"), Just("elsewhere")];
    prop_oneof![
        5 => service().prop_map(|fact| Change::PutService(Arc::new(fact))),
        1 => (0..6_u8).prop_map(|index| Change::DeleteService(service_name(index))),
        7 => slice().prop_map(|fact| Change::PutSlice(Arc::new(fact))),
        2 => (0..8_u8).prop_map(|index| Change::DeleteSlice(slice_name(index))),
        2 => node().prop_map(|fact| Change::PutNode(Arc::new(fact))),
        1 => node_name.prop_map(|name| Change::DeleteNode(name.into())),
        1 => proptest::collection::btree_set(node_address(), 0..4).prop_map(Change::OwnAddresses),
    ]
}

/// Batches of changes; between two batches everything is recomputed and applied.
pub fn history() -> impl Strategy<Value = Vec<Vec<Change>>> {
    proptest::collection::vec(proptest::collection::vec(change(), 1..6), 1..10)
}
