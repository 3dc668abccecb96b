//! Every deed beside somebody who commits to a table of his own without a pause: each of his commits ends a generation of
//! the ruleset, and nobody of ours may starve of it.

mod stage;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use fairlead_kernel::Mac;
use fairlead_kernel::nft::{
    Admission, Conditions, Data, Element, Family, Forward, Forwarded, Group, Hint, Isolation, Leads, Masquerade,
    Nftables, Part, Set, Standing, Table, Transaction, Type,
};
use ipnet::IpNet;
use stage::{in_fresh_namespace, ruleset};

const ROUNDS: u8 = 50;
const FOREIGN: Table = Table::new(Family::Ip, "foreign");
const PORTS: Set = Set { table: FOREIGN, name: "ports", key: &[Type::Port], leads: Leads::Nowhere };

/// Commits until it is told to stop; how often it did.
fn commit_on_and_on(stop: &AtomicBool) -> u32 {
    let mut nft = Nftables::open().unwrap();
    nft.commit(&Transaction::default().ensure_table(FOREIGN).set(&PORTS)).unwrap();
    let key = vec![Part::Port(80)];
    let element = Element { key: key.clone(), data: Data::Nothing, comment: String::new() };
    let both =
        [Transaction::default().new_element(&PORTS, &element), Transaction::default().delete_element(&PORTS, &key)];
    let mut commits = 0;
    while !stop.load(Ordering::Relaxed) {
        for transaction in &both {
            nft.commit(transaction).unwrap();
            commits += 1;
        }
    }
    nft.commit(&Transaction::default().delete_table(FOREIGN)).unwrap();
    commits
}

/// `deed` with the number of each round, beside constant commits of others; `last` when they are over. Nothing may be left.
fn beside_constant_commits(deed: impl Fn(&mut Nftables, u8) + Send + 'static, last: fn(&mut Nftables)) {
    in_fresh_namespace(move || {
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let stop = AtomicBool::new(false);
        let mut nft = Nftables::open().unwrap();
        let commits = std::thread::scope(|scope| {
            // The thread is made here: it is in this namespace.
            let other = scope.spawn(|| commit_on_and_on(&stop));
            {
                let _stop = Stop(&stop);
                (0..ROUNDS).for_each(|round| deed(&mut nft, round));
            }
            other.join().unwrap()
        });
        println!("beside {commits} commits of others");
        assert!(commits > u32::from(ROUNDS), "others committed only {commits} times");
        last(&mut nft);
        assert_eq!(ruleset(), "");
    });
}

fn mine(owner: &str) -> bool {
    owner == "mine"
}

#[test]
fn masquerade() {
    let address = |round: u8, last: u8| IpNet::new([10, 1, round, last].into(), 24).unwrap();
    beside_constant_commits(
        move |nft, round| {
            let (own, kept) = (address(round, 2), address(round, 3));
            for owner in ["old", "mine"] {
                nft.masquerade(&[own], owner).unwrap();
            }
            nft.masquerade(&[kept], "kept").unwrap();
            assert_eq!(nft.unmasquerade(Some(&[own.addr()]), mine).unwrap(), 1);
            nft.masquerade(&[own, address(round, 4)], "mine").unwrap();
            assert_eq!(nft.unmasquerade(None, mine).unwrap(), 2);
            assert_eq!(nft.masqueraded_by(kept.addr()).unwrap().as_deref(), Some("kept"));
            // Now and then the last one goes, and the table with it if it can.
            if round % 2 == 1 {
                assert_eq!(nft.unmasquerade(None, |owner| owner == "kept").unwrap(), 2);
                assert_eq!(nft.masqueraded().unwrap(), []);
            }
        },
        |nft| assert_eq!(nft.unmasquerade(None, |_| true).unwrap(), 0),
    );
}

#[test]
fn what_has_a_new_owner_by_now_is_not_taken_away() {
    let all: Vec<IpNet> = (0..40u8).map(|last| IpNet::new([10, 1, 0, last].into(), 24).unwrap()).collect();
    beside_constant_commits(
        move |nft, _| {
            nft.masquerade(&all, "mine").unwrap();
            std::thread::scope(|scope| {
                let collected = scope.spawn(|| Nftables::open().unwrap().unmasquerade(None, mine).unwrap());
                // From the last: those are listed, and not yet looked at.
                for address in all.iter().rev() {
                    nft.masquerade(std::slice::from_ref(address), "new").unwrap();
                }
                assert!(collected.join().unwrap() <= all.len());
            });
            let left = nft.masqueraded().unwrap();
            assert!(left.len() == all.len() && left.iter().all(|one| one.owner == "new"), "{left:?}");
            assert_eq!(nft.unmasquerade(None, |owner| owner == "new").unwrap(), all.len());
        },
        |nft| assert_eq!(nft.unmasquerade(None, |_| true).unwrap(), 0),
    );
}

