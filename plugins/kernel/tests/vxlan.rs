//! VXLAN devices, their FDB and the event socket against the running kernel. Each test has a network namespace of its own.

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use fairlead_kernel::events::{Event, Events};
use fairlead_kernel::netlink::Socket;
use fairlead_kernel::vxlan::{self, Info, New, Path};
use fairlead_kernel::{Mac, addr, error::Errno, fdb, link, neigh, route};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};

const MAC: Mac = Mac([0x0a, 0, 0, 0, 0, 1]);
const PEER: Mac = Mac([0x0a, 0, 0, 0, 0, 2]);

/// A namespace for this thread with two bridges as lower devices, and a socket in it.
fn namespace() -> (Socket, u32, u32) {
    unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace; these tests need root");
    let mut socket = Socket::open().expect("a socket");
    let mut lower = |name: &str| {
        let bridge = link::Bridge { name: name.into(), up: true, ..link::Bridge::default() };
        link::create_bridge(&mut socket, &bridge).expect("a bridge");
        link::get_by_name(&mut socket, name).expect("the bridge").index
    };
    let (one, two) = (lower("lower1"), lower("lower2"));
    (socket, one, two)
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn new(local: &str, lower: u32) -> New<'static> {
    New { name: "flannel.1", mac: MAC, mtu: 1400, vni: 1, port: 8472, path: Path { local: ip(local), lower } }
}

#[test]
fn a_device_is_born_as_asked_and_changed_in_place() {
    for (first, second, other) in
        [("192.0.2.1", "192.0.2.9", "2001:db8::1"), ("2001:db8::1", "2001:db8::9", "192.0.2.1")]
    {
        let (mut socket, one, two) = namespace();
        vxlan::create(&mut socket, &new(first, one)).expect("a device");
        let (link, info) = vxlan::get_by_name(&mut socket, "flannel.1").expect("the device");
        assert_eq!((link.mac, link.mtu, link.is_up(), link.is("vxlan")), (Some(MAC), 1400, false, true));
        let expected =
            Info { vni: 1, port: 8472, local: Some(ip(first)), lower: one, external: false, learning: false };
        assert_eq!(info, Some(expected));

        let to = Path { local: ip(second), lower: two };
        vxlan::change(&mut socket, link.index, to).expect("changed in place");
        let (_, info) = vxlan::get_by_name(&mut socket, "flannel.1").expect("the device");
        assert_eq!(info, Some(Info { local: Some(ip(second)), lower: two, ..expected }));

        let refused = vxlan::change(&mut socket, link.index, Path { local: ip(other), lower: two });
        assert_eq!(refused.unwrap_err().errno(), Some(Errno::EOPNOTSUPP));
        let again = vxlan::create(&mut socket, &new(first, one)).unwrap_err();
        assert!(again.is_exists(), "{again}");
        let twin = New { name: "other", ..new(second, two) };
        assert!(vxlan::create(&mut socket, &twin).unwrap_err().is_exists());
    }
}

#[test]
fn a_link_of_another_kind_has_no_vxlan_info() {
    let (mut socket, ..) = namespace();
    let (link, info) = vxlan::get_by_name(&mut socket, "lower1").expect("the bridge");
    assert!(link.is("bridge") && info.is_none());
    assert!(vxlan::get_by_name(&mut socket, "none").unwrap_err().is_not_found());
}

#[test]
fn an_fdb_entry_is_moved_in_place_and_removed_once() {
    for (local, first, second) in
        [("192.0.2.1", "192.0.2.2", "192.0.2.3"), ("2001:db8::1", "2001:db8::2", "2001:db8::3")]
    {
        let (mut socket, one, _) = namespace();
        vxlan::create(&mut socket, &new(local, one)).expect("a device");
        let index = link::get_by_name(&mut socket, "flannel.1").expect("the device").index;
        for destination in [first, second] {
            fdb::replace(&mut socket, index, PEER, ip(destination)).expect("an entry");
            let entry = fdb::Entry { mac: PEER, destination: ip(destination), permanent: true };
            assert_eq!(fdb::list(&mut socket, index).expect("the entries"), [entry]);
        }
        fdb::delete(&mut socket, index, PEER, ip(second)).expect("deleted");
        assert_eq!(fdb::list(&mut socket, index).expect("the entries"), []);
        assert!(fdb::delete(&mut socket, index, PEER, ip(second)).unwrap_err().is_not_found());
    }
}

