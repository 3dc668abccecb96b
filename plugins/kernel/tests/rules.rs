//! The nf_tables base in namespaces of the test's own: what it writes is read back by `nft`, what `nft` and iptables-nft
//! write is read by it.

use std::process::Command;

use fairlead_kernel::nft::{
    Base, Data, Element, Expressions, Family, Hook, Leads, Load, Nftables, Part, Set, Table, Transaction, Type, Verdict,
};
use nix::sched::{CloneFlags, unshare};

const TABLE: Table = Table::new(Family::Inet, "t");
const FORWARDS4: Set = Set {
    table: TABLE,
    name: "forwards4",
    key: &[Type::Protocol, Type::Port],
    leads: Leads::ToValues(&[Type::Ipv4, Type::Port]),
};
const FORWARDS6: Set = Set {
    table: TABLE,
    name: "forwards6",
    key: &[Type::Ipv6, Type::Protocol, Type::Port],
    leads: Leads::ToValues(&[Type::Ipv6, Type::Port]),
};
const PORTS: Set = Set { table: TABLE, name: "ports", key: &[Type::Interface, Type::Ipv4], leads: Leads::Nowhere };
const MARKS: Set = Set { table: TABLE, name: "marks", key: &[Type::Mark], leads: Leads::ToVerdicts };

