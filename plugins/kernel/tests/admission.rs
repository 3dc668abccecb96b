//! Admission in namespaces of the test's own, read back by `nft` and `iptables` and tried with packets.

mod stage;

use std::net::IpAddr;

use fairlead_kernel::nft::{Admission, Hint, Isolation, Nftables};

use stage::{Pod, in_fresh_namespace, reaches, ruleset, run, udp};

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn admission(texts: &[&str], owner: &str) -> Admission {
    let admin_chain = Some("CNI-ADMIN".to_owned());
    Admission { addresses: addresses(texts), owner: owner.to_owned(), admin_chain, isolation: None }
}

fn shut(bridge: &str, strict: bool, port: Option<&str>) -> Option<Isolation> {
    Some(Isolation { bridge: bridge.to_owned(), strict, port: port.map(str::to_owned) })
}

fn hint(texts: &[&str]) -> Hint {
    Hint { addresses: addresses(texts), ..Hint::default() }
}

/// Nothing of ours, and nothing of `ip filter` but what was there before.
fn assert_nothing_left() {
    assert_eq!(ruleset(), "");
}

#[test]
fn iptables_lists_saves_and_restores_what_was_written() {
    in_fresh_namespace(|| {
        let mut nft = Nftables::open().unwrap();
        nft.admit(&admission(&["10.1.0.2", "fd00:1::2"], "one")).unwrap();
        for tool in ["iptables", "ip6tables"] {
            let expected = "-P FORWARD ACCEPT\n-N CNI-ADMIN\n-N CNI-FORWARD\n\
                -A FORWARD -m comment --comment \"CNI firewall plugin rules\" -j CNI-FORWARD\n\
                -A CNI-FORWARD -m comment --comment \"CNI firewall plugin admin overrides\" -j CNI-ADMIN\n\
                -A CNI-FORWARD -m mark --mark 0xfa000000/0xff000000 -m comment --comment \"Fairlead: what pods send, and what \
                is answered to them\" -j ACCEPT\n";
            let listed = || run(&format!("{tool} -S | grep -v -e INPUT -e OUTPUT"));
            assert_eq!(listed(), expected);
            assert!(run(&format!("{tool} -nvL FORWARD")).contains("CNI firewall plugin rules"));
            // As the reference asks whether its rules are there.
            run(&format!("{tool} -C FORWARD -m comment --comment 'CNI firewall plugin rules' -j CNI-FORWARD"));
            run(&format!(
                "{tool} -C CNI-FORWARD -m comment --comment 'CNI firewall plugin admin overrides' -j CNI-ADMIN"
            ));
            run(&format!("{tool} -P FORWARD DROP; {tool} -A CNI-ADMIN -s 10.0.0.0/8 -j RETURN 2>/dev/null; true"));
            run(&format!("saved=$({tool}-save) && echo \"$saved\" | {tool}-restore"));
            assert!(listed().contains("-A CNI-FORWARD -m mark --mark 0xfa000000/0xff000000"), "{}", listed());
        }
        // Restored by somebody else, our rules are still recognised: none comes twice.
        assert_eq!(nft.admission_drifts(&admission(&["10.1.0.2", "fd00:1::2"], "one")).unwrap(), [""; 0]);
        nft.admit(&admission(&["10.1.0.3"], "two")).unwrap();
        assert_eq!(run("iptables -S | grep -c -e '-j CNI-FORWARD' -e '-j CNI-ADMIN' -e 'mark 0xfa'"), "3\n");
        nft.dismiss(None, |_| true).unwrap();
        let left = run("iptables -S; ip6tables -S");
        assert!(!left.contains("CNI-FORWARD") && left.contains("-P FORWARD DROP"), "{left}");
        assert!(left.contains("-A CNI-ADMIN -s 10.0.0.0/8 -j RETURN"), "the administrator's rule stays: {left}");
    });
}

