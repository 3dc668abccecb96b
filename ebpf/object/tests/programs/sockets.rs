//! The programs under real sockets (there is no test run for socket hooks). Needs root; each test makes its own cgroup and
//! network namespace and removes them.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, TcpStream, UdpSocket};
use std::time::Instant;

use crate::hooks::{Hooks, Vip, bytes};
use crate::traffic::{LIMIT, client_for, echo, listener, refused, udp};
use fairlead_ebpf_shared::{IPPROTO_TCP, IPPROTO_UDP, Reason};

/// One round trip of each family: VIP, backend, and how a socket of the given kind names the VIP.
const FAMILIES: [(&str, &str, &str); 3] = [
    ("10.96.0.1:80", "127.0.0.1:0", "10.96.0.1:80"),
    ("[fd00:96::1]:80", "[fd00::1]:0", "[fd00:96::1]:80"),
    ("10.96.0.1:80", "127.0.0.1:0", "[::ffff:10.96.0.1]:80"),
];

#[test]
fn tcp_reaches_a_backend_and_names_the_vip() {
    let hooks = Hooks::attach();
    for (slot, (vip, backend, asked)) in (1..).zip(FAMILIES) {
        let (server, backend) = listener(backend);
        let vip = Vip::new(vip, IPPROTO_TCP, slot);
        hooks.serve(&vip, 16 * slot, &[backend]);

        let asked: SocketAddr = asked.parse().expect("an address");
        let mut client = TcpStream::connect(asked).unwrap_or_else(|error| panic!("connect to {asked}: {error}"));
        let (mut served, _) = server.accept().expect("the backend is connected to");
        assert_eq!(client.peer_addr().expect("getpeername"), asked, "the application sees what it asked for");
        let origin = hooks.origin(&client).expect("the socket remembers what was asked for");
        assert_eq!((origin.backend, origin.backend_port.get()), (bytes(backend.ip()), backend.port()));
        client.write_all(b"ask").expect("write");
        let mut word = [0; 3];
        served.read_exact(&mut word).expect("the backend reads");
        served.write_all(b"got").expect("the backend writes");
        client.read_exact(&mut word).expect("read");
        assert_eq!(&word, b"got");
        assert_eq!(hooks.count_of(&vip), 1, "{asked}: one connection is counted");
    }
    assert_eq!(hooks.count(Reason::Translated), 3);
}

#[test]
fn an_ipv6_service_may_have_an_ipv4_backend_for_tcp() {
    let hooks = Hooks::attach();
    let (server, backend) = listener("127.0.0.1:0");
    let vip = Vip::new("[fd00:96::9]:80", IPPROTO_TCP, 1);
    hooks.serve(&vip, 0, &[backend]);
    let client = TcpStream::connect(vip.address).expect("connect");
    server.accept().expect("the backend is connected to");
    assert_eq!(client.peer_addr().expect("getpeername"), vip.address);
}

#[test]
fn an_address_that_is_no_service_is_left_alone() {
    let hooks = Hooks::attach();
    let (server, address) = listener("127.0.0.1:0");
    let client = TcpStream::connect(address).expect("connect");
    server.accept().expect("accept");
    assert_eq!(client.peer_addr().expect("getpeername"), address);
    assert!(hooks.origin(&client).is_none());

    let (server, address) = udp("127.0.0.1:0");
    let client = client_for(address);
    client.send_to(b"ask", address).expect("sendto");
    echo(&server);
    assert_eq!(client.recv_from(&mut [0; 8]).expect("recvfrom").1, address);
    // The same port as a service of the other protocol is no service either.
    hooks.serve(&Vip { address, protocol: IPPROTO_TCP, slot: 1 }, 0, &[]);
    client.send_to(b"ask", address).expect("sendto");
    assert_eq!(hooks.count(Reason::Translated), 0);
}

#[test]
fn a_service_without_backends_refuses_at_once() {
    let hooks = Hooks::attach();
    for (slot, address) in (1..).zip(["10.96.0.1:80", "[fd00:96::1]:80"]) {
        let tcp = Vip::new(address, IPPROTO_TCP, 2 * slot);
        let udp = Vip::new(address, IPPROTO_UDP, 2 * slot + 1);
        hooks.serve(&tcp, 0, &[]);
        hooks.serve(&udp, 0, &[]);
        refused(TcpStream::connect(tcp.address), "TCP connect");
        let client = client_for(udp.address);
        refused(client.send_to(b"ask", udp.address), "sendto");
        refused(client.connect(udp.address), "UDP connect");
    }
    let mapped: SocketAddr = "[::ffff:10.96.0.1]:80".parse().expect("an address");
    refused(TcpStream::connect(mapped), "TCP connect, mapped");
    refused(client_for(mapped).send_to(b"ask", mapped), "sendto, mapped");
    assert_eq!(hooks.count(Reason::NoBackend), 8);
    assert_eq!(hooks.count(Reason::Translated), 0);
}

