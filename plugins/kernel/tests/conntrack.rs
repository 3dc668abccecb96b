//! Flows in namespaces of the test's own, seen by `conntrack`.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;

use fairlead_kernel::conntrack::{Flows, UdpFlow, Version, forget, forget_udp};
use nix::sched::{CloneFlags, unshare};

/// Runs `work` on a thread of its own, in a fresh network namespace that goes with the thread, with a loopback and a
/// connection tracker.
fn in_fresh_namespace(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("unshare the network namespace: are you root?");
        run("ip", &["link", "set", "lo", "up"]);
        run(
            "nft",
            &[
                "add table inet t; add chain inet t c { type filter hook output priority 0; }; add rule inet t c ct state new accept",
            ],
        );
        work();
    });
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output =
        Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("run {program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Both families.
fn flows() -> String {
    run("conntrack", &["-L"])
}

/// Sends until the flow is there: the route to a new IPv6 address is made in the kernel's own time.
fn say(from: &str, to: &str) {
    let socket = UdpSocket::bind(from).unwrap();
    let to: SocketAddr = to.parse().unwrap();
    let [source, target] = [socket.local_addr().unwrap(), to];
    let flow = format!("src={} dst={} sport={} dport={} ", source.ip(), target.ip(), source.port(), target.port());
    let tracked = (0..1000).any(|_| {
        // The kernel tells of ports where nobody listens.
        let _ = socket.send_to(b"hello", to);
        flows().contains(&flow)
    });
    assert!(tracked, "no {flow}in {}", flows());
}

#[test]
fn a_namespace_without_flows_has_nothing_to_forget() {
    in_fresh_namespace(|| {
        forget(&[]).unwrap();
        forget(&[Flows::Of("10.0.0.1".parse().unwrap()), Flows::ToPort { protocol: 17, port: 53, address: None }])
            .unwrap();
    });
}

#[test]
fn flows_of_an_address_are_forgotten_whichever_end_it_is_and_others_stay() {
    in_fresh_namespace(|| {
        run("ip", &["-6", "addr", "add", "fd00::2/128", "dev", "lo", "nodad"]);
        run("ip", &["-6", "addr", "add", "fd00::3/128", "dev", "lo", "nodad"]);
        say("127.0.0.2:1000", "127.0.0.9:2000");
        say("127.0.0.9:1000", "127.0.0.2:2001");
        say("127.0.0.3:1000", "127.0.0.9:2002");
        say("[fd00::2]:1000", "[fd00::3]:2003");
        say("[fd00::3]:1000", "[fd00::3]:2004");
        let before = flows();
        for port in 2000..=2004 {
            assert!(before.contains(&format!("dport={port} ")), "{port}: {before}");
        }
        let addresses: [IpAddr; 2] = ["127.0.0.2".parse().unwrap(), "fd00::2".parse().unwrap()];
        forget(&addresses.map(Flows::Of)).unwrap();
        let after = flows();
        for (port, stays) in [(2000, false), (2001, false), (2002, true), (2003, false), (2004, true)] {
            assert_eq!(after.contains(&format!(" dport={port} ")), stays, "{port}: {after}");
        }
    });
}

#[test]
fn a_flow_is_its_forwarded_ends_too() {
    in_fresh_namespace(|| {
        run(
            "nft",
            &[
                "add table ip n; add chain ip n o { type nat hook output priority -100; }; add rule ip n o udp dport 53 dnat to 127.0.0.5:5353",
            ],
        );
        say("127.0.0.1:1000", "127.0.0.9:53");
        assert!(flows().contains("src=127.0.0.5"), "{}", flows());
        forget(&[Flows::Of("127.0.0.5".parse().unwrap())]).unwrap();
        assert!(!flows().contains("dport=53 "), "{}", flows());
    });
}

#[test]
fn flows_to_a_port_are_forgotten_in_both_families_and_by_address_in_one() {
    in_fresh_namespace(|| {
        run("ip", &["-6", "addr", "add", "fd00::2/128", "dev", "lo", "nodad"]);
        say("[fd00::2]:1000", "[fd00::2]:53");
        say("127.0.0.1:1000", "127.0.0.9:53");
        say("127.0.0.1:1001", "127.0.0.8:53");
        say("127.0.0.1:53", "127.0.0.8:54");
        say("[::1]:1000", "[::1]:53");
        let to = |address: Option<IpAddr>, protocol| [Flows::ToPort { protocol, port: 53, address }];
        forget(&to(None, 6)).unwrap();
        assert_eq!(flows().matches(" dport=53 ").count(), 5, "the answer to :53 counts too: {}", flows());
        forget(&to(Some("127.0.0.9".parse().unwrap()), 17)).unwrap();
        assert!(!flows().contains("dst=127.0.0.9 ") && flows().contains("dst=127.0.0.8 "), "{}", flows());
        forget(&to(Some("fd00::2".parse().unwrap()), 17)).unwrap();
        assert!(!flows().contains("dst=fd00::2 ") && flows().contains("dst=::1 "), "{}", flows());
        forget(&to(None, 17)).unwrap();
        let left = flows();
        assert!(left.contains("sport=53 dport=54") && left.matches(" dport=53 ").count() == 1, "{left}");
    });
}

#[test]
fn among_more_flows_than_are_listed_at_once_the_same_are_forgotten() {
    in_fresh_namespace(|| {
        run("ip", &["-6", "addr", "add", "fd00::2/128", "dev", "lo", "nodad"]);
        let socket = UdpSocket::bind("127.0.0.1:999").unwrap();
        for port in 10_000..19_000u16 {
            // The kernel tells of ports where nobody listens.
            let _ = socket.send_to(b"hello", ("127.0.0.1", port));
        }
        say("127.0.0.2:1000", "127.0.0.9:2000");
        say("127.0.0.9:1000", "127.0.0.2:2001");
        say("[fd00::2]:1000", "[::1]:2002");
        let tracked = || run("conntrack", &["-C"]).trim().parse::<u32>().unwrap();
        let before = tracked();
        assert!(before >= 9000, "the kernel keeps {before} flows only: raise net.netfilter.nf_conntrack_max");
        forget(&["127.0.0.2", "fd00::2"].map(|address| Flows::Of(address.parse().unwrap()))).unwrap();
        let after = flows();
        assert!(!["127.0.0.2 ", "fd00::2 "].iter().any(|address| after.contains(address)));
        assert_eq!(before - tracked(), 3);
    });
}

#[test]
fn udp_flows_are_judged_by_where_they_were_sent_and_who_answers() {
    in_fresh_namespace(|| {
        assert_eq!(forget_udp(Version::V4, None, |_| true).unwrap(), 0, "nothing is tracked yet");
        run("ip", &["-6", "addr", "add", "fd00::2/128", "dev", "lo", "nodad"]);
        run(
            "nft",
            &["add table inet n; add chain inet n o { type nat hook output priority -100; }; \
               add rule inet n o ip daddr 127.0.0.9 udp dport 53 dnat ip to 127.0.0.5:5353; \
               add rule inet n o ip daddr 127.0.0.9 udp dport 54 dnat ip to 127.0.0.5:5354; \
               add rule inet n o ip6 daddr fd00::2 udp dport 53 dnat ip6 to [::1]:5353"],
        );
        let listener = std::net::TcpListener::bind("127.0.0.1:53").unwrap();
        let _tcp = std::net::TcpStream::connect("127.0.0.1:53").unwrap();
        for (from, to) in [
            ("127.0.0.1:1000", "127.0.0.9:53"),
            ("127.0.0.1:1001", "127.0.0.9:54"),
            ("127.0.0.1:1002", "127.0.0.7:53"),
            ("[::1]:1003", "[fd00::2]:53"),
        ] {
            say(from, to);
        }
        let seen = |version, port| {
            let flows = std::cell::RefCell::new(Vec::new());
            let keep = |flow: &UdpFlow| {
                flows.borrow_mut().push(format!("{} {}", flow.asked, flow.answered));
                false
            };
            assert_eq!(forget_udp(version, port, keep).unwrap(), 0);
            let mut flows = flows.into_inner();
            flows.sort();
            flows
        };
        let [first, second, third] =
            ["127.0.0.7:53 127.0.0.7:53", "127.0.0.9:53 127.0.0.5:5353", "127.0.0.9:54 127.0.0.5:5354"];
        assert_eq!(seen(Version::V4, None), [first, second, third]);
        assert_eq!(seen(Version::V4, Some(53)), [first, second]);
        assert_eq!(seen(Version::V6, Some(53)), ["[fd00::2]:53 [::1]:5353"]);
        assert_eq!(seen(Version::V6, Some(54)), [""; 0]);

        let translated = |flow: &UdpFlow| flow.asked != flow.answered;
        assert_eq!(forget_udp(Version::V4, Some(53), translated).unwrap(), 1);
        assert_eq!(seen(Version::V4, None), [first, third]);
        assert_eq!(forget_udp(Version::V6, None, translated).unwrap(), 1);
        assert!(flows().contains("ESTABLISHED"), "TCP lives on: {}", flows());
        assert_eq!(seen(Version::V6, None), [""; 0]);
        drop(listener);
    });
}

#[test]
fn more_stale_flows_than_are_named_at_once_all_go() {
    in_fresh_namespace(|| {
        let socket = UdpSocket::bind("127.0.0.1:999").unwrap();
        for port in 10_000..19_000u16 {
            // The kernel tells of ports where nobody listens.
            let _ = socket.send_to(b"hello", ("127.0.0.1", port));
        }
        say("127.0.0.2:1000", "127.0.0.9:2000");
        let deleted = forget_udp(Version::V4, None, |flow| flow.asked.port() != 2000).unwrap();
        assert!(deleted >= 9000, "{deleted} of 9000");
        let left = flows();
        assert_eq!(left.lines().filter(|line| line.starts_with("udp")).count(), 1, "{left}");
    });
}
