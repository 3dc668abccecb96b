//! What must hold whatever happens: over any facts, any order of events, any prefix of operations.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use fairlead_ebpf_shared::FrontendKey;
use fairlead_proxy_model::{
    Actual, Change, Desired, Dump, Endpoint, Engine, Family, MapOp, ObjectName, Outcome, Protocol, Retired,
    ServiceFact, ServicePort, Sizes, SliceFact, Tables, TrafficPolicy, diff, render_desired, render_outcomes,
};
use proptest::prelude::*;

const SIZES: Sizes = Sizes { slots: 64, backends: 256 };

// ---- facts -----------------------------------------------------------------------------------------------------------

fn service_name(index: u8) -> ObjectName {
    ObjectName::new("default", format!("service-{index}"))
}

fn slice_name(index: u8) -> ObjectName {
    ObjectName::new("default", format!("slice-{index}"))
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![4 => Just(Protocol::Tcp), 2 => Just(Protocol::Udp), 1 => Just(Protocol::Sctp)]
}

/// Few addresses, ports and names, so that services meet.
fn service() -> impl Strategy<Value = ServiceFact> {
    let port = (prop_oneof![Just(""), Just("a"), Just("b")], protocol(), 80..83_u16);
    let policy = prop_oneof![3 => Just(TrafficPolicy::Cluster), 1 => Just(TrafficPolicy::Local)];
    let times = proptest::option::of(0..3_i64);
    (0..6_u8, times, 1..5_u8, any::<bool>(), proptest::collection::vec(port, 1..4), policy).prop_map(
        |(index, created, address, dual, ports, internal_policy)| {
            let mut cluster_ips = vec![IpAddr::from([10, 96, 0, address])];
            if dual {
                cluster_ips.push(IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(address)]));
            }
            let mut seen = BTreeSet::new();
            let ports = ports
                .into_iter()
                .filter(|(_, protocol, port)| seen.insert((*protocol, *port)))
                .map(|(name, protocol, port)| ServicePort { name: name.to_owned(), protocol, port });
            ServiceFact { name: service_name(index), created, cluster_ips, ports: ports.collect(), internal_policy }
        },
    )
}

fn slice() -> impl Strategy<Value = SliceFact> {
    let port = (prop_oneof![Just(""), Just("a"), Just("b")], protocol(), 8080..8082_u16);
    let endpoint = (1..6_u8, any::<[bool; 3]>(), proptest::option::of(prop_oneof![Just("here"), Just("there")]));
    let ports = proptest::collection::vec(port, 0..3);
    (0..8_u8, 0..7_u8, any::<bool>(), ports, proptest::collection::vec(endpoint, 0..5)).prop_map(
        |(index, service, v6, ports, endpoints)| SliceFact {
            name: slice_name(index),
            service: service_name(service).name,
            family: if v6 { Family::V6 } else { Family::V4 },
            ports: ports
                .into_iter()
                .map(|(name, protocol, port)| ServicePort { name: name.to_owned(), protocol, port })
                .collect(),
            endpoints: endpoints
                .into_iter()
                .map(|(addr, [ready, serving, terminating], node)| Endpoint {
                    addr: match v6 {
                        true => IpAddr::from([0xfd00, 1, 0, 0, 0, 0, 0, u16::from(addr)]),
                        false => IpAddr::from([10, 244, 1, addr]),
                    },
                    ready,
                    serving,
                    terminating,
                    node: node.map(str::to_owned),
                })
                .collect(),
        },
    )
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => service().prop_map(|fact| Change::PutService(Arc::new(fact))),
        1 => (0..6_u8).prop_map(|index| Change::DeleteService(service_name(index))),
        6 => slice().prop_map(|fact| Change::PutSlice(Arc::new(fact))),
        2 => (0..8_u8).prop_map(|index| Change::DeleteSlice(slice_name(index))),
    ]
}

/// Batches of changes; between two batches everything is recomputed and applied.
fn history() -> impl Strategy<Value = Vec<Vec<Change>>> {
    proptest::collection::vec(proptest::collection::vec(change(), 1..6), 1..10)
}

/// The facts that are left at the end, given to a new engine.
fn from_scratch(history: &[Vec<Change>]) -> Engine {
    let (mut services, mut slices) = (BTreeMap::new(), BTreeMap::new());
    for change in history.iter().flatten() {
        match change {
            Change::PutService(fact) => drop(services.insert(fact.name.clone(), fact.clone())),
            Change::DeleteService(name) => drop(services.remove(name)),
            Change::PutSlice(fact) => drop(slices.insert(fact.name.clone(), fact.clone())),
            Change::DeleteSlice(name) => drop(slices.remove(name)),
        }
    }
    let mut engine = Engine::new("here");
    for fact in slices.into_values() {
        engine.apply(Change::PutSlice(fact));
    }
    for fact in services.into_values() {
        engine.apply(Change::PutService(fact));
    }
    engine.recompute();
    engine
}