/// Waits for an event that fulfils the condition.
#[track_caller]
fn expect(events: &mut Events, what: &str, condition: impl Fn(Event) -> bool) {
    let end = Instant::now() + Duration::from_secs(5);
    let mut seen = Vec::new();
    while Instant::now() < end {
        let timeout = PollTimeout::try_from(end - Instant::now()).unwrap_or(PollTimeout::MAX);
        poll(&mut [PollFd::new(events.as_fd(), PollFlags::POLLIN)], timeout).expect("poll");
        events.drain(|event| seen.push(event)).expect("events");
        if seen.iter().any(|event| condition(*event)) {
            return;
        }
    }
    panic!("no event: {what}; seen {seen:?}");
}

#[test]
fn every_change_is_told() {
    let (mut socket, one, _) = namespace();
    let mut events = Events::open().expect("an event socket");
    vxlan::create(&mut socket, &new("192.0.2.1", one)).expect("a device");
    let index = link::get_by_name(&mut socket, "flannel.1").expect("the device").index;
    expect(&mut events, "the link", |event| event == Event::Link(index));
    link::set_up(&mut socket, index).expect("up");
    for net in ["10.244.1.0/32", "fd00:244:1::/128"] {
        addr::add(&mut socket, index, net.parse().expect("a network")).expect("an address");
        let address = Some(ip(net.split_once('/').expect("a length").0));
        expect(&mut events, net, |event| event == Event::Address { link: index, address });
    }
    let gateway = ip("10.244.2.0");
    fdb::replace(&mut socket, index, PEER, ip("192.0.2.2")).expect("an FDB entry");
    expect(&mut events, "the FDB entry", |event| event == Event::Neighbour(index));
    let neighbour = neigh::Neighbour { address: gateway, mac: Some(PEER), link: index, state: neigh::State::Permanent };
    neigh::replace(&mut socket, &neighbour).expect("a neighbour");
    expect(&mut events, "the neighbour", |event| event == Event::Neighbour(index));
    let to = route::Route {
        gateway: Some(gateway),
        onlink: true,
        scope: Some(0),
        ..route::Route::new("10.244.2.0/24".parse().expect("a network"), index)
    };
    route::replace(&mut socket, &to).expect("a route");
    expect(&mut events, "the route", |event| event == Event::Route(Some(index)));
    link::delete(&mut socket, index).expect("deleted");
    expect(&mut events, "the end", |event| event == Event::Link(index));
}

/// A queue that overflows is told as a loss, and what comes later is told again.
#[test]
fn an_overflow_is_a_loss_and_not_the_end() {
    let (mut socket, one, _) = namespace();
    let mut events = Events::open().expect("an event socket");
    vxlan::create(&mut socket, &new("192.0.2.1", one)).expect("a device");
    let index = link::get_by_name(&mut socket, "flannel.1").expect("the device").index;
    link::set_up(&mut socket, index).expect("up");
    let mut lost = false;
    // 4 MiB of queue, some hundred bytes of bookkeeping an event: it is full long before the end.
    for n in 0..20_000u32 {
        let destination = IpAddr::from([198, 51, (n / 200 % 200) as u8, (n % 200 + 1) as u8]);
        fdb::replace(&mut socket, index, PEER, destination).expect("an FDB entry");
    }
    events.drain(|event| lost |= event == Event::Lost).expect("events");
    assert!(lost);
    link::delete(&mut socket, index).expect("deleted");
    expect(&mut events, "the end", |event| event == Event::Link(index));
}
