//! Forwards in namespaces of the test's own, read back by `nft`.

mod stage;

use std::net::IpAddr;
use std::process::Command;

use fairlead_kernel::nft::{
    Condition, Conditions, Forward, Forwarded, Group, Masquerade, Name, Nftables, Standing, Term,
};
use stage::{in_fresh_namespace, ruleset};

const TCP: u8 = 6;
const UDP: u8 = 17;

fn nft(words: &str) {
    let output = Command::new("nft").args(words.split(' ')).output().expect("run nft");
    assert!(output.status.success(), "nft {words}: {}", String::from_utf8_lossy(&output.stderr));
}

fn forward(protocol: u8, host: Option<&str>, port: u16, to: &str) -> Forward {
    Forward { protocol, host: host.map(|host| host.parse().unwrap()), port, to: to.parse().unwrap() }
}

fn group(forwards: Vec<Forward>) -> Group {
    Group { forwards, conditions: Conditions::default(), masquerade: Masquerade::Nothing, bit: 13 }
}

fn from(net: &str) -> Masquerade {
    Masquerade::From(net.parse().unwrap())
}

fn never(_: &Forwarded) -> Standing {
    Standing::Stays
}

/// What forwards of `mine` are to me.
fn own(mine: &'static str) -> impl Fn(&str) -> Standing {
    move |owner| if owner == mine { Standing::Yields } else { Standing::Stays }
}

fn add(nft: &mut Nftables, groups: &[Group], owner: &str) {
    assert_eq!(nft.forward(groups, None, owner, never).unwrap(), None);
}

#[test]
fn nft_reads_what_was_written_and_the_table_goes_with_its_last_forward() {
    in_fresh_namespace(|| {
        let mut nft = Nftables::open().unwrap();
        let v4 = Group {
            masquerade: from("10.1.0.2/16"),
            ..group(vec![
                forward(TCP, None, 8080, "10.1.0.2:80"),
                forward(UDP, Some("192.0.2.1"), 53, "10.1.0.2:5353"),
                forward(132, None, 9999, "10.1.0.2:99"),
            ])
        };
        let v6 = Group {
            masquerade: Masquerade::Everything,
            bit: 5,
            ..group(vec![
                forward(TCP, None, 8080, "[fd00::2]:80"),
                forward(TCP, Some("2001:db8::1"), 443, "[fd00::2]:8443"),
            ])
        };
        add(&mut nft, &[v4.clone(), v6.clone()], "one");
        add(&mut nft, &[group(vec![forward(TCP, None, 8081, "10.1.0.3:80")])], "two");
        let text = ruleset();
        for line in [
            "type nat hook prerouting priority dstnat + 1; policy accept;",
            "type nat hook output priority -99; policy accept;",
            "type nat hook postrouting priority srcnat; policy accept;",
            "type filter hook prerouting priority raw; policy accept;",
            "ip6 daddr ::1 return",
            "fib daddr type local jump local",
            "tcp . 8080 comment \"one\" : 10.1.0.2 . 80",
            "tcp . 8081 comment \"two\" : 10.1.0.3 . 80",
            "sctp . 9999 comment \"one\" : 10.1.0.2 . 99",
            "192.0.2.1 . udp . 53 comment \"one\" : 10.1.0.2 . 5353",
            "2001:db8::1 . tcp . 443 comment \"one\" : fd00::2 . 8443",
            "192.0.2.1 . udp . 53 : jump mark-13-from-10.1.0.0/16",
            "tcp . 8080 : jump mark-5",
            "ip daddr . meta l4proto . th dport vmap @marked-hosts4",
            "dnat ip to ip daddr . meta l4proto . th dport map @hosts4",
            "dnat ip6 to meta l4proto . th dport map @ports6",
            "ip saddr 10.1.0.0/16 goto mark-13",
            "ip saddr 127.0.0.0/8 goto mark-13",
            "meta mark set meta mark | 0x00002000",
            "meta mark & 0x00000020 != 0x00000000 meta mark set meta mark & 0xffffffdf masquerade",
            "iif != \"lo\" ip daddr 127.0.0.0/8 drop",
            "iif != \"lo\" ip saddr 127.0.0.0/8 drop",
        ] {
            assert!(text.contains(line), "no `{line}` in\n{text}");
        }
        assert_eq!(nft.forwards().unwrap().len(), 6);
        assert_eq!(nft.forwards_missing(std::slice::from_ref(&v4), own("one")).unwrap(), [""; 0]);
        assert_eq!(nft.unforward(None, |owner| owner == "nobody").unwrap().forwards, []);
        assert_eq!(nft.unforward(Some(&[v4, v6]), |owner| owner == "one").unwrap().forwards.len(), 5);
        assert!(!ruleset().contains("\"one\""), "{}", ruleset());
        assert_eq!(nft.unforward(None, |owner| owner == "two").unwrap().forwards.len(), 1);
        assert_eq!(ruleset(), "");
    });
}

