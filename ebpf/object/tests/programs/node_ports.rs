//! NodePorts: at this node's addresses, at other nodes', at loopback.

use std::io::ErrorKind;

use fairlead_ebpf_shared::{AddressClass, ConfigWord, Options, OptionsWord, Reason};

use crate::hooks::{Hooks, Vip};
use crate::traffic::{Server, Way, address, refused};

/// The key of NodePort 30080, its backend, an address that is a node's and loopback, each as sockets may name it.
const FAMILIES: [(&str, &str, &str, &[&str]); 2] = [
    (
        "0.0.0.0:30080",
        "127.0.0.1:0",
        "10.0.0.5",
        &["127.0.0.1:30080", "127.5.5.5:30080", "0.0.0.0:30080", "[::ffff:127.0.0.1]:30080", "[::ffff:0.0.0.0]:30080"],
    ),
    ("[::]:30080", "[fd00::1]:0", "fd00::55", &["[::1]:30080", "[::]:30080"]),
];

/// Serves NodePort 30080 of both families for a way of asking, each by its server.
fn serve(hooks: &Hooks, way: Way, options: Options) -> [(Vip, Server); 2] {
    let mut slot = 0;
    FAMILIES.map(|(key, backend, ..)| {
        slot += 1;
        let server = Server::at(backend);
        let vip = Vip::new(key, way.protocol(), slot);
        hooks.serve_as(&vip, 16 * slot, &[server.address], options);
        (vip, server)
    })
}

#[test]
fn a_node_port_is_served_at_every_nodes_address() {
    for way in Way::ALL {
        let hooks = Hooks::attach();
        let [(_, v4), (_, v6)] = serve(&hooks, way, Options::default());
        let asked = ["10.0.0.5:30080", "[::ffff:10.0.0.5]:30080", "[fd00::55]:30080"].map(address);
        // No route leads anywhere: what is not translated fails.
        for asked in asked {
            way.attempt(asked).expect_err("nobody knows the address yet");
        }
        for class in [AddressClass::OwnNode, AddressClass::OtherNode] {
            hooks.know("10.0.0.5", class);
            hooks.know("fd00::55", class);
            v4.answers(way, asked[0], asked[0]);
            v4.answers(way, asked[1], asked[1]);
            v6.answers(way, asked[2], asked[2]);
        }
        way.attempt(address("10.0.0.5:30081")).expect_err("another port is left alone");
        assert_eq!(hooks.count(Reason::Translated), 6);
        assert_eq!(hooks.count(Reason::UndefinedPort), 0);
    }
}

#[test]
fn a_node_port_that_is_for_the_nodes_own_endpoints_is_left_to_the_other_node() {
    for way in Way::ALL {
        let hooks = Hooks::attach();
        let options = Options { flags: OptionsWord::FLAG_LOCAL_ONLY, ..Options::default() };
        let [(_, v4), (_, v6)] = serve(&hooks, way, options);
        // The other node happens to be on lo too.
        let others = ["10.0.0.6:30080", "[fd00::6]:30080"].map(Server::at);
        for (node, server) in ["10.0.0.6", "fd00::6"].into_iter().zip(&others) {
            hooks.know(node, AddressClass::OtherNode);
            server.answers(way, server.address, server.address);
        }
        assert_eq!(hooks.count(Reason::Translated), 0);
        // At an address of this node the same NodePort is served: clients of the node's own get all endpoints.
        for (node, server, other) in [("10.0.0.6", &v4, &others[0]), ("fd00::6", &v6, &others[1])] {
            hooks.know(node, AddressClass::OwnNode);
            server.answers(way, other.address, other.address);
        }
        assert_eq!(hooks.count(Reason::Translated), 2);
    }
}

#[test]
fn a_frontend_of_its_own_goes_before_the_node_port() {
    let hooks = Hooks::attach();
    let [(_, node_port), _] = serve(&hooks, Way::Tcp, Options::default());
    hooks.know("10.0.0.5", AddressClass::OwnNode);
    let server = Server::at("127.0.0.2:0");
    hooks.serve(&Vip::new("10.0.0.5:30080", Way::Tcp.protocol(), 9), 100, &[server.address]);
    server.answers(Way::Tcp, address("10.0.0.5:30080"), address("10.0.0.5:30080"));
    hooks.know("10.0.0.7", AddressClass::OwnNode);
    node_port.answers(Way::Tcp, address("10.0.0.7:30080"), address("10.0.0.7:30080"));
}

#[test]
fn loopback_is_the_node_to_the_nodes_own_processes() {
    for way in Way::ALL {
        let hooks = Hooks::attach();
        hooks.be_the_host(true);
        let servers = serve(&hooks, way, Options { flags: OptionsWord::FLAG_LOCAL_ONLY, ..Options::default() });
        for ((_, server), (_, _, _, asked)) in servers.iter().zip(FAMILIES) {
            for asked in asked.iter().copied().map(address) {
                // Who asks for the unspecified address is told that it was loopback, as by the kernel.
                let shown = match asked.to_string().as_str() {
                    "0.0.0.0:30080" => address("127.0.0.1:30080"),
                    "[::ffff:0.0.0.0]:30080" => address("[::ffff:127.0.0.1]:30080"),
                    "[::]:30080" => address("[::1]:30080"),
                    _ => asked,
                };
                server.answers(way, asked, shown);
            }
        }
    }
}

#[test]
fn loopback_is_the_pod_to_a_pod_and_untouched_where_it_is_not_wanted() {
    let hooks = Hooks::attach();
    for way in Way::ALL {
        serve(&hooks, way, Options::default());
        for told in [None, Some(false), Some(true)] {
            if let Some(wanted) = told {
                hooks.be_the_host(wanted);
            }
            if told == Some(true) {
                // The node is another namespace: this one is a pod's.
                hooks.configure(ConfigWord::HostNetns, 1);
            }
            for (_, _, _, asked) in FAMILIES {
                for asked in asked.iter().copied().map(address) {
                    match way {
                        Way::Tcp => refused(way.attempt(asked), "nobody listens"),
                        // Where nobody is, a datagram is lost and a socket connects.
                        Way::Connected | Way::Datagram => way.attempt(asked).expect("left alone"),
                    }
                }
            }
        }
    }
    assert_eq!(hooks.count(Reason::Translated), 0);
    assert_eq!(hooks.count(Reason::NoBackend), 0);
}

#[test]
fn a_node_port_without_backends_is_refused_or_dropped() {
    for way in Way::ALL {
        let hooks = Hooks::attach();
        let vip = Vip::new("0.0.0.0:30080", way.protocol(), 1);
        hooks.serve(&vip, 0, &[]);
        hooks.know("10.0.0.5", AddressClass::OwnNode);
        refused(way.attempt(address("10.0.0.5:30080")), "no endpoint");
        hooks.treat(&vip, Options { flags: OptionsWord::FLAG_DROP, ..Options::default() });
        let error = way.attempt(address("10.0.0.5:30080")).expect_err("none that is local");
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{way:?}");
    }
}
