//! Options, ranges, addresses, the node itself, predecessors and clients.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use fairlead_ebpf_shared::{AddressClass, AddressWord, FrontendKey, OptionsWord, RangeKey};
use fairlead_proxy_model::{
    Desired, DesiredFrontend, Entry, MapOp, ObjectName, WhenEmpty, address_bytes, range_key, render_desired,
};
use ipnet::IpNet;
use proptest::prelude::*;

use super::{SIZES, desired, entry, key, settle, started, text};
use crate::apply::Applier;
use crate::maps::fake::FakeMaps;
use crate::maps::{Host, Maps};

fn net(text: &str) -> IpNet {
    text.parse().expect("a network")
}

fn address(number: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, number])
}

/// What a frontend has beside its backends: affinity, source ranges by number, whether an empty set drops.
type Rules = (Option<u32>, Vec<u8>, bool);

/// A state with these services (a number, backends, rules) and classes of addresses.
fn ruled(services: &[(u8, u8, Rules)], addresses: &[(u8, AddressClass)]) -> Desired {
    let frontends = services.iter().map(|(service, count, (affinity_s, ranges, drop))| {
        let backend = |index| SocketAddr::from(([10, 244, *service, index], 8080));
        let name = ObjectName::new("default", format!("service-{service}"));
        let backends: Vec<SocketAddr> = (0..*count).map(backend).collect();
        let mut ranges: Vec<IpNet> = ranges.iter().map(|number| net(&format!("10.{number}.0.0/16"))).collect();
        ranges.sort_unstable();
        ranges.dedup();
        let frontend = DesiredFrontend {
            affinity_s: *affinity_s,
            ranges: (!ranges.is_empty()).then(|| ranges.into()),
            when_empty: if *drop { WhenEmpty::Drop } else { WhenEmpty::Refuse },
            ..DesiredFrontend::plain(key(*service), name, "", backends)
        };
        (key(*service), Arc::new(frontend))
    });
    let addresses = addresses.iter().map(|&(number, class)| (address(number), class));
    Desired { frontends: frontends.collect(), addresses: addresses.collect() }
}

fn one_of_each() -> Desired {
    ruled(
        &[(1, 2, (Some(60), vec![1, 2], false)), (2, 0, (None, vec![], true)), (3, 1, (None, vec![3], false))],
        &[(1, AddressClass::OwnNode), (2, AddressClass::OtherNode), (3, AddressClass::ClusterIp)],
    )
}

#[test]
fn options_ranges_and_addresses_are_written_and_a_successor_has_nothing_to_write() {
    let maps = FakeMaps::new(SIZES);
    let wanted = one_of_each();
    drop(started(&maps, &wanted));
    assert_eq!(text(&maps), render_desired(&wanted));
    let mut successor = Applier::restore(maps.clone()).expect("restore");
    successor.mark_all(&wanted);
    assert_eq!(settle(&mut successor, &wanted), 0);

    let none = Desired::default();
    successor.mark_all(&none);
    settle(&mut successor, &none);
    let dump = maps.dump().expect("dump");
    assert!(dump.options.is_empty() && dump.ranges.is_empty() && dump.addresses.is_empty(), "{dump:?}");
}

