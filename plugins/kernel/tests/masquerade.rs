//! Masquerade in namespaces of the test's own, read back by `nft`.

mod stage;

use std::process::Command;

use fairlead_kernel::nft::{Masqueraded, Nftables, TABLE};
use ipnet::IpNet;
use stage::{in_fresh_namespace, ruleset};

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn nft_reads_what_was_written_and_the_table_goes_with_its_last_element() {
    in_fresh_namespace(|| {
        let mut nft = Nftables::open().unwrap();
        nft.probe().unwrap();
        nft.masquerade(&nets(&["10.1.0.2/16", "fd00:1::2/64"]), "one").unwrap();
        nft.masquerade(&nets(&["10.1.0.3/16"]), "two").unwrap();
        nft.masquerade(&nets(&["10.2.0.3/24"]), "three").unwrap();
        let text = ruleset();
        for line in [
            "type nat hook postrouting priority srcnat; policy accept;",
            "ip saddr vmap @pods4",
            "ip6 saddr vmap @pods6",
            "10.1.0.2 comment \"one\" : goto from-10.1.0.0/16",
            "10.1.0.3 comment \"two\" : goto from-10.1.0.0/16",
            "fd00:1::2 comment \"one\" : goto from-fd00_1__/64",
            "ip daddr 10.1.0.0/16 return",
            "ip daddr 224.0.0.0/4 return",
            "ip6 daddr fd00:1::/64 return",
            "ip6 daddr ff00::/8 return",
            "masquerade",
        ] {
            assert!(text.contains(line), "no `{line}` in\n{text}");
        }
        let hint = ["10.1.0.2".parse().unwrap(), "fd00:1::2".parse().unwrap()];
        assert_eq!(nft.unmasquerade(Some(&hint), |owner| owner == "two").unwrap(), 0, "somebody else's");
        assert_eq!(nft.unmasquerade(Some(&hint), |owner| owner == "one").unwrap(), 2);
        assert_eq!(nft.unmasquerade(Some(&hint), |owner| owner == "one").unwrap(), 0, "twice is no error");
        assert_eq!(nft.unmasquerade(None, |owner| owner == "two").unwrap(), 1);
        assert_eq!(nft.masqueraded().unwrap().len(), 1);
        assert_eq!(nft.unmasquerade(None, |owner| owner == "three").unwrap(), 1);
        assert_eq!(ruleset(), "");
    });
}

#[test]
fn an_address_that_comes_again_has_its_new_owner() {
    in_fresh_namespace(|| {
        let mut nft = Nftables::open().unwrap();
        let address = nets(&["10.1.0.2/16"]);
        nft.masquerade(&address, "old").unwrap();
        nft.masquerade(&address, "new").unwrap();
        assert_eq!(nft.masqueraded().unwrap(), [Masqueraded { address: address[0].addr(), owner: "new".into() }]);
        assert_eq!(nft.masqueraded_by(address[0].addr()).unwrap().as_deref(), Some("new"));
        assert_eq!(nft.masqueraded_by("10.9.9.9".parse().unwrap()).unwrap(), None);
    });
}

#[test]
fn a_comment_longer_than_nft_reads_is_cut_and_two_thousand_addresses_fit() {
    in_fresh_namespace(|| {
        let mut nft = Nftables::open().unwrap();
        nft.masquerade(&nets(&["10.1.0.2/16"]), &"ä".repeat(100)).unwrap();
        assert!(ruleset().contains(&"ä".repeat(64)));
        for number in 0..2000u16 {
            let [high, low] = number.to_be_bytes();
            nft.masquerade(&[IpNet::new([10, 2, high, low].into(), 16).unwrap()], "many").unwrap();
        }
        assert_eq!(nft.masqueraded().unwrap().len(), 2001);
        assert_eq!(nft.unmasquerade(Some(&["10.2.0.9".parse().unwrap()]), |owner| owner == "many").unwrap(), 1);
        assert_eq!(nft.unmasquerade(None, |owner| owner == "many").unwrap(), 1999);
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
                    for number in 0..50u8 {
                        let address = [IpNet::new([10, worker, 0, number].into(), 16).unwrap()];
                        nft.masquerade(&address, "kept").unwrap();
                        nft.masquerade(&[IpNet::new([10, worker, 1, number].into(), 16).unwrap()], "gone").unwrap();
                        nft.unmasquerade(Some(&[[10, worker, 1, number].into()]), |owner| owner == "gone").unwrap();
                    }
                });
            }
        });
        let mut nft = Nftables::open().unwrap();
        let kept = nft.masqueraded().unwrap();
        assert_eq!((kept.len(), kept.iter().filter(|one| one.owner == "kept").count()), (400, 400));
        assert!(ruleset().contains(TABLE));
    });
}

#[test]
fn an_empty_table_goes_with_the_next_removal_and_owners_who_leave_at_once_leave_none() {
    in_fresh_namespace(|| {
        let mut nft = Nftables::open().unwrap();
        nft.masquerade(&nets(&["10.1.0.2/16"]), "one").unwrap();
        let emptied = Command::new("nft").args(["flush", "map", "inet", TABLE, "pods4"]).status().unwrap();
        assert!(emptied.success() && ruleset().contains(TABLE));
        assert_eq!(nft.unmasquerade(Some(&["10.1.0.2".parse().unwrap()]), |owner| owner == "one").unwrap(), 0);
        assert_eq!(ruleset(), "");
        for _ in 0..20 {
            let all: Vec<_> = (2..10u8).map(|number| IpNet::new([10, 1, 0, number].into(), 16).unwrap()).collect();
            std::thread::scope(|scope| {
                for address in &all {
                    scope.spawn(move || Nftables::open().unwrap().masquerade(&[*address], "one").unwrap());
                }
            });
            assert_eq!(nft.masqueraded().unwrap().len(), 8);
            std::thread::scope(|scope| {
                for address in &all {
                    scope.spawn(move || {
                        let gone = Nftables::open().unwrap().unmasquerade(Some(&[address.addr()]), |_| true).unwrap();
                        assert_eq!(gone, 1);
                    });
                }
            });
            assert_eq!(ruleset(), "");
        }
    });
}
