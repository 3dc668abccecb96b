//! What clients see of an answer that is no.

use std::io::ErrorKind;
use std::net::SocketAddr;

use fairlead_ebpf_shared::{AddressClass, Options, OptionsWord, Reason};

use crate::hooks::{Hooks, Vip};
use crate::traffic::{Server, Way, address, refused};

/// A cluster IP as sockets may name it.
const ASKED: [(&str, &str); 3] = [
    ("10.96.0.1:80", "10.96.0.1:80"),
    ("10.96.0.1:80", "[::ffff:10.96.0.1]:80"),
    ("[fd00:96::1]:80", "[fd00:96::1]:80"),
];

fn at_port(mut asked: SocketAddr, port: u16) -> SocketAddr {
    asked.set_port(port);
    asked
}

#[test]
fn a_port_that_a_cluster_ip_does_not_have_is_refused() {
    let hooks = Hooks::attach();
    hooks.know("10.96.0.1", AddressClass::ClusterIp);
    hooks.know("fd00:96::1", AddressClass::ClusterIp);
    for way in Way::ALL {
        for (slot, (vip, asked)) in (1..).zip(ASKED) {
            let asked = address(asked);
            let server = Server::at(if vip.starts_with('[') { "[fd00::1]:0" } else { "127.0.0.1:0" });
            hooks.serve(&Vip::new(vip, way.protocol(), slot), 16 * slot, &[server.address]);
            server.answers(way, asked, asked);
            refused(way.attempt(at_port(asked, 81)), "no service has the port");
        }
        let stranger = way.attempt(address("10.96.0.2:81")).expect_err("there is no route");
        assert_eq!(stranger.kind(), ErrorKind::NetworkUnreachable, "an address that is no cluster IP is left alone");
    }
    assert_eq!(hooks.count(Reason::UndefinedPort), 9);
    assert_eq!(hooks.count(Reason::NoBackend), 0);
}

#[test]
fn a_service_without_local_endpoints_is_dropped_and_one_without_any_refused() {
    let hooks = Hooks::attach();
    let drop = Options { flags: OptionsWord::FLAG_DROP, ..Options::default() };
    for way in Way::ALL {
        for (slot, (vip, asked)) in (1..).zip(ASKED) {
            let (vip, asked) = (Vip::new(vip, way.protocol(), slot), address(asked));
            hooks.serve_as(&vip, 0, &[], drop);
            let error = way.attempt(asked).expect_err("dropped");
            // What a silent drop ends in, at once.
            assert_eq!(error.kind(), ErrorKind::TimedOut, "{way:?} to {asked}");
            hooks.treat(&vip, Options::default());
            refused(way.attempt(asked), "no endpoint anywhere");
            // A word that is older than its set does no harm.
            hooks.treat(&vip, drop);
            let server = Server::at(if vip.address.is_ipv4() { "127.0.0.1:0" } else { "[fd00::1]:0" });
            hooks.switch(&vip, 16, &[server.address]);
            server.answers(way, asked, asked);
        }
    }
    assert_eq!(hooks.count(Reason::DroppedNoLocal), 9);
    assert_eq!(hooks.count(Reason::NoBackend), 9);
}

#[test]
fn a_frontend_without_options_of_its_own_is_refused() {
    let hooks = Hooks::attach();
    let server = Server::at("127.0.0.1:0");
    let (vip, other) = (Vip::new("10.96.0.1:80", 6, 1), Vip::new("10.96.0.2:80", 6, 1));
    hooks.serve(&vip, 0, &[server.address]);
    hooks.treat(&other, Options::default());
    refused(Way::Tcp.attempt(vip.address), "the slot's options are another's: ranges could be overlooked");
    assert_eq!(hooks.count(Reason::GaveUp), 1);
}
