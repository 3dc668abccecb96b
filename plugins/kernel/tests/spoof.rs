//! Anti-spoofing in namespaces of the test's own, read back by `nft` and tried with frames.

mod stage;

use std::process::Command;

use fairlead_kernel::Mac;
use fairlead_kernel::nft::{Nftables, Protected};

use stage::{in_fresh_namespace, reaches, ruleset, run};

fn mac(last: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, last])
}

#[test]
fn nft_reads_what_was_written_and_the_table_goes_with_its_last_port() {
    in_fresh_namespace(|| {
        let mut nft = Nftables::open().unwrap();
        nft.protect("veth0123456789a", mac(1), "one").unwrap();
        nft.protect("veth2", mac(2), "two").unwrap();
        let text = ruleset();
        for line in [
            "table bridge fairlead_spoof",
            "type filter hook prerouting priority dstnat; policy accept;",
            "iifname . ether saddr @allowed accept",
            "iifname @ports drop",
            "\"veth0123456789a\" comment \"one\" : 02:00:00:00:00:01",
            "\"veth0123456789a\" . 02:00:00:00:00:01",
            "\"veth2\" comment \"two\" : 02:00:00:00:00:02",
        ] {
            assert!(text.contains(line), "no `{line}` in\n{text}");
        }
        let one = Protected { port: "veth0123456789a".into(), mac: mac(1), owner: "one".into() };
        assert_eq!(nft.protected_on("veth0123456789a").unwrap(), Some(one.clone()));
        assert_eq!(nft.protected_on("veth3").unwrap(), None);
        assert_eq!(nft.protected().unwrap().len(), 2);
        let hint = [one.port.clone()];
        assert_eq!(nft.unprotect(Some(&hint), |owner| owner == "two").unwrap(), 0, "somebody else's");
        assert_eq!(nft.unprotect(Some(&hint), |owner| owner == "one").unwrap(), 1);
        assert_eq!(nft.unprotect(Some(&hint), |owner| owner == "one").unwrap(), 0, "twice is no error");
        assert!(!ruleset().contains("veth0123456789a"), "{}", ruleset());
        assert_eq!(nft.unprotect(None, |owner| owner == "two").unwrap(), 1);
        assert_eq!(ruleset(), "");
        assert_eq!(nft.unprotect(None, |_| true).unwrap(), 0);
    });
}

#[test]
fn a_port_that_comes_again_has_its_new_address_and_owner() {
    in_fresh_namespace(|| {
        let mut nft = Nftables::open().unwrap();
        nft.protect("veth1", mac(1), "old").unwrap();
        nft.protect("veth1", mac(2), "new").unwrap();
        let text = ruleset();
        assert!(!text.contains("02:00:00:00:00:01"), "the old address is no longer allowed:\n{text}");
        let found = nft.protected_on("veth1").unwrap().unwrap();
        assert_eq!((found.mac, &found.owner[..]), (mac(2), "new"));
    });
}

#[test]
fn a_check_that_somebody_took_half_away_is_noticed_healed_and_removed() {
    in_fresh_namespace(|| {
        let mut nft = Nftables::open().unwrap();
        let drifts = [
            "nft flush table bridge fairlead_spoof",
            "nft delete element bridge fairlead_spoof ports { veth1 }",
            "nft delete element bridge fairlead_spoof allowed { veth1 . 02:00:00:00:00:01 }",
            "nft delete table bridge fairlead_spoof",
        ];
        for drift in drifts {
            nft.protect("veth1", mac(1), "one").unwrap();
            run(drift);
            assert_eq!(nft.protected_on("veth1").unwrap(), None, "after `{drift}`");
            nft.protect("veth1", mac(1), "one").unwrap();
            assert!(nft.protected_on("veth1").unwrap().is_some(), "after `{drift}` and again");
            nft.unprotect(Some(&["veth1".into()]), |owner| owner == "one").unwrap();
            assert_eq!(ruleset(), "", "after `{drift}`");
        }
    });
}

#[test]
fn a_table_that_was_left_empty_goes_with_the_next_removal() {
    in_fresh_namespace(|| {
        let mut nft = Nftables::open().unwrap();
        nft.protect("veth1", mac(1), "one").unwrap();
        for set in
            ["set bridge fairlead_spoof allowed", "set bridge fairlead_spoof ports", "map bridge fairlead_spoof own"]
        {
            run(&format!("nft flush {set}"));
        }
        assert_eq!(nft.unprotect(Some(&["veth1".into()]), |_| true).unwrap(), 0);
        assert_eq!(ruleset(), "");
    });
}

#[test]
fn owners_in_parallel_lose_nothing() {
    in_fresh_namespace(|| {
        std::thread::scope(|scope| {
            for worker in 0..8u8 {
                // The threads are made here: they are in this namespace.
                scope.spawn(move || {
                    let mut nft = Nftables::open().unwrap();
                    for number in 0..20u8 {
                        let port = format!("v{worker}-{number}");
                        nft.protect(&port, Mac([2, 0, 0, 0, worker, number]), "kept").unwrap();
                        nft.protect("shared", mac(worker), "gone").unwrap();
                        nft.unprotect(Some(&["shared".into()]), |owner| owner == "gone").unwrap();
                    }
                });
            }
        });
        let mut nft = Nftables::open().unwrap();
        let kept = nft.protected().unwrap();
        assert_eq!((kept.len(), kept.iter().filter(|one| one.owner == "kept").count()), (160, 160));
        assert_eq!(nft.unprotect(None, |_| true).unwrap(), 160);
        assert_eq!(ruleset(), "");
    });
}

#[test]
fn frames_with_another_source_address_do_not_come_in() {
    in_fresh_namespace(|| {
        // Two pods on a bridge, each in a namespace of its own.
        let pods = [("a", 1), ("b", 2)].map(|(name, last)| stage::Pod::on_bridge(name, last));
        let [a, b] = [pods[0].udp(), pods[1].udp()];
        let reaches = || reaches(&a, &b, "10.9.0.2");
        assert!(reaches(), "nothing is checked yet");
        let mut nft = Nftables::open().unwrap();
        nft.protect(&pods[0].port, mac(1), "one").unwrap();
        assert!(reaches(), "its own address");
        pods[0].run("ip link set eth0 address 02:00:00:00:00:77");
        pods[1].run("ip neigh flush all");
        assert!(!reaches(), "somebody else's address");
        let learned = Command::new("bridge").args(["fdb", "show"]).output().unwrap();
        assert!(!String::from_utf8_lossy(&learned.stdout).contains("00:77"), "the bridge must not learn it");
        nft.protect(&pods[0].port, mac(0x77), "one").unwrap();
        // Whom it asked for in vain it asks for again after a second only.
        pods[0].run("ip neigh flush all");
        assert!(reaches(), "its new own address");
    });
}
