//! Which flows and sockets are stale, and when anything is due.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use fairlead_proxy_model::{Change, Engine, Family, Protocol, ServiceFact, TrafficPolicy, any_node, frontend_key};

use super::super::plan::{Due, Order};
use super::super::table::{Front, Table};
use super::{addr, engine, follow, ip, leaving, name, put_service, put_slice, ready, service, slice, unready};

const VIP: &str = "10.96.0.10";
const VIP6: &str = "fd00:96::10";

struct World {
    engine: Engine,
    table: Table,
}

impl World {
    /// `dns` with two endpoints of each family, at port 5353.
    fn new() -> Self {
        let mut world = Self { engine: engine(), table: Table::default() };
        put_service(&mut world.engine, dns());
        put_slice(&mut world.engine, slice("dns", Family::V4, 5353, &[ready("10.1.0.1"), ready("10.1.0.2")]));
        put_slice(&mut world.engine, slice("dns", Family::V6, 5353, &[ready("fd00:1::1")]));
        world.due();
        world
    }

    /// What the changes since the last time make due.
    fn due(&mut self) -> Due {
        let mut due = Due::default();
        follow(&mut self.engine, &mut self.table).iter().for_each(|shift| due.add(shift));
        due
    }

    fn order(&mut self) -> Order {
        self.due().order(&self.table)
    }
}

/// A node port, an external address and a load balancer's besides its own.
fn dns() -> ServiceFact {
    let mut fact = service("dns", &[VIP, VIP6]);
    fact.external_ips = vec![ip("192.0.2.5")];
    fact.load_balancer_ips = vec![ip("2001:db8::7")];
    fact.ports[0].node_port = Some(30053);
    fact
}

fn stale(order: &Order, asked: &str, answered: &str) -> bool {
    order.is_stale_flow(addr(asked), addr(answered), &[ip("192.168.0.1")].into())
}

fn socket(order: &Order, asked: &str, backend: &str) -> bool {
    order.is_stale_socket(addr(asked), addr(backend))
}

#[test]
fn a_removed_endpoint_is_stale_at_every_front_of_its_family_and_the_others_are_not() {
    let mut world = World::new();
    put_slice(&mut world.engine, slice("dns", Family::V4, 5353, &[ready("10.1.0.2"), ready("10.1.0.3")]));
    let order = world.order();
    assert_eq!(order.flows(), [(Family::V4, None)], "IPv6 has lost nothing");
    assert!(order.sockets);
    for front in ["10.96.0.10:53", "192.0.2.5:53", "192.168.0.1:30053", "127.0.0.1:30053"] {
        assert!(stale(&order, front, "10.1.0.1:5353"), "{front}");
        assert!(socket(&order, front, "10.1.0.1:5353"), "{front}");
        for serving in ["10.1.0.2:5353", "10.1.0.3:5353"] {
            assert!(!stale(&order, front, serving), "{front} {serving}");
            assert!(!socket(&order, front, serving), "{front} {serving}");
        }
    }
    assert!(!stale(&order, "10.1.0.1:5353", "10.1.0.1:5353"), "a flow to the endpoint itself");
    assert!(!stale(&order, "8.8.8.8:30053", "8.8.8.8:30053"), "another host at the number of a node port");
    assert!(!stale(&order, "10.96.0.11:53", "10.1.0.1:5353"), "another service");
    assert!(!socket(&order, "10.96.0.11:53", "10.1.0.1:5353"), "another service");
}

#[test]
fn who_serves_on_the_way_out_keeps_its_flows_and_who_is_not_ready_does_not() {
    let mut world = World::new();
    put_slice(&mut world.engine, slice("dns", Family::V4, 5353, &[leaving("10.1.0.1"), ready("10.1.0.2")]));
    assert_eq!(world.due(), Due::default());
    put_slice(&mut world.engine, slice("dns", Family::V4, 5353, &[unready("10.1.0.1"), ready("10.1.0.2")]));
    let order = world.order();
    assert!(stale(&order, "10.96.0.10:53", "10.1.0.1:5353"));
    assert!(!stale(&order, "10.96.0.10:53", "10.1.0.2:5353"));
}