#[test]
fn a_datagram_with_an_address_goes_to_a_backend_and_its_answer_comes_from_the_vip() {
    let hooks = Hooks::attach();
    for (slot, (vip, backend, asked)) in (1..).zip(FAMILIES) {
        let (server, backend) = udp(backend);
        let vip = Vip::new(vip, IPPROTO_UDP, slot);
        hooks.serve(&vip, 16 * slot, &[backend]);
        let asked: SocketAddr = asked.parse().expect("an address");
        let client = client_for(asked);
        for _ in 0..2 {
            client.send_to(b"ask", asked).unwrap_or_else(|error| panic!("sendto {asked}: {error}"));
            echo(&server);
            let (length, from) = client.recv_from(&mut [0; 8]).expect("recvfrom");
            assert_eq!((length, from), (3, asked));
        }
        assert_eq!(hooks.count_of(&vip), 2);
    }
    assert_eq!(hooks.count(Reason::ReplyTranslated), 6);
    assert_eq!(hooks.count(Reason::ReplyLost), 0);
}

#[test]
fn a_connected_udp_socket_sees_the_vip_in_getpeername_and_in_recvfrom() {
    let hooks = Hooks::attach();
    for (slot, (vip, backend, asked)) in (1..).zip(FAMILIES) {
        let (server, backend) = udp(backend);
        let vip = Vip::new(vip, IPPROTO_UDP, slot);
        hooks.serve(&vip, 16 * slot, &[backend]);
        let asked: SocketAddr = asked.parse().expect("an address");
        let client = client_for(asked);
        client.connect(asked).unwrap_or_else(|error| panic!("connect to {asked}: {error}"));
        assert_eq!(client.peer_addr().expect("getpeername"), asked);
        client.send(b"ask").expect("send");
        echo(&server);
        assert_eq!(client.recv_from(&mut [0; 8]).expect("recvfrom"), (3, asked));
    }
}

#[test]
fn a_connected_udp_socket_may_name_the_vip_in_each_datagram_too() {
    let hooks = Hooks::attach();
    let servers: Vec<_> = (1..=4).map(|number| udp(&format!("127.0.0.{number}:7000"))).collect();
    let addresses: Vec<SocketAddr> = servers.iter().map(|(_, address)| *address).collect();
    let vip = Vip::new("10.96.0.1:53", IPPROTO_UDP, 1);
    hooks.serve(&vip, 0, &addresses);
    for _ in 0..16 {
        let client = client_for(vip.address);
        client.connect(vip.address).expect("connect");
        let chosen = hooks.origin(&client).expect("the socket remembers").backend[15];
        let (server, _) = &servers[usize::from(chosen) - 1];
        client.send_to(b"ask", vip.address).expect("sendto");
        echo(server);
        // The kernel drops what does not come from the backend that was connected to.
        assert_eq!(client.recv_from(&mut [0; 8]).expect("recvfrom"), (3, vip.address));
    }
}

#[test]
fn a_udp_socket_that_connects_elsewhere_forgets_the_vip() {
    let hooks = Hooks::attach();
    let (server, backend) = udp("127.0.0.1:0");
    let vip = Vip::new("10.96.0.1:53", IPPROTO_UDP, 1);
    hooks.serve(&vip, 0, &[backend]);
    let client = client_for(vip.address);
    client.connect(vip.address).expect("connect to the VIP");
    assert_eq!(client.peer_addr().expect("getpeername"), vip.address);
    client.connect(backend).expect("connect to the backend itself");
    assert_eq!(client.peer_addr().expect("getpeername"), backend);
    client.send(b"ask").expect("send");
    echo(&server);
    assert_eq!(client.recv_from(&mut [0; 8]).expect("recvfrom").1, backend);
}

