//! From what the maps hold to what they should: operations in an order in which every prefix is a good state.
//!
//! 1. fill free regions of `BACKENDS` and add ranges: nobody reads or needs them yet;
//! 2. switch sets: each a single atomic store, from one whole set to another; options before a set that becomes empty, after
//!    one that gets backends, so that an empty set always has a reason;
//! 3. delete ranges of frontends that keep others; make addresses unknown that are no node's or not this node's any more;
//! 4. make new frontends known, or lead known ones to another slot: what is in their slots is published already;
//! 5. make known what is a cluster IP, and unknown what is none any more;
//! 6. make old frontends unknown;
//! 7. make the addresses of nodes known: what is served there is;
//! 8. (not here, but after a grace period: [`Retired`](crate::Retired)) delete the other ranges that nobody wants, clear
//!    slots, reuse slots and regions.

mod put;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use fairlead_ebpf_shared::{AddressClass, AddressWord, FrontendKey};

use crate::actual::{Actual, Held, HeldSlot};
use crate::desired::Desired;
use crate::policy::address_bytes;
use crate::ranges::range_key;
use crate::tables::{Entry, MapOp};

use put::put;

/// Operations and what could not be ordered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In order. Each with the entry it is for: when one fails, the later ones for the same entry must not run.
    pub ops: Vec<(Entry, MapOp)>,
    /// Entries for which there is no room. They stay as they are.
    pub failed: BTreeMap<Entry, NoRoom>,
    /// Entries for which there may be room once what is retired has been released.
    pub deferred: BTreeSet<Entry>,
    /// Entries left alone because they are to be held.
    pub held_over: BTreeSet<Entry>,
}

/// Why an entry could not be brought up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// Every slot is in use.
    Slots {
        /// How many slots there are.
        size: u32,
    },
    /// No free run of backend entries is long enough.
    Backends {
        /// Entries wanted, in one run.
        wanted: u32,
        /// Entries free, wherever they are.
        free: u32,
        /// How many entries there are.
        size: u32,
    },
    /// Not enough range entries are free.
    Ranges {
        /// Entries wanted.
        wanted: u32,
        /// Entries free.
        free: u32,
        /// How many entries there are.
        size: u32,
    },
    /// Every address entry is in use.
    Addresses {
        /// How many entries there are.
        size: u32,
    },
}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slots { size } => write!(f, "all {size} frontend slots are in use"),
            Self::Backends { wanted, free, size } => {
                write!(f, "{wanted} backend entries in one run wanted, {free} of {size} free")
            }
            Self::Ranges { wanted, free, size } => {
                write!(f, "{wanted} source range entries wanted, {free} of {size} free")
            }
            Self::Addresses { size } => write!(f, "all {size} address entries are in use"),
        }
    }
}

/// Orders what makes `entries` as desired, and notes in `actual` that it was done.
///
/// Of the entries in `hold` none is deleted and no set becomes empty: a part of the facts is not known yet, and what is
/// missing may be in it. `in_flight`: slots or regions wait for a grace period to end.
pub fn diff<'a>(
    actual: &mut Actual,
    desired: &Desired,
    entries: impl IntoIterator<Item = &'a Entry>,
    hold: &BTreeSet<Entry>,
    in_flight: bool,
) -> Plan {
    let mut steps = Steps::default();
    // An affinity group goes by the slot of one of its frontends: that one comes first, the others think again when its
    // slot is another.
    let mut named_elsewhere: BTreeSet<FrontendKey> = BTreeSet::new();
    let put_one = |actual: &mut Actual, key: &FrontendKey, steps: &mut Steps| -> bool {
        let (entry, slot) = (Entry::Frontend(*key), actual.slot(key));
        match put(actual, desired, key, steps) {
            Ok(()) => {}
            Err(_) if in_flight || actual.has_retired() => drop(steps.plan.deferred.insert(entry)),
            Err(no_room) => drop(steps.plan.failed.insert(entry, no_room)),
        }
        actual.slot(key) != slot
    };
    for entry in entries {
        let is_held = hold.contains(entry);
        match entry {
            Entry::Address(addr) => put_address(actual, desired, *addr, is_held, &mut steps),
            Entry::Frontend(key) => match desired.frontends.get(key) {
                Some(frontend) if is_held && frontend.backends.is_empty() && actual.has_backends(key) => {
                    steps.plan.held_over.insert(*entry);
                }
                Some(frontend) if desired.group_of(key, frontend) != *key => drop(named_elsewhere.insert(*key)),
                Some(frontend) => {
                    if put_one(actual, key, &mut steps) {
                        named_elsewhere.extend(frontend.members.iter().filter(|key| actual.held.contains_key(key)));
                    }
                }
                None if is_held && actual.held.contains_key(key) => drop(steps.plan.held_over.insert(*entry)),
                None => delete(actual, key, &mut steps),
            },
        }
    }
    for key in &named_elsewhere {
        if desired.frontends.contains_key(key) && !steps.plan.held_over.contains(&Entry::Frontend(*key)) {
            put_one(actual, key, &mut steps);
        }
    }
    steps.finish(actual)
}