#[test]
fn a_port_that_is_taken_is_given_back_with_its_owner_unless_it_yields() {
    in_fresh_namespace(|| {
        let mut nft = Nftables::open().unwrap();
        let old = group(vec![forward(TCP, None, 80, "10.1.0.2:80"), forward(TCP, None, 81, "10.1.0.2:81")]);
        let new = Group {
            masquerade: from("10.1.0.3/16"),
            ..group(vec![forward(TCP, None, 82, "10.1.0.3:80"), forward(TCP, None, 80, "10.1.0.3:80")])
        };
        add(&mut nft, std::slice::from_ref(&old), "old");
        let taken = nft.forward(std::slice::from_ref(&new), None, "new", never).unwrap().unwrap();
        assert_eq!((taken.forward, taken.owner.as_str()), (old.forwards[0].clone(), "old"));
        assert_eq!(nft.forwards().unwrap().len(), 2, "all or nothing");

        assert_eq!(
            nft.forward(std::slice::from_ref(&new), None, "new", |there| own("old")(&there.owner)).unwrap(),
            None
        );
        let owners: Vec<String> = nft.forwards().unwrap().into_iter().map(|one| one.owner).collect();
        assert_eq!(owners, ["new", "new"], "what yields, yields with all it has");
        // Who is served by another's forward makes none for that port, and the others all the same.
        let two = group(vec![forward(TCP, None, 80, "10.1.0.9:80"), forward(TCP, None, 90, "10.1.0.9:90")]);
        assert_eq!(nft.forward(std::slice::from_ref(&two), None, "two", |_| Standing::Serves).unwrap(), None);
        assert_eq!(nft.forwards_missing(&[two], |_| Standing::Serves).unwrap(), [""; 0]);
        let of_two: Vec<Forwarded> = nft.forwards().unwrap().into_iter().filter(|one| one.owner == "two").collect();
        assert_eq!((of_two.len(), of_two[0].forward.port), (1, 90));
        // One address's own port is no conflict with that port of all addresses.
        add(&mut nft, &[group(vec![forward(TCP, Some("192.0.2.1"), 80, "10.1.0.4:80")])], "other");
    });
}

#[test]
fn forwards_with_conditions_do_not_meet_those_with_others() {
    in_fresh_namespace(|| {
        let mut nft = Nftables::open().unwrap();
        let condition = |term, negated| Condition { term, negated };
        let port = |to: &str| vec![forward(TCP, None, 80, to)];
        let first = Group {
            conditions: Conditions(vec![
                vec![
                    condition(Term::Destination("192.0.2.0/24".parse().unwrap()), true),
                    condition(Term::Input(Name { text: "eth".into(), prefix: true }), false),
                    condition(Term::SourcePort(1024..=65535), false),
                    condition(Term::Mark { value: 0x10, mask: 0xf0 }, false),
                ],
                vec![condition(Term::SourceType(2), false), condition(Term::Protocol(UDP), true)],
            ]),
            masquerade: from("10.1.0.2/16"),
            ..group(port("10.1.0.2:80"))
        };
        let second = Group {
            conditions: Conditions(vec![vec![condition(Term::Source("198.51.100.7/32".parse().unwrap()), false)]]),
            ..group(port("10.1.0.3:80"))
        };
        add(&mut nft, std::slice::from_ref(&first), "first");
        add(&mut nft, std::slice::from_ref(&second), "second");
        add(&mut nft, &[group(port("10.1.0.4:80"))], "third");
        let taken = nft.forward(&[Group { forwards: port("10.1.0.5:80"), ..first.clone() }], None, "x", never).unwrap();
        assert_eq!(taken.unwrap().owner, "first");
        let text = ruleset();
        for line in [
            "ip daddr != 192.0.2.0/24 iifname \"eth*\" th sport 1024-65535 meta mark & 0x000000f0 == 0x00000010 jump forwards4-",
            "fib saddr type local meta l4proto != udp jump forwards4-",
            "ip saddr 198.51.100.7 jump forwards4-",
        ] {
            assert!(text.contains(line), "no `{line}` in\n{text}");
        }
        assert_eq!(nft.forwards_missing(std::slice::from_ref(&first), own("first")).unwrap(), [""; 0]);
        for owner in ["first", "third"] {
            assert_eq!(nft.unforward(None, |found| found == owner).unwrap().forwards.len(), 1);
        }
        assert_eq!(nft.unforward(Some(&[second]), |found| found == "second").unwrap().forwards.len(), 1);
        assert_eq!(ruleset(), "");
    });
}

