//! A daemon and a kernel without failures, and what a client may see of them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use fairlead_ebpf_shared::{OptionsWord, SCOPE_NODE, SCOPE_OUTSIDE};
use fairlead_proxy_model::{
    Actual, Change, Client, Desired, Engine, Entry, MapOp, Protocol, Resolved, Retired, Settings, Sizes, Tables, View,
    diff, render_desired, render_view,
};
use proptest::prelude::*;

use super::generate::Facts;
use super::reference::Probe;

pub const SIZES: Sizes = Sizes { slots: 256, backends: 1024, addresses: 64, ranges: 256 };

/// The maps, who writes them, and the states that a client may see now.
pub struct World {
    pub tables: Tables,
    pub actual: Actual,
    /// What waits for a grace period that has begun but not ended.
    pub in_flight: Vec<Retired>,
}

impl World {
    pub fn new() -> Self {
        Self::restored(Tables::new(SIZES))
    }

    pub fn restored(tables: Tables) -> Self {
        Self { actual: Actual::restore(&tables.dump(), SIZES), tables, in_flight: Vec::new() }
    }

    /// All operations that bring `entries` to `desired`.
    pub fn plan(&mut self, desired: &Desired, entries: &BTreeSet<Entry>) -> Vec<MapOp> {
        let plan = diff(&mut self.actual, desired, entries, &BTreeSet::new(), !self.in_flight.is_empty());
        assert!(plan.failed.is_empty() && plan.deferred.is_empty(), "no room in a history made for these sizes");
        if self.actual.has_retired() {
            self.in_flight.push(self.actual.take_retired());
        }
        plan.ops.into_iter().map(|(_, op)| op).collect()
    }

    /// The operations at the end of the grace periods, as they would be now.
    pub fn rest_ops(&self) -> Vec<MapOp> {
        self.in_flight.iter().flat_map(|retired| retired.ops(&self.actual)).collect()
    }

    /// The end of all grace periods.
    pub fn rest(&mut self) {
        for retired in std::mem::take(&mut self.in_flight) {
            for op in retired.ops(&self.actual) {
                self.tables.apply(&op);
            }
            self.actual.release(retired);
        }
    }

    /// The maps as desired, with no trace of how they came to be so.
    pub fn settled(desired: &Desired) -> Self {
        let mut world = Self::new();
        for op in world.plan(desired, &desired.entries().collect()) {
            world.tables.apply(&op);
        }
        world
    }
}

pub fn all_entries(actual: &Actual, desired: &Desired) -> BTreeSet<Entry> {
    actual.entries().chain(desired.entries()).collect()
}

pub fn engine_of(settings: &Settings, changes: impl IntoIterator<Item = Change>) -> Engine {
    let mut engine = Engine::new(settings.clone());
    for change in changes {
        engine.apply(change);
    }
    let _ = engine.recompute();
    engine
}

pub fn facts_of(history: &[Vec<Change>]) -> Facts {
    let mut facts = Facts::default();
    history.iter().flatten().for_each(|change| facts.apply(change));
    facts
}

/// Every client at every place that the facts speak of, and next to it.
pub fn probes() -> Vec<Probe> {
    let v4 = |addr: [u8; 4]| IpAddr::from(addr);
    let v6 = |group: u16, last: u16| IpAddr::from([0xfd00, group, 0, 0, 0, 0, 0, last]);
    let mut places: Vec<IpAddr> = vec![v4([127, 0, 0, 1]), v4([0, 0, 0, 0]), v4([8, 8, 8, 8])];
    places.extend((1..5).map(|last| v4([10, 96, 0, last])));
    places.extend((1..4).map(|last| v4([203, 0, 113, last])));
    places.extend((1..4).map(|last| v4([192, 168, 0, last])));
    places.extend([v6(0, 1), v6(0, 3), v6(9, 1), v6(9, 2)]);
    let client = |addr, is_host, scope| Client { addr, netns: 7, is_host, scope };
    let mut probes = Vec::new();
    for addr in places {
        let (inside, outside, node) = match addr {
            IpAddr::V4(_) => (v4([10, 244, 1, 1]), v4([172, 16, 0, 1]), v4([192, 168, 0, 1])),
            IpAddr::V6(_) => (v6(1, 1), v6(7, 7), v6(9, 1)),
        };
        for client in [
            client(Some(inside), false, SCOPE_NODE),
            client(Some(outside), false, SCOPE_NODE),
            client(Some(node), true, SCOPE_NODE),
            client(None, false, SCOPE_NODE),
            client(Some(outside), false, SCOPE_OUTSIDE),
            client(Some(v4([203, 0, 113, 1])), false, SCOPE_OUTSIDE),
        ] {
            for port in [80, 82, 30_000, 30_002] {
                for protocol in [Protocol::Tcp, Protocol::Udp] {
                    probes.push(Probe { client, addr, port, protocol });
                }
            }
        }
    }
    probes
}