/// Runs `work` on a thread of its own, in a fresh network namespace that goes with the thread.
fn in_fresh_namespace(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("unshare the network namespace: are you root?");
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

fn forward(key: Vec<Part>, to: &str, port: u16) -> Element {
    let data = Data::Value(vec![Part::Address(to.parse().unwrap()), Part::Port(port)]);
    Element { key, data, comment: "whose".into() }
}

#[test]
fn nft_reads_every_expression_as_it_was_meant() {
    in_fresh_namespace(|| {
        let start = Expressions::default;
        let (v4, v6) = ("10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap());
        let nat = |rule: Expressions| (rule, "nat");
        let filter = |rule: Expressions| (rule, "filter");
        let rules = [
            (
                nat(start().destination_is_local().dnat_map(&FORWARDS4, &[Load::Protocol, Load::DestinationPort])),
                "fib daddr type local dnat ip to meta l4proto . th dport map @forwards4",
            ),
            (
                nat(start()
                    .family(v6)
                    .dnat_map(&FORWARDS6, &[Load::DestinationV6, Load::Protocol, Load::DestinationPort])),
                "dnat ip6 to ip6 daddr . meta l4proto . th dport map @forwards6",
            ),
            (
                nat(start().family(v4).is(Load::Protocol, &Part::Protocol(6)).dnat("10.0.0.1:80".parse().unwrap())),
                "meta nfproto ipv4 meta l4proto tcp dnat ip to 10.0.0.1:80",
            ),
            (
                filter(start().family(v4).in_set(&PORTS, &[Load::InputName, Load::SourceV4]).verdict(&Verdict::Accept)),
                "iifname . ip saddr @ports accept",
            ),
            (
                filter(
                    start()
                        .family(v4)
                        .not_in_set(&PORTS, &[Load::OutputName, Load::DestinationV4])
                        .verdict(&Verdict::Drop),
                ),
                "oifname . ip daddr != @ports drop",
            ),
            (filter(start().verdict_map(&MARKS, &[Load::Mark])), "meta mark vmap @marks"),
            (
                filter(start().any_of(Load::CtState, Load::ESTABLISHED | Load::RELATED).verdict(&Verdict::Accept)),
                "ct state established,related accept",
            ),
            (filter(start().any_of(Load::CtStatus, Load::DNAT).verdict(&Verdict::Return)), "ct status dnat return"),
            (
                filter(start().is(Load::CtDestinationV4, &Part::Address(v4)).counter()),
                "ct original ip daddr 10.0.0.1 counter packets 0 bytes 0",
            ),
            (filter(start().set_mark(0x2000, 0x2000)), "meta mark set meta mark | 0x00002000"),
            (filter(start().set_mark(0x2000, 0)), "meta mark set meta mark & 0xffffdfff"),
            (
                filter(start().none_of(Load::Mark, 0x2000).verdict(&Verdict::Return)),
                "meta mark & 0x00002000 == 0x00000000 return",
            ),
            (
                filter(
                    start()
                        .is_not(Load::InputName, &Part::Interface("lo".into()))
                        .family(v6)
                        .source_in("fd00::/64".parse().unwrap())
                        .verdict(&Verdict::Jump("other".into()))
                        .comment("why"),
                ),
                "iifname != \"lo\" ip6 saddr fd00::/64 jump other comment \"why\"",
            ),
        ];
        let mut all = Transaction::default()
            .new_table(TABLE)
            .base_chain(TABLE, "nat", Base::nat(Hook::Prerouting, -100))
            .base_chain(TABLE, "filter", Base::filter(Hook::Forward, -10))
            .new_chain(TABLE, "other");
        for set in [&FORWARDS4, &FORWARDS6, &PORTS, &MARKS] {
            all = all.set(set);
        }
        for ((rule, chain), _) in &rules {
            all = all.append_rule(TABLE, chain, rule);
        }
        let mut nft = Nftables::open().unwrap();
        nft.commit(&all).unwrap();
        let seen = run("nft", &["list", "ruleset"]);
        for (_, text) in &rules {
            assert!(seen.lines().any(|line| line.trim() == *text), "no `{text}` in\n{seen}");
        }
    });
}

#[test]
fn elements_of_every_kind_are_written_found_listed_and_deleted() {
    in_fresh_namespace(|| {
        let mut nft = Nftables::open().unwrap();
        let forward4 = forward(vec![Part::Protocol(6), Part::Port(8080)], "10.0.0.1", 80);
        let key6 = vec![Part::Address("fd00::9".parse().unwrap()), Part::Protocol(17), Part::Port(53)];
        let forward6 = forward(key6, "fd00::1", 5353);
        let port = Element {
            key: vec![Part::Interface("eth0".into()), Part::Address("10.0.0.1".parse().unwrap())],
            data: Data::Nothing,
            comment: String::new(),
        };
        let mark =
            Element { key: vec![Part::Mark(7)], data: Data::Verdict(Verdict::Goto("c".into())), comment: "x".into() };
        let all = [(&FORWARDS4, &forward4), (&FORWARDS6, &forward6), (&PORTS, &port), (&MARKS, &mark)];
        for (set, element) in all {
            assert_eq!(nft.element(set, &element.key).unwrap(), None);
            assert_eq!(nft.elements(set).unwrap(), []);
        }
        let tables = Transaction::default().new_table(TABLE).new_chain(TABLE, "c");
        let transaction = all.into_iter().fold(tables, |all, (set, element)| all.set(set).new_element(set, element));
        nft.commit(&transaction).unwrap();
        let seen = run("nft", &["list", "ruleset"]);
        for text in [
            "tcp . 8080 comment \"whose\" : 10.0.0.1 . 80",
            "fd00::9 . udp . 53 comment \"whose\" : fd00::1 . 5353",
            "\"eth0\" . 10.0.0.1",
            "0x00000007 comment \"x\" : goto c",
        ] {
            assert!(seen.contains(text), "no `{text}` in\n{seen}");
        }
        for (set, element) in all {
            assert_eq!(nft.element(set, &element.key).unwrap().as_ref(), Some(element));
            assert_eq!(nft.elements(set).unwrap(), std::slice::from_ref(element));
            assert!(nft.any_element(set, |_| true).unwrap() && !nft.any_element(set, |_| false).unwrap());
            assert!(nft.commit(&Transaction::default().new_element(set, element)).is_err());
            nft.commit(&Transaction::default().ensure_element(set, element).delete_element(set, &element.key)).unwrap();
            assert!(!nft.any_element(set, |_| true).unwrap());
        }
        nft.commit(&Transaction::default().delete_set(&PORTS).delete_table(TABLE)).unwrap();
        assert_eq!(run("nft", &["list", "ruleset"]), "");
    });
}

#[test]
fn rules_that_iptables_nft_wrote_are_recognised_and_removed_by_handle() {
    in_fresh_namespace(|| {
        run("iptables-nft", &["-t", "nat", "-N", "CNI-abc"]);
        let post = ["-t", "nat", "-A", "POSTROUTING", "-s"];
        for (source, comment) in [("10.1.0.2", "name: \"net\" id: \"one\""), ("10.1.0.0/16", "other")] {
            let rest = ["-m", "comment", "--comment", comment, "-j", "CNI-abc"];
            run("iptables-nft", &[&post[..], &[source], &rest].concat());
        }
        run(
            "iptables-nft",
            &[
                "-A",
                "FORWARD",
                "-d",
                "10.1.0.2/32",
                "-i",
                "cni0",
                "!",
                "-o",
                "cni0",
                "-m",
                "conntrack",
                "--ctstate",
                "RELATED,ESTABLISHED",
                "-j",
                "ACCEPT",
            ],
        );
        run("ip6tables-nft", &["-A", "FORWARD", "-s", "fd00::2", "-d", "fd00::/60", "-o", "eth+", "-j", "DROP"]);
        let (nat, filter) = (Table::new(Family::Ip, "nat"), Table::new(Family::Ip, "filter"));
        let mut nft = Nftables::open().unwrap();
        let rules = nft.rules(nat, Some("POSTROUTING")).unwrap();
        let seen: Vec<_> = rules
            .iter()
            .map(|rule| (rule.source().unwrap().to_string(), rule.comment.clone().unwrap(), rule.leads_to()))
            .collect();
        assert_eq!(
            seen,
            [
                ("10.1.0.2/32".to_owned(), "name: \"net\" id: \"one\"".to_owned(), Some("CNI-abc")),
                ("10.1.0.0/16".to_owned(), "other".to_owned(), Some("CNI-abc")),
            ]
        );
        let forward = &nft.rules(filter, None).unwrap()[0];
        assert_eq!((forward.chain.as_str(), forward.verdict.clone()), ("FORWARD", Some(Verdict::Accept)));
        assert_eq!((forward.source(), forward.destination()), (None, Some("10.1.0.2/32".parse().unwrap())));
        assert_eq!((forward.input(), forward.output()), (Some("cni0".into()), None), "not that way out");
        assert!(forward.expressions.contains(&"conntrack".to_owned()), "{forward:?}");
        let forward = &nft.rules(Table::new(Family::Ip6, "filter"), Some("FORWARD")).unwrap()[0];
        assert_eq!(forward.source(), Some("fd00::2/128".parse().unwrap()));
        assert_eq!(forward.destination(), Some("fd00::/60".parse().unwrap()));
        assert_eq!(forward.output(), None, "the beginning of a name is no name");

        let delete =
            rules.iter().fold(Transaction::default(), |all, rule| all.delete_rule(nat, &rule.chain, rule.handle));
        nft.commit(&delete.delete_chain(nat, "CNI-abc")).unwrap();
        assert_eq!(
            nft.exist([(nat, None), (nat, Some("CNI-abc")), (filter, Some("FORWARD")), (TABLE, None)]).unwrap(),
            [true, false, true, false]
        );
        assert!(!run("iptables-nft", &["-t", "nat", "-S"]).contains("CNI-abc"));
    });
}

#[test]
fn rules_written_here_are_read_by_iptables_nft() {
    in_fresh_namespace(|| {
        run("iptables-nft", &["-P", "FORWARD", "DROP"]);
        let filter = Table::new(Family::Ip, "filter");
        let start = Expressions::default;
        let accept = start().any_of(Load::Mark, 0x2000).counter().verdict(&Verdict::Accept);
        let entry =
            start().xt_comment("CNI firewall plugin rules").counter().verdict(&Verdict::Jump("CNI-FORWARD".into()));
        let transaction = Transaction::default()
            .ensure_chain(filter, "CNI-FORWARD")
            .append_rule(filter, "CNI-FORWARD", &accept)
            .insert_rule(filter, "FORWARD", &entry);
        let mut nft = Nftables::open().unwrap();
        nft.commit(&transaction).unwrap();
        let seen = run("iptables-nft", &["-S"]);
        for line in [
            "-A FORWARD -m comment --comment \"CNI firewall plugin rules\" -j CNI-FORWARD",
            "-A CNI-FORWARD -m mark ! --mark 0x0/0x2000 -j ACCEPT",
        ] {
            assert!(seen.lines().any(|seen| seen == line), "no `{line}` in\n{seen}");
        }
        let rule = &nft.rules(filter, Some("FORWARD")).unwrap()[0];
        assert_eq!(rule.comment.as_deref(), Some("CNI firewall plugin rules"));
    });
}

#[test]
fn a_rule_goes_where_it_was_told_and_a_busy_chain_stays() {
    in_fresh_namespace(|| {
        let mut nft = Nftables::open().unwrap();
        let rule = |text: &str| Expressions::default().verdict(&Verdict::Jump("to".into())).comment(text);
        let table = Table::new(Family::Bridge, "t");
        let transaction = Transaction::default()
            .ensure_table(table)
            .ensure_table(table)
            .base_chain(table, "pre", Base::filter(Hook::Prerouting, -300))
            .new_chain(table, "to")
            .append_rule(table, "pre", &rule("second"))
            .append_rule(table, "pre", &rule("third"))
            .insert_rule(table, "pre", &rule("first"));
        nft.commit(&transaction).unwrap();
        let comments = |nft: &mut Nftables| -> Vec<String> {
            nft.rules(table, Some("pre")).unwrap().into_iter().filter_map(|rule| rule.comment).collect()
        };
        assert_eq!(comments(&mut nft), ["first", "second", "third"]);
        let third = nft.rules(table, None).unwrap()[2].handle;
        nft.commit(&Transaction::default().insert_rule_before(table, "pre", third, &rule("between"))).unwrap();
        assert_eq!(comments(&mut nft), ["first", "second", "between", "third"]);
        let chains = nft.chains(table).unwrap();
        assert!(chains.iter().any(|chain| chain.name == "pre" && chain.is_at(Hook::Prerouting, -300)), "{chains:?}");
        assert!(nft.commit(&Transaction::default().delete_chain(table, "to")).is_err());
        nft.commit(&Transaction::default().flush_chain(table, "pre").delete_chain(table, "to")).unwrap();
        assert_eq!(nft.rules(table, None).unwrap(), []);
    });
}