#[test]
fn policies_and_more_endpoints_end_nothing() {
    let mut world = World::new();
    let local = TrafficPolicy::Local;
    put_service(&mut world.engine, ServiceFact { internal_policy: local, external_policy: local, ..dns() });
    put_slice(&mut world.engine, slice("dns", Family::V6, 5353, &[ready("fd00:1::1"), ready("fd00:1::2")]));
    assert_eq!(world.due(), Due::default());
}

#[test]
fn another_target_port_is_another_endpoint() {
    let mut world = World::new();
    put_slice(&mut world.engine, slice("dns", Family::V6, 5354, &[ready("fd00:1::1")]));
    let order = world.order();
    assert!(order.sockets);
    for front in ["[fd00:96::10]:53", "[2001:db8::7]:53", "[::1]:30053"] {
        assert!(stale(&order, front, "[fd00:1::1]:5353"), "{front}");
        assert!(!stale(&order, front, "[fd00:1::1]:5354"), "{front}");
    }
}

#[test]
fn scaled_to_nothing_and_back() {
    let mut world = World::new();
    put_slice(&mut world.engine, slice("dns", Family::V4, 5353, &[]));
    let order = world.order();
    assert!(stale(&order, "10.96.0.10:53", "10.1.0.1:5353"));
    assert!(stale(&order, "10.96.0.10:53", "10.96.0.10:53"), "as with kube-proxy");
    assert!(stale(&order, "192.168.0.1:30053", "10.1.0.1:5353"));
    assert!(!stale(&order, "192.168.0.1:30053", "192.168.0.1:30053"), "somebody of the node's own listens there");
    assert!(socket(&order, "192.168.0.1:30053", "10.1.0.1:5353"));

    put_slice(&mut world.engine, slice("dns", Family::V4, 5353, &[ready("10.1.0.9")]));
    let order = world.order();
    assert!(!order.sockets, "nobody was led anywhere");
    assert!(stale(&order, "10.96.0.10:53", "10.96.0.10:53"), "not translated while there was no endpoint");
    assert!(stale(&order, "192.168.0.1:30053", "192.168.0.1:30053"));
    assert!(!stale(&order, "10.96.0.10:53", "10.1.0.9:5353"));
}

#[test]
fn of_a_deleted_service_only_what_was_translated_is_stale() {
    let mut world = World::new();
    world.engine.apply(Change::DeleteService(name("dns")));
    let order = world.order();
    assert!(order.sockets);
    for (front, endpoint) in [("10.96.0.10:53", "10.1.0.1:5353"), ("[2001:db8::7]:53", "[fd00:1::1]:5353")] {
        assert!(stale(&order, front, endpoint) && socket(&order, front, endpoint), "{front}");
        assert!(!stale(&order, front, front), "{front}: the address may be a host's now");
    }
    assert!(world.table.is_empty());
}

#[test]
fn a_service_without_udp_is_none_of_this() {
    let mut world = World::new();
    let mut web = service("web", &["10.96.0.11"]);
    web.ports.remove(0);
    put_service(&mut world.engine, web);
    put_slice(&mut world.engine, slice("web", Family::V4, 80, &[ready("10.1.0.7")]));
    assert_eq!(world.due(), Due::default());
    world.engine.apply(Change::DeleteService(name("web")));
    assert_eq!(world.due(), Due::default());
}