/// Every frontend leads where the old or the new state wants it, by the rules of the old or the new state; and if it has
/// gone from one service to another, all of it is the one's or the other's.
pub fn check(tables: &Tables, old: &Desired, new: &Desired) -> Result<(), TestCaseError> {
    check_view(&tables.dump().view(), (&old.view(), old), (&new.view(), new))
}

pub fn check_view(now: &View, old: (&View, &Desired), new: (&View, &Desired)) -> Result<(), TestCaseError> {
    for (key, resolved) in &now.frontends {
        let before = old.0.frontends.get(key);
        let after = new.0.frontends.get(key);
        prop_assert!(before.is_some() || after.is_some(), "{key:?} is nobody's");
        let owner = |desired: &Desired| desired.frontends.get(key).map(|frontend| frontend.service.clone());
        let has_moved = owner(old.1).is_some() && owner(new.1).is_some() && owner(old.1) != owner(new.1);
        let is = |wanted: Option<&Resolved>| wanted.is_some_and(|wanted| same(wanted, resolved));
        if has_moved {
            prop_assert!(is(before) || is(after), "{key:?} is neither's:\n{resolved:?}\n{before:?}\n{after:?}");
            continue;
        }
        let either = |part: &dyn Fn(&Resolved) -> bool| [before, after].into_iter().flatten().any(part);
        prop_assert!(either(&|wanted| wanted.outcome == resolved.outcome), "{key:?} leads to {:?}", resolved.outcome);
        prop_assert!(
            either(&|wanted| plain(wanted) == plain(resolved)),
            "{key:?} {:?} {:?} {:?}",
            resolved.options,
            before,
            after
        );
        if plain(resolved).1 & OptionsWord::FLAG_RANGES != 0 {
            // A client that both states admit is admitted, one that neither does is not.
            let sets: Vec<BTreeSet<_>> =
                [before, after].into_iter().flatten().filter(|wanted| !wanted.ranges.is_empty()).map(ranges).collect();
            let present = ranges(resolved);
            prop_assert!(sets.iter().any(|set| set.is_subset(&present)), "{key:?} lacks ranges");
            prop_assert!(
                present.iter().all(|net| sets.iter().any(|set| set.contains(net))),
                "{key:?} has ranges of nobody"
            );
        }
    }
    for key in old.0.frontends.keys().filter(|key| new.0.frontends.contains_key(key)) {
        prop_assert!(now.frontends.contains_key(key), "{key:?} vanished");
    }
    for (addr, class) in &now.addresses {
        prop_assert!(
            old.0.addresses.get(addr) == Some(class) || new.0.addresses.get(addr) == Some(class),
            "{addr} is {class:?}"
        );
    }
    for addr in old.0.addresses.keys().filter(|addr| new.0.addresses.contains_key(addr)) {
        prop_assert!(now.addresses.contains_key(addr), "{addr} vanished");
    }
    Ok(())
}

fn ranges(resolved: &Resolved) -> BTreeSet<ipnet::IpNet> {
    resolved.ranges.iter().copied().collect()
}

/// Time-out and flags but for what an empty set does, which its outcome tells.
fn plain(resolved: &Resolved) -> (u32, u8) {
    (resolved.options.affinity_s, resolved.options.flags & !OptionsWord::FLAG_DROP)
}

/// Equal but for the group, which is a number of another frontend.
fn same(wanted: &Resolved, resolved: &Resolved) -> bool {
    wanted.outcome == resolved.outcome && plain(wanted) == plain(resolved) && wanted.ranges == resolved.ranges
}

/// Exactly the desired frontends, exactly their entries in use, nothing left over.
pub fn check_final(world: &World, desired: &Desired) -> Result<(), TestCaseError> {
    let dump = world.tables.dump();
    prop_assert_eq!(render_view(&dump.view()), render_desired(desired));
    prop_assert_eq!(dump.sets.len(), desired.frontends.len(), "words without a frontend");
    prop_assert_eq!(dump.options.len(), desired.frontends.len(), "options without a frontend");
    let fill = world.actual.fill();
    let backends: usize = desired.frontends.values().map(|frontend| frontend.backends.len()).sum();
    let ranges: usize =
        desired.frontends.values().map(|frontend| frontend.ranges.as_ref().map_or(0, |r| r.len())).sum();
    prop_assert_eq!((fill.slots as usize, fill.backends as usize), (desired.frontends.len(), backends), "a leak");
    prop_assert_eq!((fill.ranges as usize, dump.ranges.len()), (ranges, ranges), "a range is left");
    prop_assert_eq!(fill.addresses as usize, desired.addresses.len());
    let found = Actual::restore(&dump, SIZES);
    prop_assert_eq!(world.actual.drift(&found), 0);
    Ok(())
}
