//! What must hold whatever happens: over any facts, any order of events, any prefix of operations.

mod generate;
mod reference;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use fairlead_ebpf_shared::OptionsWord;
use fairlead_proxy_model::{Actual, Change, Desired, Engine, Entry, Tables, Verdict, Why, diff};
use proptest::prelude::*;

use generate::{Facts, history, settings};
use reference::{Probe, verdict};
use world::{SIZES, World, all_entries, check, check_final, engine_of, facts_of, probes};

/// Whether a client may see `now` while the maps go from one state to the other: each part of it is of one of the two, and
/// whoever is let in or kept out is so by one of the two.
fn is_between(now: &Verdict, old: &Verdict, new: &Verdict, frontends: &[Option<Vec<std::net::SocketAddr>>]) -> bool {
    if now == old || now == new {
        return true;
    }
    let is_kept_out = |verdict: &Verdict| matches!(verdict, Verdict::Dropped(Why::SourceRange | Why::ClientUnknown));
    match now {
        Verdict::To { backends, .. } => {
            !(is_kept_out(old) && is_kept_out(new)) && frontends.iter().flatten().any(|set| set == backends)
        }
        Verdict::Dropped(Why::NoLocalEndpoint) | Verdict::Refused(Why::NoEndpoint) => {
            frontends.iter().flatten().any(Vec::is_empty)
        }
        _ => false,
    }
}

