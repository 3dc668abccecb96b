//! The applier on maps in memory: room that runs out, writes that fail, entries that somebody else changed.

mod rules;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use fairlead_ebpf_shared::{Frontend, FrontendKey, SetWord};
use fairlead_proxy_model::{
    Desired, DesiredFrontend, Entry, MapOp, NoRoom, ObjectName, Protocol, Sizes, frontend_key, render_desired,
    render_view,
};
use proptest::prelude::*;

use super::Applier;
use crate::maps::Maps;
use crate::maps::fake::FakeMaps;

const SIZES: Sizes = Sizes { slots: 8, backends: 12, addresses: 8, ranges: 8 };

fn key(service: u8) -> FrontendKey {
    frontend_key(IpAddr::from([10, 96, 0, service]), 80, Protocol::Tcp)
}

fn entry(service: u8) -> Entry {
    Entry::Frontend(key(service))
}

/// A state with these services, each with as many backends, the first of them number `first`.
fn desired(services: &[(u8, u8, u8)]) -> Desired {
    let frontends = services.iter().map(|&(service, first, count)| {
        let backend = |index| SocketAddr::from(([10, 244, service, index], 8080));
        let name = ObjectName::new("default", format!("service-{service}"));
        let backends: Vec<SocketAddr> = (first..first + count).map(backend).collect();
        (key(service), DesiredFrontend::plain(key(service), name, "", backends).into())
    });
    Desired { frontends: frontends.collect(), ..Desired::default() }
}

/// Lets the applier work until it wants nothing more. The number of writes.
fn settle(applier: &mut Applier<FakeMaps>, desired: &Desired) -> u64 {
    let before = applier.tally().operations;
    for _ in 0..200 {
        let next = applier.step(desired);
        match (next.grace, next.retry) {
            (Some(grace), None) => {
                let outcome = grace();
                _ = applier.grace_over(outcome);
            }
            // The pause: nothing to do in it.
            (None, Some(_)) => {}
            (None, None) => {
                assert!(applier.last_error().is_none(), "settled with an error: {:?}", applier.last_error());
                return applier.tally().operations - before;
            }
            (Some(_), Some(_)) => unreachable!("either wait or retry"),
        }
    }
    panic!("does not settle: {:?}", applier.last_error());
}

fn text(maps: &FakeMaps) -> String {
    render_view(&maps.tables.borrow().dump().view())
}

fn started(maps: &FakeMaps, desired: &Desired) -> Applier<FakeMaps> {
    let mut applier = Applier::restore(maps.clone()).expect("restore");
    applier.mark_all(desired);
    settle(&mut applier, desired);
    applier
}

#[test]
fn a_service_without_room_is_named_and_the_others_are_served() {
    let maps = FakeMaps::new(SIZES);
    let first = desired(&[(1, 0, 3), (2, 0, 20), (3, 0, 0)]);
    let mut applier = started(&maps, &first);
    assert_eq!(text(&maps), render_desired(&desired(&[(1, 0, 3), (3, 0, 0)])));
    let expected = NoRoom::Backends { wanted: 20, free: 9, size: 12 };
    assert_eq!(applier.no_room(), &BTreeMap::from([(entry(2), expected)]));

    let second = desired(&[(1, 0, 3), (2, 0, 9), (3, 0, 0)]);
    applier.mark([entry(2)]);
    settle(&mut applier, &second);
    assert_eq!(text(&maps), render_desired(&second));
    assert!(applier.no_room().is_empty());
}

#[test]
fn a_service_waits_for_the_room_that_another_gives_up() {
    let maps = FakeMaps::new(SIZES);
    let mut applier = started(&maps, &desired(&[(1, 0, 8)]));
    // Room for both versions of service 1 there is not; and service 2 takes what is left.
    let second = desired(&[(1, 8, 8), (2, 0, 4)]);
    applier.mark([entry(1), entry(2)]);
    settle(&mut applier, &second);
    assert_eq!(
        text(&maps),
        render_desired(&desired(&[(1, 0, 8), (2, 0, 4)])),
        "it keeps its old set as long as there is no room for the new one"
    );
    assert_eq!(applier.no_room().keys().collect::<Vec<_>>(), [&entry(1)]);
    // Service 2 goes, but 8 entries in one run are still not free; service 1 shrinks, and all is well.
    let third = desired(&[(1, 8, 4)]);
    applier.mark([entry(1), entry(2)]);
    settle(&mut applier, &third);
    assert_eq!(text(&maps), render_desired(&third));
    assert_eq!((applier.actual().fill().slots, applier.actual().fill().backends), (1, 4));
}

#[test]
fn every_slot_in_use_fails_the_service_that_came_last() {
    let maps = FakeMaps::new(SIZES);
    let nine: Vec<(u8, u8, u8)> = (1..=9).map(|service| (service, 0, 1)).collect();
    let mut applier = started(&maps, &desired(&nine));
    assert_eq!(applier.no_room(), &BTreeMap::from([(entry(9), NoRoom::Slots { size: 8 })]));
    // One goes: the one that waited gets its slot without anybody asking again.
    let eight = desired(&nine[1..]);
    applier.mark([entry(1)]);
    settle(&mut applier, &eight);
    assert_eq!(text(&maps), render_desired(&eight));
}

