//! Session affinity: who comes back to whom, and for how long. Time passes by entries that are written as old as wanted.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::thread;

use fairlead_ebpf_shared::{Affinity, Be16, IPPROTO_TCP, IPPROTO_UDP, Options, Reason};
use nix::sched::{CloneFlags, unshare};
use nix::time::{ClockId, clock_gettime};

use crate::hooks::{Hooks, Vip, bytes, ip};
use crate::traffic::{Way, client_for, listener};

const GROUP: u32 = 7;

fn sticky(seconds: u32) -> Options {
    Options { affinity_s: seconds, group: GROUP, flags: 0 }
}

/// Time since the machine started, as the programs see it.
fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("a clock");
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}

fn entry(backend: SocketAddr, age_s: u64) -> Affinity {
    let (used_ns, port) = (now_ns() - age_s * 1_000_000_000, Be16::new(backend.port()));
    Affinity { used_ns, backend: bytes(backend.ip()), port, reserved: [0; 6] }
}

fn remembered(hooks: &Hooks) -> ([u8; 16], u16) {
    let entry = hooks.affinity(GROUP).expect("the client is remembered");
    (entry.backend, entry.port.get())
}

/// Where a UDP socket that connects is led.
fn led(hooks: &Hooks, asked: SocketAddr) -> ([u8; 16], u16) {
    let client = client_for(asked);
    client.connect(asked).unwrap_or_else(|error| panic!("connect to {asked}: {error}"));
    let origin = hooks.origin(&client).expect("the socket remembers");
    (origin.backend, origin.backend_port.get())
}

fn place(backend: SocketAddr) -> ([u8; 16], u16) {
    (bytes(backend.ip()), backend.port())
}

fn four(family: char) -> Vec<SocketAddr> {
    (1..=4_u16)
        .map(|number| match family {
            '4' => SocketAddr::from(([127, 0, 0, number as u8], 7000)),
            _ => SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, number], 7000)),
        })
        .collect()
}

#[test]
fn a_client_comes_back_to_its_backend_however_it_asks() {
    for (vip, family, asked) in [
        ("10.96.0.1:80", '4', "10.96.0.1:80"),
        ("10.96.0.1:80", '4', "[::ffff:10.96.0.1]:80"),
        ("[fd00:96::1]:80", '6', "[fd00:96::1]:80"),
    ] {
        let hooks = Hooks::attach();
        let vip = Vip::new(vip, IPPROTO_UDP, 1);
        hooks.serve_as(&vip, 0, &four(family), sticky(10_800));
        let asked: SocketAddr = asked.parse().expect("an address");
        let first = led(&hooks, asked);
        assert_eq!(remembered(&hooks), first);
        for _ in 0..20 {
            assert_eq!(led(&hooks, asked), first, "a socket that connects");
            client_for(asked).send_to(b"ask", asked).expect("a datagram");
        }
        assert_eq!(hooks.count(Reason::AffinityKept), 40);
        assert_eq!(hooks.count_of(&vip), 41);
        assert_eq!(remembered(&hooks), first);

        hooks.treat(&vip, Options::default());
        let used: BTreeSet<_> = (0..64).map(|_| led(&hooks, asked)).collect();
        assert_eq!(used.len(), 4, "affinity is turned off: 64 sockets use all four backends");
    }
}

#[test]
fn tcp_keeps_to_it_and_all_frontends_of_a_service_port_share_it() {
    let hooks = Hooks::attach();
    let servers: Vec<_> = four('4').iter().map(|server| listener(&server.to_string())).collect();
    let frontends = [
        Vip::new("10.96.0.1:80", IPPROTO_TCP, GROUP),
        Vip::new("192.0.2.1:80", IPPROTO_TCP, 8),
        Vip::new("0.0.0.0:30080", IPPROTO_TCP, 9),
    ];
    for (base, vip) in (0..).step_by(16).zip(&frontends) {
        hooks.serve_as(vip, base, &four('4'), sticky(60));
    }
    hooks.know("10.0.0.5", fairlead_ebpf_shared::AddressClass::OwnNode);
    let asked = ["10.96.0.1:80", "192.0.2.1:80", "10.0.0.5:30080"];
    let mut chosen = BTreeSet::new();
    for asked in asked.into_iter().cycle().take(12) {
        Way::Tcp.attempt(asked.parse().expect("an address")).expect("connect");
        chosen.insert(remembered(&hooks));
    }
    assert_eq!(chosen.len(), 1, "{chosen:?}");
    assert_eq!(hooks.count(Reason::AffinityKept), 11);
    drop(servers);
}