// ---- a daemon and a kernel without failures ----------------------------------------------------------------------------

/// The maps, who writes them, and the states that a client may see now.
struct World {
    tables: Tables,
    actual: Actual,
    /// Regions and slots whose grace period has begun but not ended.
    in_flight: Vec<Retired>,
}

impl World {
    fn new() -> Self {
        Self { tables: Tables::new(SIZES), actual: Actual::restore(&Dump::default(), SIZES), in_flight: Vec::new() }
    }

    /// All operations that bring `keys` to `desired`.
    fn plan(&mut self, desired: &Desired, keys: &BTreeSet<FrontendKey>) -> Vec<MapOp> {
        let plan = diff(&mut self.actual, desired, keys, &BTreeSet::new(), !self.in_flight.is_empty());
        assert!(plan.failed.is_empty() && plan.deferred.is_empty(), "no room in a history made for these sizes");
        if self.actual.has_retired() {
            self.in_flight.push(self.actual.take_retired());
        }
        plan.ops.into_iter().map(|(_, op)| op).collect()
    }

    /// The end of all grace periods.
    fn rest(&mut self) {
        for retired in std::mem::take(&mut self.in_flight) {
            for op in retired.ops() {
                self.tables.apply(&op);
            }
            self.actual.release(retired);
        }
    }
}

fn all_keys(actual: &Actual, desired: &Desired) -> BTreeSet<FrontendKey> {
    actual.keys().chain(desired.frontends.keys()).copied().collect()
}

/// `None`: not a service (or refused) is fine in that state.
fn live(state: &Desired, key: &FrontendKey) -> Option<BTreeSet<SocketAddr>> {
    state.frontends.get(key).map(|frontend| frontend.backends.iter().copied().collect())
}

/// Every frontend leads where the old or the new state wants it.
fn check(tables: &Tables, old: &Desired, new: &Desired) -> Result<(), TestCaseError> {
    let outcomes = tables.dump().outcomes();
    for key in old.frontends.keys().chain(new.frontends.keys()) {
        let (before, after) = (live(old, key), live(new, key));
        match outcomes.get(key) {
            None => prop_assert!(before.is_none() || after.is_none(), "{key:?} vanished"),
            Some(Outcome::Broken(part)) => prop_assert!(false, "{key:?}: {part}"),
            Some(Outcome::Refused) => {
                let empty = |state: &Option<BTreeSet<_>>| state.as_ref().is_some_and(BTreeSet::is_empty);
                prop_assert!(empty(&before) || empty(&after), "{key:?} refused");
            }
            Some(Outcome::Backends(backends)) => {
                let seen: BTreeSet<SocketAddr> = backends.iter().copied().collect();
                prop_assert!(Some(&seen) == before.as_ref() || Some(&seen) == after.as_ref(), "{key:?}: {seen:?}");
            }
        }
    }
    for key in outcomes.keys() {
        prop_assert!(old.frontends.contains_key(key) || new.frontends.contains_key(key), "{key:?} is nobody's");
    }
    Ok(())
}

