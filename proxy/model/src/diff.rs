//! From what the maps hold to what they should: operations in an order in which every prefix is a good state.
//!
//! 1. fill free regions of `BACKENDS`: nobody reads them yet;
//! 2. switch sets: each a single atomic store, from one whole set to another;
//! 3. make new frontends known: their sets are published already;
//! 4. make old frontends unknown;
//! 5. (not here, but after a grace period: [`Retired`](crate::Retired)) clear slots, reuse slots and regions.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;

use fairlead_ebpf_shared::{Backend, Be16, Frontend, FrontendKey, frontend_tag};

use crate::actual::{Actual, Held, HeldSet, word};
use crate::desired::Desired;
use crate::ids::Region;
use crate::policy::address_bytes;
use crate::tables::{Entry, MapOp};

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

/// Why a frontend could not get its slot or its region.
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
}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slots { size } => write!(f, "all {size} frontend slots are in use"),
            Self::Backends { wanted, free, size } => {
                write!(f, "{wanted} backend entries in one run wanted, {free} of {size} free")
            }
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
    for entry in entries {
        let Entry::Frontend(key) = entry else { continue };
        let backends = desired.frontends.get(key).map(|frontend| &frontend.backends[..]);
        match backends {
            Some([]) if hold.contains(entry) && actual.has_backends(key) => {
                steps.plan.held_over.insert(*entry);
            }
            None if hold.contains(entry) && actual.held.contains_key(key) => {
                steps.plan.held_over.insert(*entry);
            }
            Some(backends) => {
                if let Err(no_room) = put(actual, key, backends, &mut steps) {
                    if in_flight || actual.has_retired() {
                        steps.plan.deferred.insert(*entry);
                    } else {
                        steps.plan.failed.insert(*entry, no_room);
                    }
                }
            }
            None => delete(actual, key, &mut steps),
        }
    }
    let Steps { mut plan, fill, switch, make, unmake } = steps;
    plan.ops = [fill, switch, make, unmake].concat();
    // A frontend may have found no room before a later one gave some up.
    if actual.has_retired() {
        plan.deferred.extend(std::mem::take(&mut plan.failed).into_keys());
    }
    plan
}

#[derive(Default)]
struct Steps {
    plan: Plan,
    fill: Vec<(Entry, MapOp)>,
    switch: Vec<(Entry, MapOp)>,
    make: Vec<(Entry, MapOp)>,
    unmake: Vec<(Entry, MapOp)>,
}

fn put(actual: &mut Actual, key: &FrontendKey, backends: &[SocketAddr], steps: &mut Steps) -> Result<(), NoRoom> {
    let slot = match actual.held.get(key) {
        Some(Held::Slot { set: Some(set), .. }) if set.backends == backends => return Ok(()),
        Some(Held::Slot { slot, .. }) => Some(*slot),
        Some(Held::Unusable) | None => None,
    };
    let region = match backends.len() as u32 {
        0 => None,
        wanted => Some(actual.regions.allocate(wanted).ok_or(NoRoom::Backends {
            wanted,
            free: actual.regions.available(),
            size: actual.sizes.backends,
        })?),
    };
    let known = slot.is_some();
    let Some(slot) = slot.or_else(|| actual.slots.allocate()) else {
        return_region(actual, region);
        return Err(NoRoom::Slots { size: actual.sizes.slots });
    };
    let tag = frontend_tag(key, slot);
    let Some(word) = word(region, tag) else {
        return_region(actual, region);
        return Err(NoRoom::Backends { wanted: backends.len() as u32, free: 0, size: actual.sizes.backends });
    };

    if let Some(Region { base, .. }) = region {
        let backends = backends.iter().map(|addr| backend(*addr, tag)).collect();
        steps.fill.push((Entry::Frontend(*key), MapOp::PutBackends { base, backends }));
    }
    steps.switch.push((Entry::Frontend(*key), MapOp::SwitchSet { slot, word }));
    if !known {
        steps.make.push((Entry::Frontend(*key), MapOp::PutFrontend { key: *key, value: Frontend { slot, tag } }));
    }
    let now = Held::Slot { slot, set: Some(HeldSet { region, backends: backends.to_vec() }) };
    if let Some(Held::Slot { set: Some(old), .. }) = actual.held.insert(*key, now) {
        actual.retired.regions.extend(old.region);
    }
    Ok(())
}

fn delete(actual: &mut Actual, key: &FrontendKey, steps: &mut Steps) {
    let Some(held) = actual.held.remove(key) else { return };
    steps.unmake.push((Entry::Frontend(*key), MapOp::DeleteFrontend { key: *key }));
    if let Held::Slot { slot, set } = held {
        actual.retired.slots.push(slot);
        actual.retired.regions.extend(set.and_then(|set| set.region));
    }
}

/// A region that nothing was published from needs no grace period.
fn return_region(actual: &mut Actual, region: Option<Region>) {
    if let Some(region) = region {
        actual.regions.release(region);
    }
}

/// The map entry of a backend.
fn backend(addr: SocketAddr, tag: u32) -> Backend {
    Backend { addr: address_bytes(addr.ip()), port: Be16::new(addr.port()), reserved: 0, tag }
}

impl Actual {
    fn has_backends(&self, key: &FrontendKey) -> bool {
        matches!(self.held.get(key), Some(Held::Slot { set: Some(set), .. }) if !set.backends.is_empty())
    }
}