#[test]
fn the_time_out_counts_from_the_last_connection() {
    let hooks = Hooks::attach();
    let vip = Vip::new("10.96.0.1:80", IPPROTO_UDP, 1);
    hooks.serve_as(&vip, 0, &four('4'), sticky(86_400));
    hooks.set_affinity(GROUP, &entry(four('4')[2], 2));
    let before = now_ns();
    assert_eq!(led(&hooks, vip.address), place(four('4')[2]), "two seconds are less than a day");
    assert!(hooks.affinity(GROUP).expect("an entry").used_ns >= before, "and the time begins anew");
    assert_eq!(hooks.count(Reason::AffinityKept), 1);

    // Exactly at the time-out it is over: not kept, and remembered anew.
    hooks.treat(&vip, sticky(2));
    hooks.set_affinity(GROUP, &entry(four('4')[2], 2));
    let before = now_ns();
    let next = led(&hooks, vip.address);
    assert_eq!(hooks.count(Reason::AffinityKept), 1);
    assert_eq!(remembered(&hooks), next);
    assert!(hooks.affinity(GROUP).expect("an entry").used_ns >= before);

    // Longer ago than the clock runs, or in the future: no entry of ours.
    for used_ns in [0, u64::MAX / 2] {
        hooks.set_affinity(GROUP, &Affinity { used_ns, ..entry(four('4')[1], 0) });
        led(&hooks, vip.address);
        assert_eq!(hooks.count(Reason::AffinityKept), 1, "{used_ns}");
    }
}

#[test]
fn a_backend_that_left_the_set_is_forgotten() {
    let hooks = Hooks::attach();
    let vip = Vip::new("10.96.0.1:80", IPPROTO_UDP, 1);
    hooks.serve_as(&vip, 0, &four('4'), sticky(60));
    let first = led(&hooks, vip.address);
    let others: Vec<SocketAddr> = four('4').into_iter().filter(|backend| place(*backend) != first).collect();
    hooks.switch(&vip, 8, &others);
    let second = led(&hooks, vip.address);
    assert!(others.iter().any(|backend| place(*backend) == second), "{second:?}");
    assert_eq!(remembered(&hooks), second);
    // The first comes back to the set: the client stays.
    hooks.switch(&vip, 16, &four('4'));
    assert_eq!(led(&hooks, vip.address), second);

    // A group that was another service's: none of its backends is in the set, or only the port differs.
    for stranger in ["127.0.0.9:7000", "127.0.0.1:7001", "127.0.0.4:6999", "0.0.0.0:0", "255.255.255.255:65535"] {
        hooks.set_affinity(GROUP, &entry(stranger.parse().expect("an address"), 0));
        let led = led(&hooks, vip.address);
        assert!(four('4').iter().any(|backend| place(*backend) == led), "{stranger}: {led:?}");
    }
}

#[test]
fn every_backend_of_a_large_set_is_found() {
    let hooks = Hooks::attach();
    for (slot, vip) in [(1, "10.96.0.1:80"), (2, "[fd00:96::1]:80")] {
        let vip = Vip::new(vip, IPPROTO_UDP, slot);
        let hosts = |port| -> Vec<SocketAddr> {
            match slot {
                1 => (1..=200).map(|host| SocketAddr::from(([127, 0, host, 255 - host], port))).collect(),
                _ => (1..=6).map(|host| SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, host], port))).collect(),
            }
        };
        let mut backends: Vec<SocketAddr> = [1, 255, 256, 65_535].into_iter().flat_map(hosts).collect();
        backends.sort_unstable();
        hooks.serve_as(&vip, 1024 * slot, &backends, sticky(60));
        let kept = hooks.count(Reason::AffinityKept);
        for backend in &backends {
            hooks.set_affinity(GROUP, &entry(*backend, 0));
            assert_eq!(led(&hooks, vip.address), place(*backend));
        }
        assert_eq!(hooks.count(Reason::AffinityKept) - kept, backends.len() as u64);
    }
}

#[test]
fn another_namespace_is_another_client() {
    let hooks = Hooks::attach();
    let vip = Vip::new("10.96.0.1:80", IPPROTO_UDP, 1);
    hooks.serve_as(&vip, 0, &four('4'), sticky(60));
    let first = led(&hooks, vip.address);
    let used: BTreeSet<_> = (0..24)
        .map(|_| {
            let ask = || {
                unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
                ip("link set lo up");
                let first = led(&hooks, vip.address);
                assert_eq!(led(&hooks, vip.address), first);
                assert_eq!(remembered(&hooks), first);
                first
            };
            thread::scope(|scope| scope.spawn(ask).join().expect("the other namespace asks"))
        })
        .collect();
    assert!(used.len() > 1, "24 clients use more than one of four backends");
    assert_eq!(led(&hooks, vip.address), first);
}