#[test]
fn drift_of_options_ranges_and_addresses_is_found_and_repaired() {
    /// What is done to the slot of service 1.
    type Vandal = fn(u32) -> MapOp;
    let vandals: [(&str, Vandal); 8] = [
        ("options cleared", |slot| MapOp::SetOptions { slot, word: OptionsWord(0) }),
        ("options of nobody", |slot| MapOp::SetOptions { slot, word: OptionsWord(u64::MAX) }),
        ("options in a free slot", |_| MapOp::SetOptions { slot: 7, word: OptionsWord(1) }),
        ("an address gone", |_| MapOp::DeleteAddress { addr: address_bytes(address(1)) }),
        ("an address added", |_| {
            let addr = address_bytes(address(9));
            MapOp::PutAddress { addr, value: AddressWord::new(&addr, AddressClass::ClusterIp) }
        }),
        ("an address with the word of another", |_| {
            let value = AddressWord::new(&address_bytes(address(3)), AddressClass::ClusterIp);
            MapOp::PutAddress { addr: address_bytes(address(2)), value }
        }),
        ("a range gone", |slot| MapOp::DeleteRange { key: range_key(slot, net("10.1.0.0/16")) }),
        ("a range added", |slot| MapOp::PutRange { key: range_key(slot, net("0.0.0.0/0")), tag: 1 }),
    ];
    let wanted = one_of_each();
    for (deed, vandal) in vandals {
        let maps = FakeMaps::new(SIZES);
        let mut applier = started(&maps, &wanted);
        let slot = maps.tables.borrow().frontends[&key(1)].slot;
        maps.tables.borrow_mut().apply(&vandal(slot));
        applier.verify();
        settle(&mut applier, &wanted);
        assert_eq!(text(&maps), render_desired(&wanted), "{deed}");
        assert!(applier.tally().drift_repaired > 0, "{deed}");
        let fill = applier.actual().fill();
        assert_eq!((fill.slots, fill.backends, fill.addresses, fill.ranges), (3, 3, 3, 3), "{deed}: a leak");
        let dump = maps.dump().expect("dump");
        assert_eq!((dump.options.len(), dump.ranges.len()), (3, 3), "{deed}: something was left over");
        applier.verify();
        assert_eq!(settle(&mut applier, &wanted), 0, "{deed}: repaired once");
    }
}

#[test]
fn the_node_is_told_when_it_changes_and_again_with_each_verification() {
    let maps = FakeMaps::new(SIZES);
    let wanted = desired(&[(1, 0, 1)]);
    let mut applier = started(&maps, &wanted);
    let host = Host { localhost_node_ports: true, v4: Some(Ipv4Addr::new(10, 0, 0, 5)), v6: None };
    applier.set_host(host);
    maps.failures.borrow_mut().push(true);
    settle(&mut applier, &wanted);
    assert_eq!(maps.host.get(), host, "the first attempt failed");

    maps.host.set(Host::default());
    applier.set_host(host);
    settle(&mut applier, &wanted);
    assert_eq!(maps.host.get(), Host::default(), "it is no news");
    applier.verify();
    settle(&mut applier, &wanted);
    assert_eq!(maps.host.get(), host);
}

#[test]
fn of_the_nodes_addresses_the_first_of_each_family_counts() {
    let addresses = ["127.0.0.1", "::1", "fd00::5", "10.0.0.5", "10.0.0.6", "fd00::6"];
    let host = Host::new(true, addresses.map(|text| text.parse().expect("an address")));
    let expected = (Some(Ipv4Addr::new(10, 0, 0, 5)), "fd00::5".parse().ok());
    assert_eq!((host.v4, host.v6), expected);
}

#[test]
fn predecessors_are_retired_when_all_is_written_and_nothing_is_held() {
    let maps = FakeMaps::new(SIZES);
    maps.predecessors.borrow_mut().push("detached".to_owned());
    let wanted = desired(&[(1, 0, 1)]);
    let mut applier = Applier::restore(maps.clone()).expect("restore");
    applier.hold();
    applier.mark_all(&wanted);
    settle(&mut applier, &wanted);
    assert_eq!(maps.predecessors.borrow().len(), 1, "a part of the services may be in what cannot be read");
    applier.let_go();
    // The first write of a change fails, then the retirement itself, once.
    *maps.failures.borrow_mut() = vec![true, false, false, true];
    let more = desired(&[(1, 0, 2)]);
    applier.mark([entry(1)]);
    settle(&mut applier, &more);
    applier.mark([entry(1)]);
    settle(&mut applier, &more);
    assert_eq!(maps.predecessors.borrow().len(), 0);
    assert_eq!(text(&maps), render_desired(&more));
}