/// Exactly the desired frontends, exactly their entries in use, no word left over.
fn check_final(world: &World, desired: &Desired) -> Result<(), TestCaseError> {
    let dump = world.tables.dump();
    prop_assert_eq!(render_outcomes(&dump.outcomes()), render_desired(desired));
    prop_assert_eq!(dump.sets.len(), desired.frontends.len(), "words without a frontend");
    let fill = world.actual.fill();
    let backends: usize = desired.frontends.values().map(|frontend| frontend.backends.len()).sum();
    prop_assert_eq!((fill.slots as usize, fill.backends as usize), (desired.frontends.len(), backends), "a leak");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_kept_up_is_what_is_computed_from_scratch(history in history()) {
        let mut engine = Engine::new("here");
        let mut mirror = Desired::default();
        for batch in &history {
            for change in batch {
                engine.apply(change.clone());
            }
            for key in engine.recompute() {
                match engine.desired().frontends.get(&key) {
                    Some(frontend) => mirror.frontends.insert(key, frontend.clone()),
                    None => mirror.frontends.remove(&key),
                };
            }
            // What was not touched has not changed.
            prop_assert_eq!(&mirror, engine.desired());
        }
        let fresh = from_scratch(&history);
        prop_assert_eq!(engine.desired(), fresh.desired());
        prop_assert_eq!(engine.notices(), fresh.notices());
        prop_assert_eq!(engine.counts(), fresh.counts());
    }

    #[test]
    fn facts_that_say_nothing_new_mark_nothing(history in history()) {
        let mut engine = from_scratch(&history);
        let repeated = history.iter().flatten().rev();
        let mut seen = BTreeSet::new();
        for change in repeated {
            let name = match change {
                Change::PutService(fact) => (true, fact.name.clone()),
                Change::DeleteService(name) => (true, name.clone()),
                Change::PutSlice(fact) => (false, fact.name.clone()),
                Change::DeleteSlice(name) => (false, name.clone()),
            };
            if seen.insert(name) {
                prop_assert!(!engine.apply(change.clone()), "{change:?} is known");
            }
        }
        prop_assert!(engine.recompute().is_empty());
    }

    #[test]
    fn every_prefix_of_the_operations_is_a_good_state(history in history()) {
        let mut engine = Engine::new("here");
        let mut world = World::new();
        for (round, batch) in history.iter().enumerate() {
            let old = engine.desired().clone();
            for change in batch {
                engine.apply(change.clone());
            }
            let touched = engine.recompute();
            let new = engine.desired();
            for op in world.plan(new, &touched) {
                check(&world.tables, &old, new)?;
                world.tables.apply(&op);
            }
            // All done, nothing released: as desired already, and still so while slots are cleared one by one.
            check(&world.tables, new, new)?;
            if round % 2 == 0 {
                for retired in &world.in_flight {
                    for op in retired.ops() {
                        world.tables.apply(&op);
                        check(&world.tables, new, new)?;
                    }
                }
                world.rest();
                check_final(&world, new)?;
            }
        }
    }

    /// A reader that took a frontend's word before the operations may read its backends after them: as long as the grace
    /// period lasts, what the word refers to is not overwritten.
    #[test]
    fn a_slow_reader_never_meets_a_reused_entry(history in history()) {
        let mut engine = Engine::new("here");
        let mut world = World::new();
        for batch in &history {
            let before = world.tables.dump();
            for change in batch {
                engine.apply(change.clone());
            }
            let touched = engine.recompute();
            for op in world.plan(engine.desired(), &touched) {
                world.tables.apply(&op);
                for set in before.sets.values() {
                    let base = set.word.base() as usize;
                    prop_assert_eq!(&world.tables.backends[base..base + set.backends.len()], &set.backends[..]);
                }
            }
            world.rest();
        }
    }

    #[test]
    fn a_restart_on_a_state_that_is_as_desired_writes_nothing(history in history()) {
        let engine = from_scratch(&history);
        let mut world = World::new();
        let keys = all_keys(&world.actual, engine.desired());
        for op in world.plan(engine.desired(), &keys) {
            world.tables.apply(&op);
        }
        let mut successor = Actual::restore(&world.tables.dump(), SIZES);
        prop_assert_eq!(world.actual.drift(&successor), 0);
        let keys = all_keys(&successor, engine.desired());
        let plan = diff(&mut successor, engine.desired(), &keys, &BTreeSet::new(), false);
        prop_assert_eq!(plan.ops, vec![]);
        prop_assert!(!successor.has_retired());
    }

    #[test]
    fn a_restart_on_any_prefix_converges_and_leaks_nothing(
        before in history(),
        after in history(),
        killed_after in any::<prop::sample::Index>(),
    ) {
        let old = from_scratch(&before);
        let new = from_scratch(&after);
        let mut world = World::new();
        let keys = all_keys(&world.actual, old.desired());
        for op in world.plan(old.desired(), &keys) {
            world.tables.apply(&op);
        }
        world.rest();
        let keys = all_keys(&world.actual, new.desired());
        let mut ops = world.plan(new.desired(), &keys);
        ops.extend(world.in_flight.iter().flat_map(Retired::ops));
        let killed_after = killed_after.index(ops.len() + 1);
        for op in &ops[..killed_after] {
            world.tables.apply(op);
        }

        let mut successor = World {
            actual: Actual::restore(&world.tables.dump(), SIZES),
            tables: world.tables,
            in_flight: Vec::new(),
        };
        let keys = all_keys(&successor.actual, new.desired());
        for op in successor.plan(new.desired(), &keys) {
            successor.tables.apply(&op);
            check(&successor.tables, old.desired(), new.desired())?;
        }
        successor.rest();
        check_final(&successor, new.desired())?;
    }
}