#[test]
fn what_was_made_goes_with_the_last_address_and_what_others_made_stays() {
    in_fresh_namespace(|| {
        let mut nft = Nftables::open().unwrap();
        let one = admission(&["10.1.0.2", "fd00:1::2"], "one");
        nft.admit(&one).unwrap();
        nft.admit(&admission(&["10.1.0.3"], "two")).unwrap();
        assert_eq!(nft.dismiss(Some(&hint(&["10.1.0.2", "fd00:1::2"])), |owner| owner == "two").unwrap().len(), 0);
        assert_eq!(nft.dismiss(Some(&hint(&["10.1.0.2", "fd00:1::2"])), |owner| owner == "one").unwrap().len(), 2);
        assert_eq!(nft.dismiss(None, |owner| owner == "one").unwrap().len(), 0, "twice is no error");
        assert!(ruleset().contains("10.1.0.3 comment \"two\""), "{}", ruleset());
        assert_eq!(nft.dismiss(None, |owner| owner == "two").unwrap(), addresses(&["10.1.0.3"]));
        assert_nothing_left();

        run("iptables -P FORWARD DROP; iptables -A FORWARD -s 192.0.2.1 -j ACCEPT");
        run("iptables -N CNI-ADMIN; iptables -A CNI-ADMIN -d 192.0.2.2 -j DROP");
        let before = run("iptables -S");
        nft.admit(&admission(&["10.1.0.2"], "one")).unwrap();
        assert!(
            run("iptables -S FORWARD").starts_with("-P FORWARD DROP\n-A FORWARD -m comment"),
            "first, and still DROP"
        );
        nft.dismiss(None, |owner| owner == "one").unwrap();
        assert_eq!(run("iptables -S"), before);
        assert!(!ruleset().contains("fairlead"));
    });
}

#[test]
fn what_others_took_away_is_named_and_comes_back_with_the_next_address() {
    in_fresh_namespace(|| {
        let mut nft = Nftables::open().unwrap();
        let mut wanted = admission(&["10.1.0.2"], "one");
        wanted.isolation = shut("br0", true, Some("veth1"));
        let drifts = [
            ("iptables -F FORWARD", "iptables: chain FORWARD does not lead to CNI-FORWARD"),
            ("iptables -F CNI-FORWARD", "does not ask CNI-ADMIN"),
            ("iptables -F CNI-FORWARD", "does not accept what pods send"),
            ("iptables -D CNI-FORWARD 1; iptables -A CNI-FORWARD -m comment --comment x -j CNI-ADMIN", "too late"),
            ("nft flush chain inet fairlead_firewall admitted", "rules of table inet fairlead_firewall"),
            ("nft flush table inet fairlead_firewall", "rules of table inet fairlead_firewall"),
            ("nft flush table bridge fairlead_firewall", "rules of table bridge fairlead_firewall"),
            ("nft delete element inet fairlead_firewall pods4 { 10.1.0.2 }", "address 10.1.0.2 is not in table"),
            ("nft delete element inet fairlead_firewall within { br0 . br0 }", "bridge br0 is not shut"),
            ("nft delete element inet fairlead_firewall bridges { br0 }", "bridge br0 is not shut"),
            ("nft flush map inet fairlead_firewall members", "for whom bridge br0 is shut is not in table"),
            ("nft delete element bridge fairlead_firewall ports { veth1 }", "port veth1"),
            ("nft flush ruleset", "chain FORWARD does not lead to CNI-FORWARD"),
        ];
        for (drift, words) in drifts {
            nft.admit(&wanted).unwrap();
            assert_eq!(nft.admission_drifts(&wanted).unwrap(), [""; 0], "before `{drift}`");
            run(drift);
            let said = nft.admission_drifts(&wanted).unwrap().join("; ");
            assert!(said.contains(words), "after `{drift}`: {words:?} is not in {said:?}");
            if !drift.contains("-A CNI-FORWARD") && !drift.contains("element") && !drift.contains("map") {
                nft.admit(&admission(&["10.1.0.9"], "next")).unwrap();
                nft.dismiss(Some(&hint(&["10.1.0.9"])), |owner| owner == "next").unwrap();
                let said = nft.admission_drifts(&wanted).unwrap().join("; ");
                assert!(drift.contains("bridge") || drift.contains("ruleset") || said.is_empty(), "{drift}: {said}");
            }
            nft.dismiss(None, |_| true).unwrap();
            run("iptables -F CNI-FORWARD 2>/dev/null; nft flush ruleset");
        }
        nft.admit(&admission(&["10.1.0.2"], "two")).unwrap();
        assert!(nft.admission_drifts(&wanted).unwrap().join("; ").contains("belongs to somebody else: two"));
    });
}

