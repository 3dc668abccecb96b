//! Connected sockets that the real programs led to endpoints, in the test's namespace and in one like a pod's. Needs root.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::process::Command;

use fairlead_kernel::netns::Netns;
use fairlead_proxy_model::{Change, Engine, Family};

use super::super::plan::Due;
use super::super::{Cleaned, Kernel, Table};
use super::{engine, follow, leaving, name, put_service, put_slice, ready, service, slice};
use crate::apply::Applier;
use crate::attach::{self, tests::Sandbox};
use crate::maps::kernel::KernelMaps;

const VIP: &str = "10.96.0.10:53";
const VIP6: &str = "[fd00:96::10]:53";

struct World {
    engine: Engine,
    table: Table,
    applier: Applier<KernelMaps>,
    kernel: Kernel,
    pod: Netns,
}

impl World {
    /// The only endpoints of both families are this machine's, at a port.
    fn endpoints_at(&mut self, port: u16) {
        put_slice(&mut self.engine, slice("dns", Family::V4, port, &[ready("127.0.0.1")]));
        put_slice(&mut self.engine, slice("dns", Family::V6, port, &[ready("::1")]));
    }

    /// Writes what has changed, then cleans up after it.
    fn settle(&mut self) -> Cleaned {
        let news = self.engine.recompute();
        let mut due = Due::default();
        for name in &news.names {
            self.table.take_up(&self.engine, name).iter().for_each(|shift| due.add(shift));
        }
        self.applier.mark(news.touched);
        let _ = self.applier.step(self.engine.desired());
        assert_eq!(self.applier.last_error(), None);
        self.clean(&due)
    }

    fn clean(&mut self, due: &Due) -> Cleaned {
        let pod = PathBuf::from(format!("/proc/self/fd/{}", self.pod.as_fd().as_raw_fd()));
        let paths = || vec!["/proc/thread-self/ns/net".into(), "/proc/self/fd/none".into(), pod];
        let mut cleaned = Cleaned::default();
        self.kernel.end_sockets(&due.order(&self.table), paths, &mut cleaned);
        assert_eq!(cleaned.failed, [""; 0]);
        cleaned
    }
}

fn connected(from: &str, to: &str) -> UdpSocket {
    let socket = UdpSocket::bind(from).expect("bind");
    socket.connect(to).unwrap_or_else(|error| panic!("connect to {to}: {error}"));
    socket
}

fn is_connected(socket: &UdpSocket) -> bool {
    socket.peer_addr().is_ok()
}