#[test]
fn forwards() {
    let group = |ports: &[u16]| {
        let to = |port: &u16| Forward { protocol: 6, host: None, port: *port, to: ([10, 1, 0, 2], 80).into() };
        let masquerade = Masquerade::From("10.1.0.2/16".parse().unwrap());
        Group { forwards: ports.iter().map(to).collect(), conditions: Conditions::default(), masquerade, bit: 13 }
    };
    beside_constant_commits(
        move |nft, round| {
            let port = 1000 + 10 * u16::from(round);
            let yields = |there: &Forwarded| if mine(&there.owner) { Standing::Yields } else { Standing::Stays };
            let (own, kept) = ([group(&[port, port + 1])], [group(&[port + 2])]);
            assert_eq!(nft.forward(&kept, None, "kept", yields).unwrap(), None);
            assert_eq!(nft.forward(&own, None, "mine", yields).unwrap(), None);
            // The same again, and one more in the place of one: what was there yields.
            let again = [group(&[port, port + 3])];
            assert_eq!(nft.forward(&again, None, "mine", yields).unwrap(), None);
            let taken = nft.forward(&again, None, "other", |_| Standing::Stays).unwrap();
            assert_eq!(taken.unwrap().owner, "mine");
            assert_eq!(nft.unforward(Some(&again), mine).unwrap().forwards.len(), 2);
            assert_eq!(nft.forward(&own, None, "mine", yields).unwrap(), None);
            assert_eq!(nft.unforward(None, mine).unwrap().forwards.len(), 2);
            assert!(nft.forwards().unwrap().iter().all(|one| one.owner == "kept"));
            if round % 2 == 1 {
                assert_eq!(nft.unforward(None, |owner| owner == "kept").unwrap().forwards.len(), 2);
                assert_eq!(nft.forwards().unwrap(), []);
            }
        },
        |nft| assert_eq!(nft.unforward(None, |_| true).unwrap().forwards, []),
    );
}

#[test]
fn admission() {
    let wanted = |round: u8, last: u8, owner: &str, strict: bool| {
        let isolation = Isolation { bridge: "br0".to_owned(), strict, port: Some(format!("{owner}{last}")) };
        let addresses: Vec<IpAddr> = vec![[10, 1, round, last].into()];
        let admin_chain = Some("CNI-ADMIN".to_owned());
        Admission { addresses, owner: owner.to_owned(), admin_chain, isolation: Some(isolation) }
    };
    beside_constant_commits(
        move |nft, round| {
            let own = wanted(round, 2, "mine", true);
            nft.admit(&wanted(round, 3, "kept", false)).unwrap();
            nft.admit(&wanted(round, 2, "old", false)).unwrap();
            nft.admit(&own).unwrap();
            assert_eq!(nft.admission_drifts(&own).unwrap(), [""; 0]);
            let port = own.isolation.clone().and_then(|isolation| isolation.port);
            let hint = Hint { addresses: own.addresses.clone(), bridge: Some("br0".to_owned()), port };
            assert_eq!(nft.dismiss(Some(&hint), mine).unwrap(), own.addresses);
            nft.admit(&own).unwrap();
            assert_eq!(nft.dismiss(None, mine).unwrap(), own.addresses);
            assert_eq!(nft.admitted_by([10, 1, round, 3].into()).unwrap().as_deref(), Some("kept"));
            if round % 2 == 1 {
                assert_eq!(nft.dismiss(None, |owner| owner == "kept").unwrap().len(), 2);
                assert!(!nft.admits_anybody().unwrap());
            }
        },
        |nft| assert_eq!(nft.dismiss(None, |_| true).unwrap().len(), 0),
    );
}

#[test]
fn spoof() {
    beside_constant_commits(
        |nft, round| {
            let mac = |last: u8| Mac([2, 0, 0, 0, round, last]);
            let (own, kept) = (format!("own{round}"), format!("kept{round}"));
            nft.protect(&kept, mac(1), "kept").unwrap();
            nft.protect(&own, mac(2), "mine").unwrap();
            nft.protect(&own, mac(3), "mine").unwrap();
            assert_eq!(nft.unprotect(Some(std::slice::from_ref(&own)), mine).unwrap(), 1);
            nft.protect(&own, mac(4), "mine").unwrap();
            assert_eq!(nft.unprotect(None, mine).unwrap(), 1);
            assert_eq!(nft.protected_on(&kept).unwrap().unwrap().mac, mac(1));
            if round % 2 == 1 {
                assert_eq!(nft.unprotect(None, |owner| owner == "kept").unwrap(), 2);
                assert_eq!(nft.protected().unwrap(), []);
            }
        },
        |nft| assert_eq!(nft.unprotect(None, |_| true).unwrap(), 0),
    );
}