#[test]
fn one_udp_socket_keeps_its_backend_while_the_set_is_the_same_and_follows_a_new_one() {
    let hooks = Hooks::attach();
    let servers: Vec<_> = (1..=4).map(|number| udp(&format!("[fd00::{number}]:7000"))).collect();
    let addresses: Vec<SocketAddr> = servers.iter().map(|(_, address)| *address).collect();
    let vip = Vip::new("[fd00:96::1]:53", IPPROTO_UDP, 1);
    hooks.serve(&vip, 0, &addresses);

    let mut used = BTreeSet::new();
    for _ in 0..64 {
        let client = client_for(vip.address);
        let local = client.local_addr().expect("a bound socket has an address").port();
        for _ in 0..3 {
            client.send_to(b"ask", vip.address).expect("sendto");
        }
        let taken = take(&servers, 3);
        assert!(taken.iter().all(|(_, from)| from.port() == local), "{taken:?}");
        let chosen: Vec<usize> = taken.into_iter().map(|(index, _)| index).collect();
        assert!(chosen.iter().all(|index| *index == chosen[0]), "one socket, one backend: {chosen:?}");
        used.insert(chosen[0]);
    }
    assert_eq!(used.len(), 4, "64 sockets use all four backends");

    let client = client_for(vip.address);
    client.send_to(b"ask", vip.address).expect("sendto");
    take(&servers, 1);
    hooks.switch(&vip, 8, &addresses[3..]);
    client.send_to(b"ask", vip.address).expect("sendto");
    assert_eq!(take(&servers, 1)[0].0, 3, "the next datagram goes to the only backend left");
}

/// Waits for so many datagrams at these servers: at which of them, and from where.
fn take(servers: &[(UdpSocket, SocketAddr)], count: usize) -> Vec<(usize, SocketAddr)> {
    let (start, mut taken) = (Instant::now(), Vec::new());
    while taken.len() < count {
        assert!(start.elapsed() < LIMIT, "{taken:?} of {count} datagrams came");
        for (index, (server, _)) in servers.iter().enumerate() {
            server.set_nonblocking(true).expect("nonblocking");
            while let Ok((_, from)) = server.recv_from(&mut [0; 8]) {
                taken.push((index, from));
            }
        }
    }
    taken
}

#[test]
fn connections_are_spread_over_the_backends() {
    let hooks = Hooks::attach();
    let vip = Vip::new("10.96.0.1:80", IPPROTO_UDP, 1);
    let backends: Vec<SocketAddr> = (1..=4).map(|number| SocketAddr::from(([127, 0, 0, number], 7000))).collect();
    hooks.serve(&vip, 0, &backends);
    let mut counts = [0; 4];
    for _ in 0..2000 {
        let client = client_for(vip.address);
        client.connect(vip.address).expect("connect");
        let origin = hooks.origin(&client).expect("the socket remembers");
        counts[origin.backend[15] as usize - 1] += 1;
    }
    // 500 expected of each, standard deviation 19.4: beyond seven of them is no chance.
    assert!(counts.iter().all(|count| (360..640).contains(count)), "{counts:?}");
}

#[test]
fn an_ipv6_datagram_is_not_sent_to_an_ipv4_backend() {
    let hooks = Hooks::attach();
    let vip = Vip::new("[fd00:96::1]:53", IPPROTO_UDP, 1);
    hooks.serve(&vip, 0, &["127.0.0.1:53".parse().expect("an address")]);
    refused(client_for(vip.address).send_to(b"ask", vip.address), "sendto: the kernel would say ENOTSUPP");
    let scoped = SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::LOCALHOST, 9, 0, 0));
    client_for(scoped).send_to(b"x", scoped).expect("what is no service passes");
}

#[test]
fn a_frontend_whose_slot_belongs_to_another_is_refused_and_never_misled() {
    let hooks = Hooks::attach();
    let (_server, backend) = udp("127.0.0.1:0");
    let owner = Vip::new("10.96.0.1:53", IPPROTO_UDP, 1);
    let stray = Vip::new("10.96.0.2:53", IPPROTO_UDP, 1);
    hooks.serve(&stray, 0, &[backend]);
    hooks.serve(&owner, 0, &[backend]);
    refused(client_for(stray.address).send_to(b"ask", stray.address), "the slot's word carries the owner's tag");
    assert_eq!(hooks.count(Reason::GaveUp), 1);
    client_for(owner.address).send_to(b"ask", owner.address).expect("the owner is served");
}