#[test]
fn each_drift_is_named() {
    in_fresh_namespace(|| {
        let mut nft_socket = Nftables::open().unwrap();
        let wanted = Group { masquerade: from("10.1.0.2/16"), ..group(vec![forward(TCP, None, 80, "10.1.0.2:80")]) };
        let said = |nft_socket: &mut Nftables| {
            let groups = std::slice::from_ref(&wanted);
            nft_socket.forwards_missing(groups, own("mine")).unwrap().join("; ")
        };
        assert_eq!(said(&mut nft_socket), "tcp port 80 to 10.1.0.2:80 is not forwarded");
        add(&mut nft_socket, std::slice::from_ref(&wanted), "mine");
        assert_eq!(said(&mut nft_socket), "");
        nft("flush chain inet fairlead_forwards prerouting");
        assert_eq!(said(&mut nft_socket), "chain prerouting of table inet fairlead_forwards lacks rules");
        nft("add rule inet fairlead_forwards prerouting ip6 daddr ::1 return");
        nft("add rule inet fairlead_forwards prerouting fib daddr type local jump local");
        nft("delete element inet fairlead_forwards marked-ports4 { tcp . 80 }");
        assert!(said(&mut nft_socket).contains("is masqueraded by nothing, not by mark-13-from-10.1.0.0/16"));
        nft("delete element inet fairlead_forwards ports4 { tcp . 80 }");
        assert!(said(&mut nft_socket).contains("is not forwarded"));
        nft("add element inet fairlead_forwards ports4 { tcp . 80 : 10.9.9.9 . 80 }");
        assert!(said(&mut nft_socket).contains("that port is of \"\""));
    });
}

#[test]
fn loopback_is_let_out_only_while_the_guard_stands() {
    in_fresh_namespace(|| {
        // /proc/sys/net is that of the thread.
        let localnet = |value: Option<&str>| {
            let path = "/proc/sys/net/ipv4/conf/lo/route_localnet";
            value.map_or_else(
                || std::fs::read_to_string(path).unwrap(),
                |value| {
                    std::fs::write(path, value).unwrap();
                    String::new()
                },
            )
        };
        let mut nft = Nftables::open().unwrap();
        let one = [group(vec![forward(TCP, None, 80, "10.1.0.2:80")])];
        let two = [group(vec![forward(TCP, None, 81, "10.1.0.3:80")])];
        for (groups, owner) in [(&one, "one"), (&two, "two")] {
            assert_eq!(nft.forward(groups, Some("lo"), owner, never).unwrap(), None);
        }
        localnet(Some("1"));
        nft.unforward(None, |owner| owner == "one").unwrap();
        assert_eq!(localnet(None).trim(), "1", "there is a forward still");
        nft.unforward(None, |owner| owner == "two").unwrap();
        assert_eq!(localnet(None).trim(), "0");
        assert_eq!(ruleset(), "");
    });
}

#[test]
fn two_thousand_forwards_fit_and_so_do_many_at_once() {
    in_fresh_namespace(|| {
        let mut nft = Nftables::open().unwrap();
        let host: IpAddr = [10, 2, 0, 9].into();
        let many = |from: u16, count: u16| -> Vec<Forward> {
            (from..from + count)
                .map(|port| Forward { protocol: TCP, host: None, port, to: (host, port).into() })
                .collect()
        };
        for number in 0..500 {
            add(
                &mut nft,
                &[Group { masquerade: from("10.2.0.0/16"), ..group(many(1000 + number, 1)) }],
                &"o".repeat(128),
            );
        }
        add(&mut nft, &[Group { masquerade: from("10.2.0.0/16"), ..group(many(2000, 1500)) }], &"r".repeat(128));
        assert_eq!(nft.forwards().unwrap().len(), 2000);
        assert_eq!(nft.unforward(None, |owner| owner.starts_with('r')).unwrap().forwards.len(), 1500);
        assert_eq!(nft.forwards().unwrap().len(), 500);
    });
}

#[test]
fn owners_in_parallel_lose_nothing() {
    in_fresh_namespace(|| {
        std::thread::scope(|scope| {
            for worker in 0..8u16 {
                // The threads are made here: they are in this namespace.
                scope.spawn(move || {
                    let mut nft = Nftables::open().unwrap();
                    for number in 0..40u16 {
                        let one = |port: u16| [group(vec![forward(TCP, None, port, "10.1.0.2:80")])];
                        let (kept, gone) = (one(1000 + 100 * worker + number), one(3000 + 100 * worker + number));
                        add(&mut nft, &kept, "kept");
                        add(&mut nft, &gone, "gone");
                        assert_eq!(nft.unforward(Some(&gone), |owner| owner == "gone").unwrap().forwards.len(), 1);
                    }
                });
            }
        });
        let mut nft = Nftables::open().unwrap();
        let owners: Vec<String> = nft.forwards().unwrap().into_iter().map(|one| one.owner).collect();
        assert_eq!((owners.len(), owners.iter().filter(|owner| *owner == "kept").count()), (320, 320));
        nft.unforward(None, |_| true).unwrap();
        nft.leave();
        assert_eq!(ruleset(), "");
    });
}
