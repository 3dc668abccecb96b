//! Flows in a namespace of the test's own, translated as kube-proxy translates them. Needs root.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::Command;

use fairlead_proxy_model::{Change, Engine, Family};
use nix::sched::{CloneFlags, unshare};

use super::super::kernel::forget_flows;
use super::super::plan::Due;
use super::super::{Cleaned, Table};
use super::{engine, follow, leaving, name, put_service, put_slice, ready, service, slice};

fn run(program: &str, arguments: &[&str]) -> String {
    let output =
        Command::new(program).args(arguments).output().expect("it runs (Debian: iproute2, nftables, conntrack)");
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A namespace with a node's address, endpoints, and routes to services.
fn in_fresh_namespace(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("unshare the network namespace: are you root?");
        run("ip", &["link", "set", "lo", "up"]);
        for address in ["192.168.0.1", "10.1.0.1", "10.1.0.2", "fd00:1::1", "fd00:1::2"] {
            run("ip", &["address", "add", address, "dev", "lo"]);
        }
        for route in ["10.96.0.0/16", "10.99.0.0/16", "fd00:96::/64"] {
            run("ip", &["route", "add", route, "dev", "lo"]);
        }
        work();
    });
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

/// What kube-proxy's rules do with new flows.
fn translate(last: &str) {
    let rules = format!(
        "add table inet kube; delete table inet kube; add table inet kube; \
         add chain inet kube output {{ type nat hook output priority -100; }}; \
         add rule inet kube output ip daddr 10.96.0.10 meta l4proto {{ tcp, udp }} th dport 53 dnat ip to 10.1.0.{last}:5353; \
         add rule inet kube output ip daddr 192.168.0.1 udp dport 30053 dnat ip to 10.1.0.{last}:5353; \
         add rule inet kube output ip6 daddr fd00:96::10 udp dport 53 dnat ip6 to [fd00:1::{last}]:5353"
    );
    run("nft", &[&rules]);
}

fn put_endpoints(engine: &mut Engine, v4: &[fairlead_proxy_model::Endpoint], v6: &[fairlead_proxy_model::Endpoint]) {
    put_slice(engine, slice("dns", Family::V4, 5353, v4));
    put_slice(engine, slice("dns", Family::V6, 5353, v6));
}

/// A client that keeps its port, as resolvers and statsd clients do.
struct Client(UdpSocket, &'static str);

impl Client {
    fn new(from: &str, to: &'static str) -> Self {
        let client = Self(UdpSocket::bind(from).expect("bind"), to);
        client.say();
        client
    }

    /// Nobody listens, which may be told of a datagram before.
    fn say(&self) {
        let said = (0..10).any(|_| self.0.send_to(b"x", self.1).is_ok());
        assert!(said, "send to {}", self.1);
    }

    /// What connection tracking says about it.
    fn flow(&self) -> Option<String> {
        let mine = format!("sport={} ", self.0.local_addr().expect("bound").port());
        run("conntrack", &["-L", "-p", "udp"]).lines().find(|line| line.contains(&mine)).map(str::to_owned)
    }

    fn goes_to(&self, endpoint: &str) {
        self.say();
        let flow = self.flow().expect("a flow");
        assert!(flow.contains(&format!("src={endpoint} ")), "{flow}");
    }
}

struct World {
    engine: Engine,
    table: Table,
}

impl World {
    /// How many flows of each family go when what has changed is cleaned up after.
    fn clean(&mut self) -> [u64; 2] {
        let mut due = Due::default();
        follow(&mut self.engine, &mut self.table).iter().for_each(|shift| due.add(shift));
        self.apply(&due)
    }

    fn apply(&self, due: &Due) -> [u64; 2] {
        let mut cleaned = Cleaned::default();
        forget_flows(&due.order(&self.table), &mut cleaned);
        assert_eq!(cleaned.failed, [""; 0]);
        Family::ALL.map(|family| {
            let of = cleaned.flows.iter().filter(|(found, ..)| *found == family);
            of.map(|(_, _, deleted)| deleted).sum()
        })
    }
}

#[test]
fn flows_go_with_their_endpoints_and_not_before() {
    in_fresh_namespace(|| {
        let mut world = World { engine: engine(), table: Table::default() };
        let mut dns = service("dns", &["10.96.0.10", "fd00:96::10"]);
        dns.ports[0].node_port = Some(30053);
        put_service(&mut world.engine, dns);
        put_endpoints(&mut world.engine, &[ready("10.1.0.1")], &[ready("fd00:1::1")]);
        assert_eq!(world.clean(), [0, 0], "nothing is tracked");
        translate("1");
        let listener = TcpListener::bind("10.1.0.1:5353").expect("an endpoint");
        let _tcp = TcpStream::connect("10.96.0.10:53").expect("TCP by the same address");
        let clients = [
            Client::new("10.1.0.1:1001", "10.96.0.10:53"),
            Client::new("[fd00:1::1]:1002", "[fd00:96::10]:53"),
            Client::new("192.168.0.1:1003", "192.168.0.1:30053"),
        ];
        let bystanders = [
            Client::new("10.1.0.1:1004", "10.99.0.1:30053"),
            Client::new("10.1.0.1:1005", "10.99.0.1:53"),
            Client::new("10.1.0.2:1006", "10.1.0.1:5353"),
        ];
        let endpoints = |last: &str| [format!("10.1.0.{last}"), format!("fd00:1::{last}"), format!("10.1.0.{last}")];
        let go_to = |last: &str| {
            clients.iter().zip(endpoints(last)).for_each(|(client, endpoint)| client.goes_to(&endpoint));
        };
        go_to("1");

        // A new start, and an endpoint on its way out.
        let all = Due { all: Some(true), ..Due::default() };
        assert_eq!(world.apply(&all), [0, 0], "everything is right");
        put_endpoints(&mut world.engine, &[leaving("10.1.0.1"), ready("10.1.0.2")], &[ready("fd00:1::1")]);
        translate("2");
        assert_eq!(world.clean(), [0, 0]);
        go_to("1");

        put_endpoints(&mut world.engine, &[ready("10.1.0.2")], &[ready("fd00:1::2")]);
        assert_eq!(world.clean(), [2, 1]);
        go_to("2");

        put_endpoints(&mut world.engine, &[], &[ready("fd00:1::2")]);
        assert_eq!(world.clean(), [2, 0], "scaled to nothing");
        put_endpoints(&mut world.engine, &[ready("10.1.0.2")], &[ready("fd00:1::2")]);
        assert_eq!(world.clean(), [0, 0]);
        go_to("2");

        world.engine.apply(Change::DeleteService(name("dns")));
        assert_eq!(world.clean(), [2, 1], "the service is gone");
        assert!(clients.iter().all(|client| client.flow().is_none()));
        for bystander in &bystanders {
            assert!(bystander.flow().is_some(), "{} is nobody's business", bystander.1);
        }
        assert!(run("conntrack", &["-L", "-p", "tcp"]).contains("ESTABLISHED"), "TCP lives on");
        drop(listener);
    });
}