#[test]
fn nothing_is_taken_away_while_a_file_cannot_be_read() {
    let maps = FakeMaps::new(SIZES);
    let before = desired(&[(1, 0, 2), (2, 0, 2), (3, 0, 2)]);
    drop(started(&maps, &before));

    // A successor that knows service 1 with other backends, service 2 without its slice, and nothing of service 3.
    let partial = desired(&[(1, 5, 2), (2, 0, 0)]);
    let mut applier = Applier::restore(maps.clone()).expect("restore");
    applier.hold();
    applier.mark_all(&partial);
    settle(&mut applier, &partial);
    assert_eq!(text(&maps), render_desired(&desired(&[(1, 5, 2), (2, 0, 2), (3, 0, 2)])));
    assert_eq!(applier.held_over().iter().collect::<Vec<_>>(), [&entry(2), &entry(3)]);

    // Service 1 was stated by a good file, so it may go; the others still may not.
    let less = desired(&[(2, 0, 0)]);
    applier.mark_all(&less);
    settle(&mut applier, &less);
    assert_eq!(text(&maps), render_desired(&desired(&[(2, 0, 2), (3, 0, 2)])));

    applier.let_go();
    settle(&mut applier, &less);
    assert_eq!(text(&maps), render_desired(&less));
    assert!(applier.held_over().is_empty());
}

#[test]
fn what_somebody_else_changed_is_repaired_and_counted() {
    let wanted = desired(&[(1, 0, 2), (2, 0, 2), (3, 0, 0)]);
    let slot_of = |maps: &FakeMaps, service: u8| maps.tables.borrow().frontends[&key(service)].slot;
    /// What is done to the slot of service 1.
    type Vandal = fn(u32) -> MapOp;
    let vandals: [(&str, Vandal); 5] = [
        ("a frontend deleted", |_| MapOp::DeleteFrontend { key: key(1) }),
        ("a frontend added", |_| MapOp::PutFrontend { key: key(7), value: Frontend { slot: 5, tag: 99 } }),
        ("a frontend pointed elsewhere", |_| MapOp::PutFrontend { key: key(1), value: Frontend { slot: 5, tag: 7 } }),
        ("a word cleared", |slot| MapOp::ClearSlot { slot }),
        ("a word overwritten", |slot| MapOp::SwitchSet { slot, word: SetWord(u64::MAX) }),
    ];
    for (deed, vandal) in vandals {
        let maps = FakeMaps::new(SIZES);
        let mut applier = started(&maps, &wanted);
        let op = vandal(slot_of(&maps, 1));
        maps.tables.borrow_mut().apply(&op);
        applier.verify();
        settle(&mut applier, &wanted);
        assert_eq!(text(&maps), render_desired(&wanted), "{deed}");
        assert!(applier.tally().drift_repaired > 0, "{deed}");
        assert_eq!((applier.actual().fill().slots, applier.actual().fill().backends), (3, 4), "{deed}: a leak");
    }
    let maps = FakeMaps::new(SIZES);
    let mut applier = started(&maps, &wanted);
    applier.verify();
    assert_eq!(settle(&mut applier, &wanted), 0, "nothing to repair, nothing written");
    assert_eq!((applier.tally().verified, applier.tally().drift_repaired), (1, 0));
}

#[test]
fn services_are_listed_from_the_live_maps_with_the_names_that_were_told() {
    let maps = FakeMaps::new(SIZES);
    drop(started(&maps, &desired(&[(1, 0, 2), (2, 0, 0)])));
    let owner = crate::state::Owner { service: "default/web".to_owned(), port: "http".to_owned() };
    let owners = BTreeMap::from([("10.96.0.1:80/TCP".to_owned(), owner)]);
    let rows = crate::verbs::services::rows(&maps, &owners).expect("rows");
    let expected = "\
SERVICE      PORT  FRONTEND          CONNECTIONS  BACKENDS
(unknown)          10.96.0.2:80/TCP  1            none: refused
default/web  http  10.96.0.1:80/TCP  0            10.244.1.0:8080
                                                  10.244.1.1:8080
";
    assert_eq!(crate::verbs::services::table(&rows), expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Random states one after the other, writes that fail at random until they no longer do: the maps are as desired in
    /// the end, nothing has leaked, and on the way every frontend that both states know is served by one of the two.
    #[test]
    fn random_failures_end_in_the_desired_state(
        states in proptest::collection::vec(proptest::collection::btree_map(1..6_u8, (0..3_u8, 0..2_u8), 0..5), 1..6),
        failures in proptest::collection::vec(proptest::bool::weighted(0.3), 0..60),
        verify in any::<bool>(),
    ) {
        let maps = FakeMaps::new(SIZES);
        let mut applier = Applier::restore(maps.clone()).expect("restore");
        *maps.failures.borrow_mut() = failures;
        let mut last = Desired::default();
        for state in states {
            let services: Vec<_> = state.into_iter().map(|(service, (first, count))| (service, first, count)).collect();
            last = desired(&services);
            applier.mark_all(&last);
            if verify {
                applier.verify();
            }
            // One step only: the next state may come while this one is half done.
            let next = applier.step(&last);
            if let Some(grace) = next.grace {
                let outcome = grace();
                _ = applier.grace_over(outcome);
            }
            let broken = maps.tables.borrow().dump().view().frontends.into_iter().find(|(_, found)| {
                matches!(found.outcome, fairlead_proxy_model::Outcome::Broken(_))
            });
            prop_assert_eq!(broken, None);
        }
        settle(&mut applier, &last);
        prop_assert_eq!(text(&maps), render_desired(&last));
        let backends: usize = last.frontends.values().map(|frontend| frontend.backends.len()).sum();
        let fill = applier.actual().fill();
        prop_assert_eq!((fill.slots as usize, fill.backends as usize), (last.frontends.len(), backends));
        prop_assert_eq!(maps.tables.borrow().dump().sets.len(), last.frontends.len(), "a word was left over");
        prop_assert_eq!(applier.maps.sizes(), SIZES);
    }
}