/// The operations of each step.
#[derive(Default)]
struct Steps {
    plan: Plan,
    fill: Vec<(Entry, MapOp)>,
    options_first: Vec<(Entry, MapOp)>,
    switch: Vec<(Entry, MapOp)>,
    options_last: Vec<(Entry, MapOp)>,
    unrange: Vec<(Entry, MapOp)>,
    strangers: Vec<(Entry, MapOp)>,
    make: Vec<(Entry, MapOp)>,
    addresses_first: Vec<(Entry, MapOp)>,
    unmake: Vec<(Entry, MapOp)>,
    addresses_last: Vec<(Entry, MapOp)>,
}

impl Steps {
    fn finish(self, actual: &Actual) -> Plan {
        let Self {
            mut plan,
            fill,
            options_first,
            switch,
            options_last,
            unrange,
            strangers,
            make,
            addresses_first,
            unmake,
            addresses_last,
        } = self;
        plan.ops = [
            fill,
            options_first,
            switch,
            options_last,
            unrange,
            strangers,
            make,
            addresses_first,
            unmake,
            addresses_last,
        ]
        .concat();
        // A frontend may have found no room before a later one gave some up.
        if actual.has_retired() {
            plan.deferred.extend(std::mem::take(&mut plan.failed).into_keys());
        }
        plan
    }
}

fn delete(actual: &mut Actual, key: &FrontendKey, steps: &mut Steps) {
    let Some(held) = actual.held.remove(key) else { return };
    steps.unmake.push((Entry::Frontend(*key), MapOp::DeleteFrontend { key: *key }));
    if let Held::Slot(held) = held {
        actual.retire(held);
    }
}

fn put_address(actual: &mut Actual, desired: &Desired, addr: IpAddr, is_held: bool, steps: &mut Steps) {
    let (entry, bytes) = (Entry::Address(addr), address_bytes(addr));
    let known = actual.addresses.get(&addr).copied();
    match desired.addresses.get(&addr).copied() {
        Some(class) if known == Some(Some(class)) => {}
        Some(class) => {
            if known.is_none() && actual.addresses.len() >= actual.sizes.addresses as usize {
                steps.plan.failed.insert(entry, NoRoom::Addresses { size: actual.sizes.addresses });
                return;
            }
            let op = MapOp::PutAddress { addr: bytes, value: AddressWord::new(&bytes, class) };
            let step = match class {
                AddressClass::ClusterIp => &mut steps.addresses_first,
                AddressClass::OtherNode if known == Some(Some(AddressClass::OwnNode)) => &mut steps.strangers,
                AddressClass::OwnNode | AddressClass::OtherNode => &mut steps.addresses_last,
            };
            step.push((entry, op));
            actual.addresses.insert(addr, Some(class));
        }
        None if known.is_none() => {}
        None if is_held => drop(steps.plan.held_over.insert(entry)),
        None => {
            // A cluster IP is one until its frontends are gone; a node's address is none before new NodePorts are served.
            let step = match known {
                Some(Some(AddressClass::ClusterIp)) => &mut steps.addresses_first,
                _ => &mut steps.strangers,
            };
            step.push((entry, MapOp::DeleteAddress { addr: bytes }));
            actual.addresses.remove(&addr);
        }
    }
}

impl Actual {
    fn has_backends(&self, key: &FrontendKey) -> bool {
        match self.held.get(key) {
            Some(Held::Slot(held)) => held.set.as_ref().is_some_and(|set| !set.backends.is_empty()),
            _ => false,
        }
    }

    /// The frontend that had it is gone or leads elsewhere.
    fn retire(&mut self, held: HeldSlot) {
        let HeldSlot { slot, owner: _, set, options: _, ranges } = held;
        self.retired.slots.push(slot);
        self.retired.regions.extend(set.and_then(|set| set.region));
        self.retire_ranges(slot, &ranges);
    }

    fn retire_ranges(&mut self, slot: u32, nets: &[ipnet::IpNet]) {
        for net in nets {
            let key = range_key(slot, *net);
            self.ranges.retire(key);
            self.retired.ranges.push(key);
        }
    }
}