#[test]
fn an_address_or_a_port_that_comes_again_has_its_new_owner() {
    in_fresh_namespace(|| {
        let mut nft = Nftables::open().unwrap();
        let mut old = admission(&["10.1.0.2"], "old");
        old.isolation = shut("br0", false, Some("veth1"));
        let mut new = admission(&["10.1.0.2"], "new");
        new.isolation = shut("br0", true, Some("veth1"));
        nft.admit(&old).unwrap();
        nft.admit(&new).unwrap();
        nft.admit(&new).unwrap();
        assert_eq!(nft.admission_drifts(&new).unwrap(), [""; 0]);
        assert!(!ruleset().contains("\"old\""), "{}", ruleset());
        assert_eq!(nft.dismiss(None, |owner| owner == "new").unwrap(), addresses(&["10.1.0.2"]));
        assert_nothing_left();
    });
}

#[test]
fn a_bridge_opens_with_the_last_for_whom_it_was_shut() {
    in_fresh_namespace(|| {
        let mut nft = Nftables::open().unwrap();
        for (owner, address, strict) in [("lax", "10.1.0.2", false), ("strict", "10.1.0.3", true)] {
            let mut wanted = admission(&[address], owner);
            wanted.isolation = shut("br0", strict, Some(owner));
            nft.admit(&wanted).unwrap();
        }
        let text = ruleset();
        run(
            "nft list table inet fairlead_firewall | nft -c -f -; nft list table bridge fairlead_firewall | nft -c -f -",
        );
        assert!(
            text.contains("\"br0\" . \"br0\" : drop") && text.contains("elements = { \"strict\" comment"),
            "{text}"
        );
        let at_br0 = Hint { bridge: Some("br0".into()), port: Some("strict".into()), ..hint(&["10.1.0.3"]) };
        nft.dismiss(Some(&at_br0), |owner| owner == "strict").unwrap();
        let text = ruleset();
        assert!(text.contains("\"br0\" . \"br0\" : accept") && !text.contains("table bridge"), "{text}");
        nft.dismiss(Some(&hint(&["10.1.0.2"])), |owner| owner == "lax").unwrap();
        assert_nothing_left();
    });
}

#[test]
fn a_bridge_that_is_shut_strictly_stays_so_for_who_asks_less() {
    in_fresh_namespace(|| {
        let mut nft = Nftables::open().unwrap();
        for (owner, address, strict) in [("strict", "10.1.0.3", true), ("lax", "10.1.0.2", false)] {
            let mut wanted = admission(&[address], owner);
            wanted.isolation = shut("br0", strict, Some(owner));
            nft.admit(&wanted).unwrap();
            assert_eq!(nft.admission_drifts(&wanted).unwrap(), [""; 0]);
        }
        assert!(ruleset().contains("\"br0\" . \"br0\" : drop"), "{}", ruleset());
        nft.dismiss(None, |owner| owner == "strict").unwrap();
        assert!(ruleset().contains("\"br0\" . \"br0\" : accept"), "{}", ruleset());
        nft.dismiss(None, |owner| owner == "lax").unwrap();
        assert_nothing_left();
    });
}