fn backends_at(desired: &Desired, probe: &Probe, tables: &Tables) -> Option<Vec<std::net::SocketAddr>> {
    let Probe { client, addr, port, protocol } = *probe;
    let scoped = |addr| fairlead_ebpf_shared::FrontendKey {
        scope: client.scope,
        ..fairlead_proxy_model::frontend_key(addr, port, protocol)
    };
    let wild = scoped(fairlead_proxy_model::any_node(fairlead_proxy_model::Family::of(addr)));
    let key = if tables.frontends.contains_key(&scoped(addr)) { scoped(addr) } else { wild };
    desired.frontends.get(&key).map(|frontend| frontend.backends.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_kept_up_is_what_is_computed_from_scratch(settings in settings(), history in history()) {
        let mut engine = Engine::new(settings.clone());
        let mut mirror = Desired::default();
        let (mut notices, mut checks) = (BTreeSet::new(), BTreeMap::new());
        for batch in &history {
            for change in batch {
                engine.apply(change.clone());
            }
            let done = engine.recompute();
            for entry in &done.touched {
                match entry {
                    Entry::Frontend(key) => match engine.desired().frontends.get(key) {
                        Some(frontend) => drop(mirror.frontends.insert(*key, frontend.clone())),
                        None => drop(mirror.frontends.remove(key)),
                    },
                    Entry::Address(addr) => match engine.desired().addresses.get(addr) {
                        Some(class) => drop(mirror.addresses.insert(*addr, *class)),
                        None => drop(mirror.addresses.remove(addr)),
                    },
                }
            }
            for notice in done.notices_gone {
                prop_assert!(notices.remove(&notice), "{notice} was not so");
            }
            for notice in done.notices_new {
                prop_assert!(notices.insert(notice.clone()), "{notice} is no news");
            }
            for (name, check) in done.health_checks {
                match check {
                    Some(check) => drop(checks.insert(name, check)),
                    None => drop(checks.remove(&name)),
                }
            }
            // What was not touched has not changed.
            prop_assert_eq!(&mirror, engine.desired());
            prop_assert_eq!(&notices, &engine.notices());
        }
        let mut fresh = Engine::new(settings);
        for change in facts_of(&history).changes() {
            fresh.apply(change);
        }
        let done = fresh.recompute();
        prop_assert_eq!(engine.desired(), fresh.desired());
        prop_assert_eq!(engine.notices(), fresh.notices());
        prop_assert_eq!(engine.no_local(), fresh.no_local());
        prop_assert_eq!(engine.counts(), fresh.counts());
        let fresh_checks = done.health_checks.into_iter().filter_map(|(name, check)| Some((name, check?)));
        prop_assert_eq!(checks, fresh_checks.collect());
    }

    #[test]
    fn other_settings_are_as_if_they_had_always_been(before in settings(), after in settings(), history in history()) {
        let mut engine = engine_of(&before, history.iter().flatten().cloned());
        let mut world = World::settled(engine.desired());
        engine.set_settings(after.clone());
        let touched = engine.recompute().touched;
        for op in world.plan(engine.desired(), &touched) {
            world.tables.apply(&op);
        }
        world.rest();
        let fresh = engine_of(&after, facts_of(&history).changes());
        prop_assert_eq!(engine.desired(), fresh.desired());
        check_final(&world, fresh.desired())?;
    }

    #[test]
    fn facts_that_say_nothing_new_mark_nothing(settings in settings(), history in history()) {
        let facts = facts_of(&history);
        let mut engine = engine_of(&settings, history.into_iter().flatten());
        for change in facts.changes() {
            prop_assert!(!engine.apply(change.clone()), "{change:?} is known");
        }
        prop_assert_eq!(engine.recompute(), Default::default());
    }

    /// Every client gets what the rules say, as somebody else wrote them down.
    #[test]
    fn the_maps_answer_as_the_rules_say(settings in settings(), history in history()) {
        let mut engine = Engine::new(settings.clone());
        let (mut world, mut facts) = (World::new(), Facts::default());
        for batch in &history {
            for change in batch {
                facts.apply(change);
                engine.apply(change.clone());
            }
            let touched = engine.recompute().touched;
            for op in world.plan(engine.desired(), &touched) {
                world.tables.apply(&op);
            }
            world.rest();
        }
        world.tables.localhost_node_ports = settings.localhost_node_ports;
        let both = settings.scopes == fairlead_proxy_model::Scopes::NodeAndOutside;
        for probe in probes().iter().filter(|probe| both || probe.client.scope == 0) {
            let answer = world.tables.ask(&probe.client, probe.addr, probe.port, probe.protocol);
            prop_assert_eq!(answer, verdict(&facts, &settings, probe), "{:?}", probe);
        }
    }

    #[test]
    fn every_prefix_of_the_operations_is_a_good_state(settings in settings(), history in history()) {
        let mut engine = Engine::new(settings);
        let mut world = World::new();
        for (round, batch) in history.iter().enumerate() {
            let old = engine.desired().clone();
            for change in batch {
                engine.apply(change.clone());
            }
            let touched = engine.recompute().touched;
            let new = engine.desired();
            for op in world.plan(new, &touched) {
                check(&world.tables, &old, new)?;
                world.tables.apply(&op);
            }
            // All done, nothing released: as desired already, and still so while slots are cleared one by one.
            check(&world.tables, new, new)?;
            if round % 2 == 0 {
                for op in world.rest_ops() {
                    world.tables.apply(&op);
                    check(&world.tables, new, new)?;
                }
                world.rest();
                check_final(&world, new)?;
            }
        }
    }

    /// The same as clients see it, source ranges and the addresses of nodes included.
    #[test]
    fn a_client_meets_the_old_or_the_new_state(
        settings in settings(),
        before in history(),
        batch in proptest::collection::vec(history(), 1..2),
    ) {
        let old = engine_of(&settings, before.iter().flatten().cloned());
        let mut engine = engine_of(&settings, before.into_iter().flatten());
        for change in batch.into_iter().flatten().flatten().take(4) {
            engine.apply(change);
        }
        let touched = engine.recompute().touched;
        let mut world = World::settled(old.desired());
        let (first, last) = (world.tables.clone(), World::settled(engine.desired()).tables);
        // An address may be another node's already while the frontends are as they were, and the other way round.
        let mixed = [(&first, &last), (&last, &first)]
            .map(|(frontends, addresses)| Tables { addresses: addresses.addresses.clone(), ..frontends.clone() });
        let ops = world.plan(engine.desired(), &touched);
        let both = settings.scopes == fairlead_proxy_model::Scopes::NodeAndOutside;
        let probes: Vec<Probe> = probes().into_iter().filter(|probe| both || probe.client.scope == 0).collect();
        let ask = |tables: &Tables, probe: &Probe| tables.ask(&probe.client, probe.addr, probe.port, probe.protocol);
        for op in ops {
            world.tables.apply(&op);
            for probe in &probes {
                let (now, old_verdict, new_verdict) =
                    (ask(&world.tables, probe), ask(&first, probe), ask(&last, probe));
                let sets = [
                    backends_at(old.desired(), probe, &world.tables),
                    backends_at(engine.desired(), probe, &world.tables),
                ];
                prop_assert!(
                    is_between(&now, &old_verdict, &new_verdict, &sets)
                        || mixed.iter().any(|tables| ask(tables, probe) == now),
                    "{:?} after {:?}:\n{:?}\n{:?}\n{:?}", probe, op, now, old_verdict, new_verdict
                );
            }
        }
    }

    /// A reader that took a frontend's word before the operations may read its backends after them: as long as the grace
    /// period lasts, what the word refers to is not overwritten, and no range
    /// is deleted that it may be told to look for.
    #[test]
    fn a_slow_reader_never_meets_a_reused_entry(settings in settings(), history in history()) {
        let mut engine = Engine::new(settings);
        let mut world = World::new();
        for batch in &history {
            let before = world.tables.dump();
            for change in batch {
                engine.apply(change.clone());
            }
            let touched = engine.recompute().touched;
            for op in world.plan(engine.desired(), &touched) {
                world.tables.apply(&op);
                for set in before.sets.values() {
                    let base = set.word.base() as usize;
                    prop_assert_eq!(&world.tables.backends[base..base + set.backends.len()], &set.backends[..]);
                }
                for key in before.ranges.keys().filter(|key| !world.tables.ranges.contains_key(key)) {
                    // Only of a frontend that keeps others: its old options and its new ask for ranges.
                    let slot = u32::from_be_bytes(key.data.slot);
                    let word = world.tables.options[slot as usize];
                    prop_assert!(word.has(OptionsWord::FLAG_RANGES), "{key:?}");
                    prop_assert_eq!(before.options[&slot].tag(), word.tag());
                }
            }
            world.rest();
        }
    }

    #[test]
    fn a_restart_on_a_state_that_is_as_desired_writes_nothing(settings in settings(), history in history()) {
        let mut engine = Engine::new(settings);
        let mut world = World::new();
        for batch in &history {
            for change in batch {
                engine.apply(change.clone());
            }
            let touched = engine.recompute().touched;
            for op in world.plan(engine.desired(), &touched) {
                world.tables.apply(&op);
            }
            world.rest();
        }
        let mut successor = Actual::restore(&world.tables.dump(), SIZES);
        prop_assert_eq!(world.actual.drift(&successor), 0);
        let entries = all_entries(&successor, engine.desired());
        let plan = diff(&mut successor, engine.desired(), &entries, &BTreeSet::new(), false);
        prop_assert_eq!(plan.ops, vec![]);
        prop_assert!(!successor.has_retired());
    }

    #[test]
    fn a_restart_on_any_prefix_converges_and_leaks_nothing(
        settings in settings(),
        before in history(),
        after in history(),
        killed_after in any::<prop::sample::Index>(),
    ) {
        let old = engine_of(&settings, before.into_iter().flatten());
        let new = engine_of(&settings, after.into_iter().flatten());
        let mut world = World::settled(old.desired());
        let entries = all_entries(&world.actual, new.desired());
        let mut ops = world.plan(new.desired(), &entries);
        ops.extend(world.rest_ops());
        let killed_after = killed_after.index(ops.len() + 1);
        for op in &ops[..killed_after] {
            world.tables.apply(op);
        }

        let mut successor = World::restored(world.tables);
        let entries = all_entries(&successor.actual, new.desired());
        for op in successor.plan(new.desired(), &entries) {
            successor.tables.apply(&op);
        }
        successor.rest();
        check_final(&successor, new.desired())?;
    }

    /// A part that is not known yet takes nothing away.
    #[test]
    fn what_is_held_is_neither_deleted_nor_emptied(settings in settings(), before in history(), after in history()) {
        let old = engine_of(&settings, before.into_iter().flatten());
        let new = engine_of(&settings, after.into_iter().flatten());
        let mut world = World::settled(old.desired());
        let first = world.tables.dump().view();
        let hold: BTreeSet<Entry> = world.actual.entries().collect();
        let entries = all_entries(&world.actual, new.desired());
        let plan = diff(&mut world.actual, new.desired(), &entries, &hold, false);
        for (_, op) in &plan.ops {
            world.tables.apply(op);
        }
        let now = world.tables.dump().view();
        for (key, resolved) in &first.frontends {
            let kept = now.frontends.get(key);
            prop_assert!(kept.is_some());
            if let fairlead_proxy_model::Outcome::Backends(_) = resolved.outcome {
                let outcome = kept.map(|kept| &kept.outcome);
                prop_assert!(matches!(outcome, Some(fairlead_proxy_model::Outcome::Backends(_))), "{outcome:?}");
            }
        }
        prop_assert!(first.addresses.keys().all(|addr| now.addresses.contains_key(addr)));
    }
}

/// The generator meets what the rules are about: without this the properties could hold of nothing.
#[test]
fn the_histories_are_eventful() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen: BTreeSet<&'static str> = BTreeSet::new();
    for _ in 0..300 {
        use proptest::strategy::ValueTree;
        let settings = settings().new_tree(&mut runner).expect("settings").current();
        let history: Vec<Vec<Change>> = history().new_tree(&mut runner).expect("a history").current();
        let facts = facts_of(&history);
        for probe in probes() {
            seen.insert(match verdict(&facts, &settings, &probe) {
                Verdict::Pass => "pass",
                Verdict::To { .. } => "to",
                Verdict::Refused(Why::NoEndpoint) => "no endpoint",
                Verdict::Refused(Why::UndefinedPort) => "undefined port",
                Verdict::Refused(_) => "refused",
                Verdict::Dropped(Why::NoLocalEndpoint) => "none local",
                Verdict::Dropped(Why::SourceRange) => "source range",
                Verdict::Dropped(Why::ClientUnknown) => "unknown client",
                Verdict::Dropped(_) => "dropped",
            });
        }
        let engine = engine_of(&settings, facts.changes());
        for notice in engine.notices() {
            seen.insert(match notice {
                fairlead_proxy_model::Notice::Conflict { .. } => "conflict",
                fairlead_proxy_model::Notice::Orphan { .. } => "orphan",
                fairlead_proxy_model::Notice::NoLocalEndpoint { .. } => "no local endpoint",
                fairlead_proxy_model::Notice::SctpNotServed { .. } => "sctp",
                fairlead_proxy_model::Notice::TooManyEndpoints { .. } => "too many",
            });
        }
        let shared = engine.desired().frontends.iter().any(|(key, frontend)| frontend.group != *key);
        seen.extend(shared.then_some("shared affinity"));
    }
    let wanted = BTreeSet::from([
        "pass",
        "to",
        "no endpoint",
        "undefined port",
        "none local",
        "source range",
        "unknown client",
        "conflict",
        "orphan",
        "no local endpoint",
        "sctp",
        "shared affinity",
    ]);
    assert_eq!(seen, wanted);
}
