//! Sockets in namespaces of the test's own, seen by `sock_diag`.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;

use fairlead_kernel::error::Errno;
use fairlead_kernel::netns::Netns;
use fairlead_kernel::sock_diag::{ConnectedUdp, SockDiag, is_unsupported};
use nix::sched::{CloneFlags, unshare};

/// Runs `work` on a thread of its own, in a fresh network namespace that goes with the thread, with a loopback.
fn in_fresh_namespace(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("unshare the network namespace: are you root?");
        for line in [&["link", "set", "lo", "up"][..], &["-6", "addr", "add", "fd00::9/128", "dev", "lo", "nodad"]] {
            assert!(Command::new("ip").args(line).status().expect("ip runs (Debian: iproute2)").success());
        }
        work();
    });
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn connected(from: &str, to: &str) -> UdpSocket {
    let socket = UdpSocket::bind(from).unwrap();
    socket.connect(to).unwrap();
    socket
}

fn list(peers: &[&str]) -> Vec<ConnectedUdp> {
    let peers: Vec<SocketAddr> = peers.iter().map(|peer| address(peer)).collect();
    let mut found = Vec::new();
    SockDiag::open().unwrap().connected_udp(&peers, |socket| found.push(socket)).unwrap();
    found.sort_by_key(|socket| socket.local.port());
    found
}

fn ports(found: &[ConnectedUdp]) -> Vec<u16> {
    found.iter().map(|socket| socket.local.port()).collect()
}

#[test]
fn connected_sockets_are_found_by_their_peers_in_both_families() {
    in_fresh_namespace(|| {
        assert_eq!(list(&[]), []);
        let _sockets = [
            connected("127.0.0.1:1001", "127.0.0.5:53"),
            connected("127.0.0.1:1002", "127.0.0.5:54"),
            connected("127.0.0.1:1003", "127.0.0.6:53"),
            connected("[::]:1004", "[::ffff:127.0.0.5]:53"),
            connected("[::1]:1005", "[fd00::9]:53"),
            connected("[::1]:1006", "[::1]:53"),
        ];
        let _unconnected = UdpSocket::bind("127.0.0.1:1007").unwrap();
        assert_eq!(ports(&list(&[])), [1001, 1002, 1003, 1004, 1005, 1006]);
        let found = list(&["127.0.0.5:53"]);
        assert_eq!(ports(&found), [1001, 1004]);
        assert!(found.iter().all(|socket| socket.peer == address("127.0.0.5:53")), "{found:?}");
        assert_eq!(found[1].local, address("127.0.0.1:1004"), "an IPv6 socket's IPv4 address");
        assert_eq!(ports(&list(&["[fd00::9]:53"])), [1005]);
        assert_eq!(ports(&list(&["127.0.0.6:53", "[::1]:53", "127.0.0.5:54", "10.0.0.1:1"])), [1002, 1003, 1006]);
        assert_eq!(list(&["127.0.0.5:55", "[fd00::9]:54"]), []);
        let many: Vec<String> = (1..=128).map(|last| format!("[fd00::{last:x}]:53")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(ports(&list(&many)), [1005], "as many peers as the kernel is given");
        let more: Vec<&str> = many.into_iter().chain(["10.0.0.1:1"]).collect();
        assert_eq!(list(&more).len(), 6, "more: told apart by who asks");
    });
}

#[test]
fn an_ended_socket_says_so_once_and_connects_again() {
    in_fresh_namespace(|| {
        let server = UdpSocket::bind("127.0.0.9:53").unwrap();
        let listener = TcpListener::bind("127.0.0.5:53").unwrap();
        let mut tcp = TcpStream::connect("127.0.0.5:53").unwrap();
        let mut accepted = listener.accept().unwrap().0;
        for from in ["127.0.0.1:0", "[::]:0"] {
            let to = |peer: &str| match from.starts_with('[') {
                true => format!("[::ffff:{}]:53", peer),
                false => format!("{peer}:53"),
            };
            let (ended, other) = (connected(from, &to("127.0.0.5")), connected("127.0.0.1:0", "127.0.0.6:53"));
            let found = list(&["127.0.0.5:53"]);
            assert_eq!(found.len(), 1, "{found:?}");
            let mut door = SockDiag::open().unwrap();
            match door.destroy(&found[0]) {
                Err(error) if is_unsupported(&error) => {
                    println!("SKIP CONFIG_INET_DIAG_DESTROY: {error}");
                    return;
                }
                outcome => assert!(outcome.unwrap(), "it was there"),
            }
            assert_eq!(ended.recv(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionAborted);
            assert_eq!(ended.send(b"x").unwrap_err().raw_os_error(), Some(Errno::EDESTADDRREQ as i32));
            assert_eq!(ended.peer_addr().unwrap_err().kind(), ErrorKind::NotConnected);
            assert!(!door.destroy(&found[0]).unwrap(), "it has no such peer any more");
            ended.connect(to("127.0.0.9")).unwrap();
            ended.send(b"again").unwrap();
            assert_eq!(server.recv(&mut [0; 8]).unwrap(), 5);
            assert!(!door.destroy(&found[0]).unwrap(), "another connection is not ended");
            other.peer_addr().expect("another peer's socket lives on");
        }
        tcp.write_all(b"tcp").unwrap();
        accepted.read_exact(&mut [0; 3]).expect("TCP to the same address lives on");
    });
}

#[test]
fn a_door_is_of_the_namespace_it_was_opened_in() {
    in_fresh_namespace(|| {
        let _here = connected("127.0.0.1:1001", "127.0.0.5:53");
        let there = Netns::anonymous().unwrap();
        let mut found = 0;
        SockDiag::open_in(&there).unwrap().connected_udp(&[], |_| found += 1).unwrap();
        assert_eq!((found, list(&[]).len()), (0, 1));
    });
}