#[test]
fn clients_are_looked_for_only_where_a_service_has_source_ranges() {
    let maps = FakeMaps::new(SIZES);
    let mut applier = started(&maps, &desired(&[(1, 0, 1)]));
    assert_eq!(applier.meet_clients(), None);
    assert!(maps.clients.borrow().is_empty());
    let with_ranges = one_of_each();
    applier.mark_all(&with_ranges);
    settle(&mut applier, &with_ranges);
    assert!(applier.meet_clients().is_some());
    // The tests of `attach` and others make namespaces beside this one; what is there is theirs.
    let known = maps.clients.borrow().clone();
    assert!(known.iter().all(|(cookie, client)| client.is_of(*cookie)), "{known:?}");
}

fn class(number: u8) -> AddressClass {
    [AddressClass::OwnNode, AddressClass::OtherNode, AddressClass::ClusterIp][usize::from(number % 3)]
}

fn options_are_own(maps: &FakeMaps) -> Option<FrontendKey> {
    let tables = maps.tables.borrow();
    let dump = tables.dump();
    dump.frontends.iter().find(|(_, value)| dump.options_of(value).is_none()).map(|(key, _)| *key)
}

fn ranges_of_nobody(maps: &FakeMaps) -> Option<RangeKey> {
    let dump = maps.tables.borrow().dump();
    let owned = |key: &RangeKey, tag| {
        dump.frontends.values().any(|value| value.slot == u32::from_be_bytes(key.data.slot) && value.tag == tag)
    };
    dump.ranges.iter().find(|(key, tag)| !owned(key, **tag)).map(|(key, _)| *key)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// As `random_failures_end_in_the_desired_state`, with rules and addresses that change: on the way no frontend stands
    /// under the options of another, in the end nothing is left over.
    #[test]
    fn random_failures_end_in_the_desired_rules(
        states in proptest::collection::vec(
            (
                proptest::collection::btree_map(
                    1..5_u8,
                    (0..3_u8, (proptest::option::of(1..3_u32), proptest::collection::vec(0..3_u8, 0..2), any::<bool>())),
                    0..4,
                ),
                proptest::collection::btree_map(1..6_u8, any::<u8>(), 0..5),
            ),
            1..6,
        ),
        failures in proptest::collection::vec(proptest::bool::weighted(0.3), 0..60),
        verify in any::<bool>(),
    ) {
        let maps = FakeMaps::new(SIZES);
        let mut applier = Applier::restore(maps.clone()).expect("restore");
        *maps.failures.borrow_mut() = failures;
        let mut last = Desired::default();
        for (services, addresses) in states {
            let services: Vec<_> = services.into_iter().map(|(service, (count, rules))| (service, count, rules)).collect();
            let addresses: Vec<_> = addresses.into_iter().map(|(number, kind)| (number, class(kind))).collect();
            last = ruled(&services, &addresses);
            applier.mark_all(&last);
            if verify {
                applier.verify();
            }
            let next = applier.step(&last);
            if let Some(grace) = next.grace {
                let outcome = grace();
                _ = applier.grace_over(outcome);
            }
            prop_assert_eq!(options_are_own(&maps), None);
        }
        settle(&mut applier, &last);
        prop_assert_eq!(text(&maps), render_desired(&last));
        prop_assert_eq!(ranges_of_nobody(&maps), None);
        let dump = maps.tables.borrow().dump();
        prop_assert_eq!(dump.options.len(), last.frontends.len(), "an options word was left over");
        let fill = applier.actual().fill();
        prop_assert_eq!(fill.addresses as usize, last.addresses.len());
        prop_assert_eq!(fill.ranges as usize, dump.ranges.len());
        let unknown: Vec<Entry> = applier.no_room().keys().copied().collect();
        prop_assert_eq!(unknown, Vec::<Entry>::new());
    }
}