#[test]
fn tables_that_were_left_empty_go_with_the_next_removal() {
    in_fresh_namespace(|| {
        let mut nft = Nftables::open().unwrap();
        let mut wanted = admission(&["10.1.0.2"], "one");
        wanted.isolation = shut("br0", true, Some("veth1"));
        nft.admit(&wanted).unwrap();
        let inet = ["map pods4", "set bridges", "map within", "map members"]
            .map(|one| one.replace(' ', " inet fairlead_firewall "));
        for set in inet.iter().map(|one| &one[..]).chain(["set bridge fairlead_firewall ports"]) {
            run(&format!("nft flush {set}"));
        }
        assert_eq!(nft.dismiss(Some(&hint(&["10.1.0.2"])), |_| true).unwrap().len(), 0);
        assert_nothing_left();
    });
}

#[test]
fn owners_in_parallel_lose_nothing() {
    in_fresh_namespace(|| {
        std::thread::scope(|scope| {
            for worker in 0..20u8 {
                // The threads are made here: they are in this namespace.
                scope.spawn(move || {
                    let mut nft = Nftables::open().unwrap();
                    for number in 0..10u8 {
                        let kept = [format!("10.{worker}.0.{number}"), format!("fd00::{worker}:{number}")];
                        let [v4, v6] = [&kept[0][..], &kept[1][..]];
                        nft.admit(&admission(&[v4, v6], "kept")).unwrap();
                        let gone = format!("10.{worker}.1.{number}");
                        let mut wanted = admission(&[&gone], "gone");
                        wanted.isolation =
                            shut(&format!("br{}", worker % 3), number % 2 == 0, Some(&format!("v{worker}")));
                        nft.admit(&wanted).unwrap();
                        nft.dismiss(Some(&hint(&[&gone])), |owner| owner == "gone").unwrap();
                    }
                });
            }
        });
        let text = ruleset();
        assert_eq!(text.matches("comment \"kept\"").count(), 400);
        assert!(!text.contains("gone") && !text.contains("br0") && !text.contains("table bridge"), "{text}");
        assert_eq!(run("iptables -S | grep -c -e '-j CNI-FORWARD' -e '-j CNI-ADMIN' -e 'mark 0xfa'"), "3\n");
        let mut nft = Nftables::open().unwrap();
        assert_eq!(nft.dismiss(None, |_| true).unwrap().len(), 400);
        assert_nothing_left();
    });
}

/// Two bridges with two pods each, and a way out; the node forwards, and iptables lets nothing through.
fn stage() -> ([Pod; 4], Pod) {
    let pods = [("a1", "br0", 2), ("a2", "br0", 3), ("b1", "br1", 2), ("b2", "br1", 3)].map(|(name, bridge, last)| {
        let net = if bridge == "br0" { 1 } else { 2 };
        let pod = Pod::connected(name, bridge, &format!("10.{net}.0.{last}/24"), net * 16 + last);
        run(&format!("ip addr add 10.{net}.0.1/24 dev {bridge} 2>/dev/null || true"));
        pod.run(&format!("ip route add default via 10.{net}.0.1; ip addr add fd0{net}::{last}/64 dev eth0 nodad"));
        run(&format!("ip addr add fd0{net}::1/64 dev {bridge} nodad 2>/dev/null || true"));
        pod.run(&format!("ip route add default via fd0{net}::1"));
        pod
    });
    let outside = Pod::connected("out", "uplink", "192.0.2.2/24", 99);
    run("ip addr add 192.0.2.1/24 dev uplink; echo 1 > /proc/sys/net/ipv4/ip_forward");
    run("echo 1 > /proc/sys/net/ipv6/conf/all/forwarding");
    outside.run("ip route add default via 192.0.2.1");
    run("iptables -P FORWARD DROP; ip6tables -P FORWARD DROP");
    (pods, outside)
}

