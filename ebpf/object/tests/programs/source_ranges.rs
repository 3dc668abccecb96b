//! Who is admitted to a service with source ranges.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};

use fairlead_ebpf_shared::{Options, OptionsWord, Reason};

use crate::hooks::{Hooks, Vip};
use crate::traffic::{Server, Way, address};

const RANGES: Options = Options { flags: OptionsWord::FLAG_RANGES, affinity_s: 0, group: 0 };

/// Frontend, backend, how it is asked for.
const FAMILIES: [(&str, &str, &str); 3] = [
    ("10.96.0.1:80", "127.0.0.1:0", "10.96.0.1:80"),
    ("10.96.0.1:80", "127.0.0.1:0", "[::ffff:10.96.0.1]:80"),
    ("[fd00:96::1]:80", "[fd00::1]:0", "[fd00:96::1]:80"),
];

fn dropped(way: Way, asked: SocketAddr, why: &str) {
    let error = way.attempt(asked).expect_err(why);
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{way:?} to {asked}: {why}");
}

#[test]
fn a_client_is_admitted_whose_namespace_has_an_address_inside() {
    for (vip, backend, asked) in FAMILIES {
        for way in Way::ALL {
            let hooks = Hooks::attach();
            let (server, vip, asked) = (Server::at(backend), Vip::new(vip, way.protocol(), 3), address(asked));
            hooks.serve_as(&vip, 0, &[server.address], RANGES);
            hooks.admit(&vip, "10.1.0.0", 16);
            hooks.admit(&vip, "fd00:1::", 32);
            dropped(way, asked, "nobody knows the client's address");
            assert_eq!(hooks.count(Reason::ClientUnknown), 1);

            hooks.tell_addresses("10.2.0.1", "fd00:2::1");
            dropped(way, asked, "outside");
            // The first and the last address of the range, and the two beside it.
            for (v4, v6, inside) in [
                ("10.1.0.0", "fd00:1::", true),
                ("10.1.255.255", "fd00:1:ffff:ffff:ffff:ffff:ffff:ffff", true),
                ("10.0.255.255", "fd00:0:ffff::", false),
                ("10.2.0.0", "fd00:2::", false),
            ] {
                hooks.tell_addresses(v4, v6);
                if inside {
                    server.answers(way, asked, asked);
                } else {
                    dropped(way, asked, "beside the range");
                }
            }
            assert_eq!(hooks.count(Reason::DroppedSourceRange), 3);

            hooks.tell_addresses("0.0.0.0", "::");
            dropped(way, asked, "the namespace has no address of the family");
            assert_eq!(hooks.count(Reason::ClientUnknown), 2);
            hooks.treat(&vip, Options::default());
            server.answers(way, asked, asked);
        }
    }
}

#[test]
fn a_client_that_is_bound_is_known_by_its_address() {
    for (vip, backend, asked, bound, inside) in [
        ("10.96.0.1:80", "127.0.0.1:0", "10.96.0.1:80", "127.0.0.3:0", "127.0.0.3"),
        ("10.96.0.1:80", "127.0.0.1:0", "[::ffff:10.96.0.1]:80", "[::ffff:127.0.0.3]:0", "127.0.0.3"),
        ("[fd00:96::1]:80", "[fd00::1]:0", "[fd00:96::1]:80", "[fd00::3]:0", "fd00::3"),
    ] {
        let hooks = Hooks::attach();
        let (server, vip, asked) = (Server::at(backend), Vip::new(vip, Way::Datagram.protocol(), 3), address(asked));
        hooks.serve_as(&vip, 0, &[server.address], RANGES);
        // What other sockets of the namespace send from is inside, and does not matter.
        hooks.tell_addresses("10.1.0.1", "fd00:1::1");
        hooks.admit(&vip, "10.1.0.0", 16);
        hooks.admit(&vip, "fd00:1::", 32);
        let client = UdpSocket::bind(bound).expect("a socket that is bound");
        for error in [client.send_to(b"ask", asked).map(drop), client.connect(asked)] {
            assert_eq!(error.expect_err("outside").kind(), ErrorKind::TimedOut, "{bound} to {asked}");
        }
        hooks.admit(&vip, inside, if vip.address.is_ipv4() { 32 } else { 128 });
        client.send_to(b"ask", asked).expect("inside");
        client.connect(asked).expect("inside");
        assert_eq!(hooks.count(Reason::DroppedSourceRange), 2);
        assert_eq!(hooks.count(Reason::ClientUnknown), 0);
    }
}

#[test]
fn ranges_of_another_service_admit_nobody() {
    let hooks = Hooks::attach();
    hooks.tell_addresses("10.1.0.1", "fd00:1::1");
    let server = Server::at("127.0.0.1:0");
    let (vip, other) = (Vip::new("10.96.0.1:80", 6, 1), Vip::new("10.96.0.2:80", 6, 2));
    hooks.serve_as(&vip, 0, &[server.address], RANGES);
    hooks.serve_as(&other, 16, &[server.address], RANGES);
    hooks.admit(&other, "10.0.0.0", 8);
    dropped(Way::Tcp, vip.address, "the range is of another slot");
    hooks.admit_for_another(&vip, "10.0.0.0", 8);
    dropped(Way::Tcp, vip.address, "the range is of whoever had the slot before");
    hooks.admit(&vip, "0.0.0.0", 0);
    dropped(Way::Tcp, vip.address, "and hides what is wider until it is gone");
    hooks.admit(&vip, "10.0.0.0", 8);
    server.answers(Way::Tcp, vip.address, vip.address);
}