#[test]
fn sockets_that_were_led_to_an_endpoint_end_with_it_and_no_others() {
    let sandbox = Sandbox::new();
    let maps = sandbox.ensure().expect("attach");
    let kernel = Kernel::new(attach::origins(sandbox.bpffs.path()).expect("ORIGINS"));
    let pod = Netns::anonymous().expect("a namespace");
    let up = || Command::new("ip").args(["link", "set", "lo", "up"]).status();
    assert!(pod.enter(up).expect("enter").expect("ip runs (Debian: iproute2)").success());
    let applier = Applier::restore(maps).expect("maps");
    let mut world = World { engine: engine(), table: Table::default(), applier, kernel, pod };
    put_service(&mut world.engine, service("dns", &["10.96.0.10", "fd00:96::10"]));
    put_service(&mut world.engine, service("other", &["10.96.0.11"]));
    put_slice(&mut world.engine, slice("other", Family::V4, 5353, &[ready("127.0.0.1")]));
    world.endpoints_at(5353);
    assert_eq!(world.settle(), Cleaned::default());

    let listener = TcpListener::bind("127.0.0.1:5353").expect("an endpoint");
    let mut tcp = TcpStream::connect(VIP).expect("TCP by the same address");
    let mut accepted = listener.accept().expect("accept").0;
    let led = [
        connected("0.0.0.0:0", VIP),
        connected("[::]:0", VIP6),
        connected("[::]:0", "[::ffff:10.96.0.10]:53"),
        world.pod.enter(|| connected("0.0.0.0:0", VIP)).expect("enter"),
    ];
    let by_themselves = [connected("0.0.0.0:0", "127.0.0.1:5353"), connected("0.0.0.0:0", "10.96.0.11:53")];
    let unconnected = UdpSocket::bind("0.0.0.0:0").expect("bind");
    unconnected.send_to(b"x", VIP).expect("send");
    let own_port = unconnected.local_addr().expect("bound");

    // A new start, and endpoints on their way out.
    let all = Due { all: Some(true), ..Due::default() };
    assert_eq!(world.clean(&all), Cleaned::default());
    put_slice(&mut world.engine, slice("dns", Family::V4, 5353, &[leaving("127.0.0.1")]));
    assert_eq!(world.settle(), Cleaned::default());
    assert!(led.iter().all(is_connected));

    world.endpoints_at(5354);
    let cleaned = world.settle();
    if !cleaned.impossible.is_empty() {
        println!("SKIP CONFIG_INET_DIAG_DESTROY: {}", cleaned.impossible.join("; "));
        return;
    }
    assert_eq!(cleaned.sockets, 4);
    for socket in &led {
        let error = socket.recv(&mut [0; 8]).expect_err("told");
        assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
        assert!(!is_connected(socket));
    }
    assert!(by_themselves.iter().all(is_connected));
    unconnected.send_to(b"x", VIP).expect("who names the service each time is led each time");
    assert_eq!(unconnected.local_addr().expect("bound"), own_port);
    tcp.write_all(b"tcp").expect("TCP lives on");
    accepted.read_exact(&mut [0; 3]).expect("TCP lives on");

    let server = UdpSocket::bind("127.0.0.1:5354").expect("the new endpoint");
    led[0].connect(VIP).expect("connect again");
    led[0].send(b"again").expect("send");
    assert_eq!(server.recv(&mut [0; 8]).expect("receive"), 5);
    // One that has turned to somebody else since is nobody's business.
    led[1].connect(VIP6).expect("connect again");
    led[1].connect("[::1]:9").expect("connect elsewhere");
    assert_eq!(world.clean(&all), Cleaned::default());

    world.engine.apply(Change::DeleteService(name("dns")));
    assert_eq!(world.settle().sockets, 1, "the service is gone");
    assert!(!is_connected(&led[0]) && is_connected(&led[1]));
    assert!(by_themselves.iter().all(is_connected));
}

#[test]
fn what_a_daemon_did_not_see_go_is_ended_when_everything_is_known() {
    let sandbox = Sandbox::new();
    let maps = sandbox.ensure().expect("attach");
    let kernel = Kernel::new(attach::origins(sandbox.bpffs.path()).expect("ORIGINS"));
    let applier = Applier::restore(maps).expect("maps");
    let pod = Netns::anonymous().expect("a namespace");
    let mut world = World { engine: engine(), table: Table::default(), applier, kernel, pod };
    put_service(&mut world.engine, service("dns", &["10.96.0.10"]));
    put_slice(&mut world.engine, slice("dns", Family::V4, 5353, &[ready("127.0.0.1")]));
    assert_eq!(world.settle(), Cleaned::default());
    let socket = connected("0.0.0.0:0", VIP);

    // Another daemon, that knows of no service.
    (world.engine, world.table) = (engine(), Table::default());
    assert!(follow(&mut world.engine, &mut world.table).is_empty());
    assert_eq!(world.clean(&Due { all: Some(false), ..Due::default() }), Cleaned::default());
    assert!(is_connected(&socket));
    let cleaned = world.clean(&Due { all: Some(true), ..Due::default() });
    match cleaned.impossible.first() {
        Some(reason) => println!("SKIP CONFIG_INET_DIAG_DESTROY: {reason}"),
        None => assert_eq!(cleaned.sockets, 1),
    }
    assert_eq!(is_connected(&socket), !cleaned.impossible.is_empty());
}