#[test]
fn what_pods_send_and_what_is_answered_passes_a_policy_of_drop_and_nothing_else() {
    in_fresh_namespace(|| {
        let (pods, outside) = stage();
        let [pod, other, far, out] = [pods[0].udp(), pods[2].udp(), pods[3].udp(), outside.udp()];
        assert!(!reaches(&pod, &out, "192.0.2.2"), "nothing is admitted yet");
        let mut nft = Nftables::open().unwrap();
        nft.admit(&admission(&["10.1.0.2", "fd01::2"], "one")).unwrap();
        assert!(reaches(&pod, &out, "192.0.2.2"));
        // The same connection, the other way round; and one that the outside begins.
        assert!(reaches(&out, &pod, "10.1.0.2"));
        let stranger = outside.udp();
        assert!(!reaches(&stranger, &pod, "10.1.0.2"), "as the reference: only what is answered");
        assert!(reaches(&pod, &other, "10.2.0.2") && reaches(&pod, &other, "fd02::2"));
        assert!(!reaches(&far, &other, "192.0.2.2"), "another pod is not admitted");
        assert!(!reaches(&far, &out, "192.0.2.2"), "another pod is not admitted");
        // What others wrote in the upper bits is theirs: it is kept, and not taken for our word.
        run("nft add table ip foreign; nft add chain ip foreign in '{ type filter hook prerouting priority 0; }'");
        run("nft add rule ip foreign in ip saddr 10.2.0.3 meta mark set 0x11000000");
        assert!(!reaches(&far, &out, "192.0.2.2"));
        run("nft add chain ip foreign post '{ type filter hook postrouting priority 0; }'");
        run("nft add rule ip foreign post ip saddr 10.1.0.2 meta mark 0 counter comment unmarked");
        let fresh = pods[0].udp();
        assert!(reaches(&fresh, &out, "192.0.2.2"));
        assert!(!run("nft list chain ip foreign post").contains("packets 0"), "the mark is gone behind FORWARD");

        run("iptables -I CNI-ADMIN -s 10.1.0.2 -d 192.0.2.2 -j DROP");
        assert!(!reaches(&pods[0].udp(), &out, "192.0.2.2"), "the administrator's word is the first");
        run("iptables -F CNI-ADMIN");
        nft.dismiss(None, |_| true).unwrap();
        assert!(!reaches(&pods[0].udp(), &out, "192.0.2.2"));
    });
}

#[test]
fn shut_bridges_are_shut_to_each_other_and_strict_ones_to_themselves() {
    in_fresh_namespace(|| {
        let (pods, outside) = stage();
        run("iptables -P FORWARD ACCEPT; ip6tables -P FORWARD ACCEPT");
        let udp_of = |pod: usize| pods[pod].udp();
        let between = |from: usize, to: usize, address: &str| reaches(&udp_of(from), &udp_of(to), address);
        let mut nft = Nftables::open().unwrap();
        let mut admit = |address: &str, six: &str, bridge: &str, strict: bool, port: &str| {
            let mut wanted = admission(&[address, six], port);
            wanted.isolation = shut(bridge, strict, Some(port));
            nft.admit(&wanted).unwrap();
        };
        admit("10.1.0.2", "fd01::2", "br0", false, "port-a1");
        assert!(between(0, 2, "10.2.0.2") && between(2, 0, "fd01::2"), "the other bridge is open");
        admit("10.2.0.2", "fd02::2", "br1", true, "port-b1");
        for (from, to, address) in [(0, 2, "10.2.0.2"), (2, 0, "10.1.0.2"), (0, 2, "fd02::2"), (3, 1, "10.1.0.3")] {
            assert!(!between(from, to, address), "{from} reaches {to} on another shut bridge");
        }
        assert!(between(0, 1, "10.1.0.3"), "the same bridge");
        assert!(!between(2, 3, "10.2.0.3") && !between(3, 2, "10.2.0.2"), "isolated within its bridge");
        assert!(!between(2, 3, "fd02::3"), "isolated within its bridge, IPv6");
        let node = udp();
        assert!(reaches(&node, &udp_of(2), "10.2.0.2"), "the node reaches its pods");
        assert!(reaches(&udp_of(2), &node, "10.2.0.1"), "and they reach the node");
        let out = outside.udp();
        assert!(reaches(&udp_of(2), &out, "192.0.2.2") && reaches(&out, &udp_of(0), "10.1.0.2"), "the rest is open");
        nft.dismiss(None, |_| true).unwrap();
        assert!(between(0, 2, "10.2.0.2") && between(2, 3, "10.2.0.3"), "open again");
    });
}
