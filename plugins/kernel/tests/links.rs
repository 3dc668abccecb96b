//! Links, addresses, routes and neighbours in namespaces of the test's own, read back by `ip`.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::time::Duration;

use fairlead_kernel::link::{self, Bridge, LinkFlags, PortSettings, VethEnd, VethPair};
use fairlead_kernel::neigh::{self, Neighbour};
use fairlead_kernel::netlink::Socket;
use fairlead_kernel::netns::Netns;
use fairlead_kernel::route::{self, Route};
use fairlead_kernel::{Mac, addr, announce, sysctl};
use ipnet::IpNet;
use nix::sched::{CloneFlags, unshare};

const MAC: Mac = Mac([0x0a, 0x58, 10, 1, 0, 2]);

/// A node and a container: two network namespaces that go with the test's thread.
struct World {
    host: Socket,
    pod: Socket,
    netns: Netns,
    bridge: u32,
}

impl World {
    fn new() -> World {
        unshare(CloneFlags::CLONE_NEWNET).expect("unshare the network namespace: are you root?");
        // The container's namespace is the first one; the thread goes on to a second, the node's.
        let file = File::open("/proc/thread-self/ns/net").unwrap();
        let netns = Netns::open(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let mut host = Socket::open().unwrap();
        let bridge = Bridge { name: "br0".into(), mac: Some(Mac::random()), up: true, ..Bridge::default() };
        link::create_bridge(&mut host, &bridge).unwrap();
        let bridge = link::get_by_name(&mut host, "br0").unwrap().index;
        let pod = Socket::open_in(&netns).unwrap();
        World { host, pod, netns, bridge }
    }

    fn connect(&mut self, host: &str, pod: &str) -> fairlead_kernel::Result<()> {
        let here = VethEnd { name: host.into(), mac: None, mtu: Some(1400), up: true };
        let there = VethEnd { name: pod.into(), mac: Some(MAC), mtu: Some(1400), up: false };
        let pair = VethPair { here, master: Some(self.bridge), there, netns: Some(&self.netns) };
        link::create_veth(&mut self.host, &pair).map(drop)
    }

    /// What `ip` says in the container.
    fn in_pod(&self, words: &str) -> String {
        self.netns.enter(|| ip(words)).unwrap()
    }
}

fn ip(words: &str) -> String {
    let output = Command::new("ip").args(words.split(' ')).output().expect("run ip");
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn assert_says(text: &str, wanted: &[&str]) {
    for word in wanted {
        assert!(text.contains(word), "no `{word}` in\n{text}");
    }
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn patience(seconds: u64) -> Duration {
    let factor = std::env::var("FAIRLEAD_PATIENCE").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    Duration::from_secs(seconds * factor)
}

#[test]
fn a_pair_is_born_across_namespaces_with_everything_it_was_given() {
    let mut world = World::new();
    world.connect("vethaa", "eth0").unwrap();
    assert_says(&world.in_pod("-d link show eth0"), &["0a:58:0a:01:00:02", "mtu 1400", "veth", "state DOWN"]);
    assert_says(&ip("-d link show vethaa"), &["master br0", "mtu 1400", "bridge_slave", "hairpin off"]);
    let inside = link::get_by_name(&mut world.pod, "eth0").unwrap();
    let outside = link::get_by_name(&mut world.host, "vethaa").unwrap();
    assert_eq!((inside.mac, inside.peer), (Some(MAC), Some(outside.index)));
    assert_eq!((outside.master, outside.is_up()), (Some(world.bridge), true));
}

#[test]
fn a_name_that_is_taken_on_either_side_is_an_error_and_nothing_is_made() {
    let mut world = World::new();
    world.connect("vethaa", "eth0").unwrap();
    let taken = world.connect("vethbb", "eth0").unwrap_err();
    assert!(taken.is_exists(), "{taken}");
    assert!(link::get_by_name(&mut world.host, "vethbb").unwrap_err().is_not_found());
    assert!(world.connect("vethaa", "eth1").unwrap_err().is_exists());
    assert!(link::get_by_name(&mut world.pod, "eth1").unwrap_err().is_not_found());
}

#[test]
fn a_port_gets_its_settings_and_carries_frames_when_the_other_end_goes_up() {
    let mut world = World::new();
    world.connect("vethaa", "eth0").unwrap();
    let outside = link::get_by_name(&mut world.host, "vethaa").unwrap().index;
    let settings = PortSettings { hairpin: true, isolated: true };
    link::set_alias_and_port(&mut world.host, outside, "whose it is", settings).unwrap();
    assert_says(&ip("-d link show vethaa"), &["hairpin on", "isolated on", "alias whose it is"]);

    let before = link::wait_until_forwarding(&mut world.host, outside, Duration::ZERO).unwrap();
    assert_ne!(before.port.unwrap().state, link::BridgePortState::Forwarding);
    let inside = link::get_by_name(&mut world.pod, "eth0").unwrap().index;
    link::set_up(&mut world.pod, inside).unwrap();
    let after = link::wait_until_forwarding(&mut world.host, outside, patience(5)).unwrap();
    assert_eq!(after.port.unwrap().state, link::BridgePortState::Forwarding);
    assert_eq!(after.alias.as_deref(), Some("whose it is"));
}

#[test]
fn deleting_one_end_takes_the_other_along_and_twice_is_not_found() {
    let mut world = World::new();
    world.connect("vethaa", "eth0").unwrap();
    link::delete_by_name(&mut world.host, "vethaa").unwrap();
    assert!(link::get_by_name(&mut world.pod, "eth0").unwrap_err().is_not_found());
    let again = link::delete_by_name(&mut world.host, "vethaa").unwrap_err();
    assert!(again.is_not_found(), "{again}");
}

#[test]
fn a_bridge_keeps_its_hardware_address_and_its_flags_can_be_switched() {
    let mut world = World::new();
    let before = link::get_by_index(&mut world.host, world.bridge).unwrap();
    world.connect("vethaa", "eth0").unwrap();
    link::set_promiscuous(&mut world.host, world.bridge, true).unwrap();
    let after = link::get_by_index(&mut world.host, world.bridge).unwrap();
    assert_eq!(after.mac, before.mac, "not that of its first port");
    assert!(after.flags.contains(LinkFlags::Promisc));
    link::set_down(&mut world.host, world.bridge).unwrap();
    assert!(!link::get_by_index(&mut world.host, world.bridge).unwrap().is_up());
}

#[test]
fn addresses_are_usable_at_once_and_an_equal_one_is_refused() {
    let mut world = World::new();
    world.connect("vethaa", "eth0").unwrap();
    let inside = link::get_by_name(&mut world.pod, "eth0").unwrap().index;
    for text in ["10.1.0.2/16", "fd00:1::2/64"] {
        addr::add(&mut world.pod, inside, net(text)).unwrap();
        assert!(addr::add(&mut world.pod, inside, net(text)).unwrap_err().is_exists(), "{text}");
        addr::replace(&mut world.pod, inside, net(text)).unwrap();
    }
    link::set_up(&mut world.pod, inside).unwrap();
    let shown = world.in_pod("addr show eth0");
    assert_says(
        &shown,
        &["inet 10.1.0.2/16 brd 10.1.255.255 scope global eth0", "inet6 fd00:1::2/64 scope global nodad"],
    );
    assert!(!shown.contains("fd00:1::2/64 scope global tentative"), "{shown}");
    let found = addr::list(&mut world.pod, inside).unwrap();
    assert!(
        found.iter().any(|one| one.net == net("10.1.0.2/16")) && found.iter().any(|one| one.net == net("fd00:1::2/64"))
    );
    assert_eq!(
        addr::list(&mut world.host, world.bridge).unwrap().iter().filter(|one| one.net.addr().is_ipv4()).count(),
        0
    );
    addr::delete(&mut world.pod, inside, net("10.1.0.2/16")).unwrap();
    assert!(addr::delete(&mut world.pod, inside, net("10.1.0.2/16")).unwrap_err().is_not_found());
}

#[test]
fn duplicate_address_detection_is_waited_for_and_its_verdict_told() {
    let mut world = World::new();
    world.connect("vethaa", "eth0").unwrap();
    let inside = link::get_by_name(&mut world.pod, "eth0").unwrap().index;
    link::set_up(&mut world.pod, inside).unwrap();
    addr::add_with(&mut world.pod, inside, net("fd00:1::2/64"), addr::Flags::empty()).unwrap();
    let World { pod, netns, .. } = &mut world;
    let at_once = addr::wait_until_settled(pod, netns, inside, Duration::ZERO).unwrap();
    assert!(at_once.iter().any(|one| one.net == net("fd00:1::2/64")), "still in doubt: {at_once:?}");
    assert_eq!(addr::wait_until_settled(pod, netns, inside, patience(10)).unwrap(), []);
    assert!(!world.in_pod("-6 addr show eth0").contains("tentative"));

    // The node has the next one already and answers for it.
    addr::add(&mut world.host, world.bridge, net("fd00:1::3/64")).unwrap();
    addr::add_with(&mut world.pod, inside, net("fd00:1::3/64"), addr::Flags::empty()).unwrap();
    let World { pod, netns, .. } = &mut world;
    let taken = addr::wait_until_settled(pod, netns, inside, patience(10)).unwrap();
    assert!(
        taken.iter().any(|one| one.net == net("fd00:1::3/64") && one.flags.contains(addr::Flags::Dadfailed)),
        "{taken:?}"
    );
}

#[test]
fn routes_carry_metric_table_mtu_advmss_scope_and_onlink() {
    let mut world = World::new();
    world.connect("vethaa", "eth0").unwrap();
    let inside = link::get_by_name(&mut world.pod, "eth0").unwrap().index;
    for text in ["10.1.0.2/16", "fd00:1::2/64"] {
        addr::add(&mut world.pod, inside, net(text)).unwrap();
    }
    link::set_up(&mut world.pod, inside).unwrap();
    let gateway = Some("10.1.0.1".parse().unwrap());
    let full = Route {
        gateway,
        priority: Some(42),
        table: 1000,
        mtu: Some(1300),
        advmss: Some(1200),
        ..Route::new(net("10.9.1.2/16"), inside)
    };
    route::add(&mut world.pod, &full).unwrap();
    assert_says(
        &world.in_pod("route show table 1000"),
        &["10.9.0.0/16 via 10.1.0.1 dev eth0", "metric 42", "mtu 1300", "advmss 1200"],
    );
    let beyond = Route { gateway: Some("192.0.2.1".parse().unwrap()), ..Route::new(net("192.0.3.0/24"), inside) };
    assert!(route::add(&mut world.pod, &beyond).is_err(), "a gateway that is not on the link");
    route::add(&mut world.pod, &Route { onlink: true, ..beyond }).unwrap();
    route::add(&mut world.pod, &Route::new(net("10.8.0.0/16"), inside)).unwrap();
    let v6 = Route { gateway: Some("fd00:1::1".parse().unwrap()), ..Route::new(net("::/0"), inside) };
    route::add(&mut world.pod, &v6).unwrap();
    assert_says(
        &world.in_pod("route show"),
        &["192.0.3.0/24 via 192.0.2.1 dev eth0 onlink", "10.8.0.0/16 dev eth0 scope link"],
    );
    assert_says(&world.in_pod("-6 route show"), &["default via fd00:1::1 dev eth0"]);

    assert!(route::add(&mut world.pod, &full).unwrap_err().is_exists());
    route::replace(&mut world.pod, &Route { mtu: Some(1250), ..full.clone() }).unwrap();
    let read = route::list(&mut world.pod, inside).unwrap();
    assert!(read.iter().any(|one| one.table == 1000 && one.mtu == Some(1250) && one.gateway == gateway), "{read:?}");
    route::delete(&mut world.pod, &full).unwrap();
    assert!(route::delete(&mut world.pod, &full).unwrap_err().is_not_found());
}

#[test]
fn a_stale_neighbour_is_replaced_and_deleted() {
    let mut world = World::new();
    let address = "10.1.0.2".parse().unwrap();
    let stale =
        Neighbour { address, mac: Some(Mac([0x0a, 9, 9, 9, 9, 9])), link: world.bridge, state: neigh::State::Stale };
    neigh::replace(&mut world.host, &stale).unwrap();
    neigh::replace(&mut world.host, &Neighbour { mac: Some(MAC), state: neigh::State::Reachable, ..stale }).unwrap();
    assert_says(&ip("neigh show dev br0"), &["10.1.0.2 lladdr 0a:58:0a:01:00:02 REACHABLE"]);
    // The kernel's own entries (multicast) may stand beside it.
    let known = neigh::list(&mut world.host, world.bridge).unwrap();
    assert_eq!(known.iter().filter(|one| one.address == address).count(), 1, "{known:?}");
    neigh::delete(&mut world.host, world.bridge, address).unwrap();
    assert!(neigh::delete(&mut world.host, world.bridge, address).unwrap_err().is_not_found());
}

#[test]
fn setting_the_same_hardware_address_announces_and_teaches_the_bridge() {
    let mut world = World::new();
    world.connect("vethaa", "eth0").unwrap();
    let inside = link::get_by_name(&mut world.pod, "eth0").unwrap().index;
    let outside = link::get_by_name(&mut world.host, "vethaa").unwrap().index;
    world.netns.enter(|| announce::sysctls("eth0").map(|key| sysctl::set(&key, "1").unwrap())).unwrap();
    addr::add(&mut world.host, world.bridge, net("10.1.0.1/16")).unwrap();
    addr::add(&mut world.pod, inside, net("10.1.0.2/16")).unwrap();
    link::set_up(&mut world.pod, inside).unwrap();
    link::wait_until_forwarding(&mut world.host, outside, patience(5)).unwrap();
    // Somebody else had the address: only an announcement corrects that without traffic.
    let address = "10.1.0.2".parse().unwrap();
    let old =
        Neighbour { address, mac: Some(Mac([0x0a, 9, 9, 9, 9, 9])), link: world.bridge, state: neigh::State::Stale };
    neigh::replace(&mut world.host, &old).unwrap();
    announce::announce(&mut world.pod, inside, MAC).unwrap();
    // The frame goes through the pair inside the call's own softirq, or right after it on another CPU.
    let deadline = std::time::Instant::now() + patience(5);
    loop {
        let known = neigh::list(&mut world.host, world.bridge).unwrap();
        if known.iter().any(|one| one.address == address && one.mac == Some(MAC)) {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "the node was not told: {known:?}");
        std::thread::yield_now();
    }
}