#[test]
fn what_either_of_two_claimants_has_is_left_alone() {
    let mut world = World::new();
    put_service(&mut world.engine, service("twin", &[VIP]));
    put_slice(&mut world.engine, slice("twin", Family::V4, 5353, &[ready("10.1.0.1")]));
    assert_eq!(world.due(), Due::default(), "nobody has lost or found anything");
    put_slice(&mut world.engine, slice("dns", Family::V4, 5353, &[ready("10.1.0.2")]));
    let order = world.order();
    assert!(!stale(&order, "10.96.0.10:53", "10.1.0.1:5353"), "the twin has it");
    assert!(stale(&order, "192.0.2.5:53", "10.1.0.1:5353"), "at this address it is alone");
    world.engine.apply(Change::DeleteService(name("twin")));
    assert!(stale(&world.order(), "10.96.0.10:53", "10.1.0.1:5353"));
}

#[test]
fn an_address_of_a_service_comes_before_a_node_port_of_the_same_number() {
    let mut world = World::new();
    let mut other = service("other", &["10.96.0.77"]);
    other.ports[0].port = 30053;
    put_service(&mut world.engine, other);
    put_slice(&mut world.engine, slice("other", Family::V4, 5353, &[ready("10.1.0.50")]));
    world.due();
    put_slice(&mut world.engine, slice("dns", Family::V4, 5353, &[ready("10.1.0.1")]));
    let order = world.order();
    assert!(socket(&order, "192.168.0.9:30053", "10.1.0.2:5353"), "at a node's port");
    assert!(!socket(&order, "10.96.0.77:30053", "10.1.0.50:5353"), "at the other's address");
}

#[test]
fn a_review_knows_what_is_gone_only_if_it_knows_everything() {
    let world = World::new();
    for complete in [false, true] {
        let order = Due { all: Some(complete), ..Due::default() }.order(&world.table);
        assert!(order.sockets);
        assert_eq!(order.flows(), [(Family::V4, None), (Family::V6, None)]);
        assert_eq!(socket(&order, "10.96.0.99:53", "10.1.0.1:5353"), complete);
        assert!(!stale(&order, "10.96.0.99:53", "10.1.0.1:5353"), "who translated that is not known");
        for (front, endpoint) in [("10.96.0.10:53", "10.1.0.2:5353"), ("[fd00:96::10]:53", "[fd00:1::1]:5353")] {
            assert!(!stale(&order, front, endpoint) && !socket(&order, front, endpoint), "a new start ends nothing");
            assert!(stale(&order, front, front));
        }
    }
}

#[test]
fn flows_to_one_port_are_asked_for_by_it() {
    let fronts = |fronts: &[Front]| {
        let fronts: BTreeMap<Front, Option<Arc<BTreeSet<SocketAddr>>>> =
            fronts.iter().map(|front| (*front, None)).collect();
        Order { fronts, sockets: false, unknown_is_gone: false }.flows()
    };
    let [one, two, node_port] =
        [Front::At(addr("10.0.0.1:53")), Front::At(addr("10.0.0.2:53")), Front::NodePort(Family::V4, 30053)];
    assert_eq!(fronts(&[]), []);
    assert_eq!(fronts(&[one, two]), [(Family::V4, Some(53))]);
    assert_eq!(fronts(&[one, node_port]), [(Family::V4, None)]);
    assert_eq!(fronts(&[Front::NodePort(Family::V6, 1), one]), [(Family::V4, Some(53)), (Family::V6, Some(1))]);
}

#[test]
fn keys_of_the_maps_are_fronts_if_they_are_udps() {
    let of = |address, protocol| Front::of(&frontend_key(address, 53, protocol));
    assert_eq!(of(ip(VIP), Protocol::Udp), Some(Front::At(addr("10.96.0.10:53"))));
    assert_eq!(of(ip(VIP6), Protocol::Udp), Some(Front::At(addr("[fd00:96::10]:53"))));
    for family in Family::ALL {
        assert_eq!(of(any_node(family), Protocol::Udp), Some(Front::NodePort(family, 53)));
    }
    assert_eq!(of(ip(VIP), Protocol::Tcp), None);
}
