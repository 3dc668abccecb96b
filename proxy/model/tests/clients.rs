//! What one client meets over time, and what one change costs.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use fairlead_ebpf_shared::SCOPE_NODE;
use fairlead_proxy_model::{
    Actual, Change, Client, Dump, Endpoint, Engine, Entry, Family, ObjectName, Plan, Protocol, ServiceFact,
    ServicePort, Settings, Sizes, SliceFact, SlicePort, Tables, diff,
};

const SIZES: Sizes = Sizes { slots: 4096, backends: 8192, addresses: 4096, ranges: 16 };
const NODE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 0, 1));

fn name(index: u16) -> ObjectName {
    ObjectName::new("default", format!("service-{index}"))
}

fn vip(index: u16) -> IpAddr {
    let [high, low] = index.to_be_bytes();
    IpAddr::from([10, 96, high, low])
}

fn service(index: u16, affinity: Option<u32>) -> Change {
    let port = ServicePort {
        name: "".into(),
        protocol: Protocol::Tcp,
        port: 80,
        node_port: (index < 1000).then_some(30_000 + index),
    };
    Change::PutService(Arc::new(ServiceFact {
        cluster_ips: vec![vip(index)],
        ports: vec![port],
        affinity,
        ..ServiceFact::new(name(index))
    }))
}

fn slice(index: u16, endpoints: &[u8]) -> Change {
    let [high, low] = index.to_be_bytes();
    let endpoints = endpoints.iter().map(|last| Endpoint {
        addr: IpAddr::from([10, 128 + high, low, *last]),
        ready: true,
        serving: true,
        terminating: false,
        node: None,
        hints: None,
    });
    Change::PutSlice(Arc::new(SliceFact {
        name: name(index),
        service: name(index).name,
        family: Family::V4,
        ports: vec![SlicePort { name: "".into(), protocol: Protocol::Tcp, port: 8080 }],
        endpoints: endpoints.collect(),
        triggered: None,
    }))
}

/// An engine and the maps that follow it.
struct Bench {
    engine: Engine,
    actual: Actual,
    tables: Tables,
}

impl Bench {
    fn new() -> Self {
        let actual = Actual::restore(&Dump::default(), SIZES);
        let mut bench = Self { engine: Engine::new(Settings::new("here")), actual, tables: Tables::new(SIZES) };
        bench.change([Change::OwnAddresses(BTreeSet::from([NODE]))]);
        bench
    }

    /// What was touched, and what was written.
    fn change(&mut self, changes: impl IntoIterator<Item = Change>) -> (BTreeSet<Entry>, Plan) {
        for change in changes {
            self.engine.apply(change);
        }
        let touched = self.engine.recompute().touched;
        let plan = diff(&mut self.actual, self.engine.desired(), &touched, &BTreeSet::new(), false);
        for (_, op) in &plan.ops {
            self.tables.apply(op);
        }
        let retired = self.actual.take_retired();
        for op in retired.ops(&self.actual).collect::<Vec<_>>() {
            self.tables.apply(&op);
        }
        self.actual.release(retired);
        (touched, plan)
    }

    fn connect(&mut self, netns: u64, addr: IpAddr, port: u16, pick: usize, now_s: u64) -> Option<SocketAddr> {
        let client = Client { addr: None, netns, is_host: false, scope: SCOPE_NODE };
        self.tables.connect(&client, addr, port, Protocol::Tcp, pick, now_s).1
    }
}

fn backend(service: u16, last: u8) -> Option<SocketAddr> {
    let [high, low] = service.to_be_bytes();
    Some(SocketAddr::from(([10, 128 + high, low, last], 8080)))
}

#[test]
fn a_client_keeps_its_endpoint_as_long_as_it_comes_back_in_time() {
    let mut bench = Bench::new();
    bench.change([service(1, Some(100)), slice(1, &[1, 2, 3])]);
    assert_eq!(bench.connect(7, vip(1), 80, 1, 0), backend(1, 2));
    // Whichever address of the service it asks, whatever else would have been picked, counted from its last connection.
    assert_eq!(bench.connect(7, NODE, 30_001, 2, 99), backend(1, 2));
    assert_eq!(bench.connect(7, vip(1), 80, 0, 198), backend(1, 2));
    // Another client has its own.
    assert_eq!(bench.connect(8, vip(1), 80, 0, 198), backend(1, 1));
    // Its time is over.
    assert_eq!(bench.connect(7, vip(1), 80, 2, 298), backend(1, 3));
}

#[test]
fn a_client_whose_endpoint_is_gone_gets_another_and_keeps_that() {
    let mut bench = Bench::new();
    bench.change([service(1, Some(100)), slice(1, &[1, 2, 3])]);
    assert_eq!(bench.connect(7, vip(1), 80, 1, 0), backend(1, 2));
    bench.change([slice(1, &[1, 3])]);
    assert_eq!(bench.connect(7, vip(1), 80, 1, 1), backend(1, 3));
    bench.change([slice(1, &[1, 2, 3])]);
    assert_eq!(bench.connect(7, vip(1), 80, 0, 2), backend(1, 3));
    // Without affinity any is as good.
    bench.change([service(1, None)]);
    assert_eq!(bench.connect(7, vip(1), 80, 0, 3), backend(1, 1));
}

#[test]
fn what_a_client_had_of_a_service_that_is_gone_leads_nowhere() {
    let mut bench = Bench::new();
    bench.change([service(1, Some(100)), slice(1, &[1, 2, 3])]);
    assert_eq!(bench.connect(7, vip(1), 80, 1, 0), backend(1, 2));
    let entries = bench.tables.affinity.clone();
    bench.change([Change::DeleteService(name(1))]);
    bench.change([service(2, Some(100)), slice(2, &[1, 2, 3])]);
    // The same slot, so the same group: only an endpoint of its own set is kept.
    assert_eq!(bench.connect(7, vip(2), 80, 2, 1), backend(2, 3));
    assert_eq!(bench.tables.affinity.keys().collect::<Vec<_>>(), entries.keys().collect::<Vec<_>>());
}

#[test]
fn one_change_among_thousands_touches_and_writes_what_is_its_own() {
    const MANY: u16 = 2000;
    let mut bench = Bench::new();
    let services = (0..MANY).flat_map(|index| [service(index, None), slice(index, &[1, 2])]);
    bench.change(services);
    let (touched, plan) = bench.change([slice(77, &[1, 2, 3])]);
    // Cluster IP and NodePort, each one set filled and switched.
    assert_eq!(touched.len(), 2);
    assert_eq!(plan.ops.len(), 4, "{:?}", plan.ops);
    let (touched, plan) = bench.change([Change::DeleteService(name(78))]);
    // And the address.
    assert_eq!((touched.len(), plan.ops.len()), (3, 3));
}
