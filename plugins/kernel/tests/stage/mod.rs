//! Namespaces of a test's own, with pods that send real packets.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::fs::File;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::{Command, Output};
use std::time::Duration;

use fairlead_kernel::Mac;
use fairlead_kernel::link::{self, VethEnd, VethPair};
use fairlead_kernel::netlink::Socket;
use fairlead_kernel::netns::Netns;
use nix::sched::{CloneFlags, setns, unshare};

/// Runs `work` on a thread of its own, in a fresh network namespace that goes with the thread.
pub fn in_fresh_namespace(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("unshare the network namespace: are you root?");
        run("ip link set lo up");
        work();
    });
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

/// What `nft list ruleset` says.
pub fn ruleset() -> String {
    run("nft list ruleset")
}

/// Runs a command of the shell, which must succeed; what it printed.
pub fn run(command: &str) -> String {
    let output = shell(command);
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn shell(command: &str) -> Output {
    Command::new("sh").args(["-c", command]).output().expect("run sh")
}

/// A UDP socket of the calling thread's namespace, both families.
pub fn udp() -> UdpSocket {
    let socket = UdpSocket::bind("[::]:0").unwrap();
    socket.set_read_timeout(Some(TURN)).unwrap();
    socket
}

/// Whether what one socket sends to `address` arrives at the other. The first datagrams may be lost: a bridge's port is not
/// open at once, and a neighbour is asked for first.
pub fn reaches(from: &UdpSocket, to: &UdpSocket, address: &str) -> bool {
    let target = SocketAddr::new(address.parse().unwrap(), to.local_addr().unwrap().port());
    let target = match target {
        SocketAddr::V4(v4) => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
        v6 => v6,
    };
    let mut buffer = [0; 16];
    (0..turns()).any(|_| {
        // A send may say that the host was found unreachable before.
        let _ = from.send_to(b"hello", target);
        to.recv(&mut buffer).is_ok()
    })
}

/// How often something is tried that may succeed, and how long each time: on a slow machine, of which `FAIRLEAD_PATIENCE`
/// tells, until a neighbour that did not answer has been asked for again, which the kernel does after a second.
fn turns() -> u32 {
    if std::env::var_os("FAIRLEAD_PATIENCE").is_some_and(|factor| factor != "1") { 20 } else { 5 }
}
const TURN: Duration = Duration::from_millis(150);

/// A namespace with an `eth0`.
pub struct Pod {
    /// The name of its other end.
    pub port: String,
    netns: Netns,
}

impl Pod {
    /// A pod `10.9.0.LAST/24`, `02:00:00:00:00:LAST` on the bridge `br0`, which is made with the first.
    pub fn on_bridge(name: &str, last: u8) -> Pod {
        Pod::connected(name, "br0", &format!("10.9.0.{last}/24"), last)
    }

    /// A pod with this address on this bridge, which is made if it is not there, and no route.
    pub fn connected(name: &str, bridge: &str, address: &str, last: u8) -> Pod {
        let node = File::open("/proc/thread-self/ns/net").unwrap();
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let own = File::open("/proc/thread-self/ns/net").unwrap();
        let netns = Netns::open(format!("/proc/self/fd/{}", own.as_raw_fd())).unwrap();
        run("ip link set lo up");
        setns(&node, CloneFlags::CLONE_NEWNET).unwrap();

        // Nor may the node: what it asks for its own link-local address it asks before it asks for a neighbour.
        run(&format!(
            "ip link show {bridge} >/dev/null 2>&1 || {{ ip link add {bridge} type bridge; \
             echo 0 > /proc/sys/net/ipv6/conf/{bridge}/accept_dad; ip link set {bridge} up; }}"
        ));
        let mut host = Socket::open().unwrap();
        let master = Some(link::get_by_name(&mut host, bridge).unwrap().index);
        let port = format!("port-{name}");
        let here = VethEnd { name: port.clone(), mac: None, mtu: None, up: true };
        let mac = Some(Mac([2, 0, 0, 0, 0, last]));
        let there = VethEnd { name: "eth0".into(), mac, mtu: None, up: false };
        link::create_veth(&mut host, &VethPair { here, master, there, netns: Some(&netns) }).unwrap();
        let pod = Pod { port, netns };
        // Duplicate address detection would make the first second of IPv6 silent.
        pod.run("echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad");
        pod.run(&format!("ip link set eth0 up; ip addr add {address} dev eth0"));
        pod
    }

    /// Runs a command of the shell in the pod, which must succeed.
    pub fn run(&self, command: &str) -> String {
        self.netns.enter(|| run(command)).unwrap()
    }

    /// A UDP socket in the pod.
    pub fn udp(&self) -> UdpSocket {
        self.netns.enter(udp).unwrap()
    }
}
