//! What the maps hold, which slots and regions are taken, and what waits for its grace period.
//!
//! The value is right as long as every operation succeeds that [`crate::diff()`] orders. When one does not, the owner throws
//! the value away, waits a grace period, reads the maps and starts again from [`Actual::restore`]; a killed daemon's
//! successor does the same. So there is one way back and it is used every day.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use fairlead_ebpf_shared::{Backend, Frontend, FrontendKey, SetWord, frontend_tag, unmapped};

use crate::ids::{Region, Regions, Slots};
use crate::tables::{Dump, Entry, MapOp, Sizes};

/// The maps' content as far as it decides anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actual {
    pub(crate) sizes: Sizes,
    pub(crate) held: BTreeMap<FrontendKey, Held>,
    pub(crate) slots: Slots,
    pub(crate) regions: Regions,
    pub(crate) retired: Retired,
}

/// What `FRONTENDS` holds under one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// A value of ours.
    Slot {
        slot: u32,
        /// `None`: the slot's word, or a backend it refers to, is not ours.
        set: Option<HeldSet>,
    },
    /// A value that leads nowhere, or to the slot of another.
    Unusable,
}

/// A published set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeldSet {
    /// `None` for the empty set.
    pub region: Option<Region>,
    /// Ascending.
    pub backends: Vec<SocketAddr>,
}

/// Slots and regions that nothing refers to any more, but that a program may still read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "slots and regions that are not released after their grace period are lost until the next restart"]
pub struct Retired {
    pub(crate) slots: Vec<u32>,
    pub(crate) regions: Vec<Region>,
}

impl Retired {
    /// Nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.regions.is_empty()
    }

    /// What to write, once the grace period is over and before [`Actual::release`].
    pub fn ops<'a>(&'a self, _actual: &Actual) -> impl Iterator<Item = MapOp> + 'a {
        self.slots.iter().map(|&slot| MapOp::ClearSlot { slot })
    }
}

/// How full the maps are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// Slots in use or not yet released.
    pub slots: u32,
    /// Backend entries in use or not yet released.
    pub backends: u32,
    /// How many there are.
    pub sizes: Sizes,
}

impl Actual {
    /// What a dump says. Words that no frontend refers to are retired at once, to be cleared and released.
    ///
    /// The caller lets a grace period pass between the last write of whoever wrote before and the first write after this:
    /// regions that the dump shows free may have been retired a moment ago.
    #[must_use]
    pub fn restore(dump: &Dump, sizes: Sizes) -> Self {
        let mut actual = Self {
            sizes,
            held: BTreeMap::new(),
            slots: Slots::new(sizes.slots),
            regions: Regions::new(sizes.backends),
            retired: Retired::default(),
        };
        for (key, value) in &dump.frontends {
            let held = actual.restore_frontend(dump, key, value);
            actual.held.insert(*key, held);
        }
        for (&slot, set) in &dump.sets {
            if !actual.slots.claim(slot) {
                continue;
            }
            actual.retired.slots.push(slot);
            let region = Region { base: set.word.base(), count: set.word.count() };
            if actual.regions.claim(region) {
                actual.retired.regions.push(region);
            }
        }
        actual
    }

    fn restore_frontend(&mut self, dump: &Dump, key: &FrontendKey, value: &Frontend) -> Held {
        if value.tag != frontend_tag(key, value.slot) || !self.slots.claim(value.slot) {
            return Held::Unusable;
        }
        let set = dump.sets.get(&value.slot).and_then(|set| {
            let (word, backends) = (set.word, &set.backends);
            let ours = word.tag() == value.tag && backends.iter().all(|backend| backend.tag == value.tag);
            if !ours || backends.len() != word.count() as usize {
                return None;
            }
            let region = Region { base: word.base(), count: word.count() };
            if region.count > 0 && !self.regions.claim(region) {
                return None;
            }
            let mut backends: Vec<SocketAddr> = backends.iter().map(socket_addr).collect();
            backends.sort_unstable();
            Some(HeldSet { region: (region.count > 0).then_some(region), backends })
        });
        Held::Slot { slot: value.slot, set }
    }

    /// Everything that the maps hold.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        self.held.keys().copied().map(Entry::Frontend)
    }

    /// The slot of a frontend.
    #[must_use]
    pub fn slot(&self, key: &FrontendKey) -> Option<u32> {
        match self.held.get(key)? {
            Held::Slot { slot, .. } => Some(*slot),
            Held::Unusable => None,
        }
    }

    /// Hands over what has been retired, to be released after a grace period that starts now or later.
    pub fn take_retired(&mut self) -> Retired {
        std::mem::take(&mut self.retired)
    }

    /// Whether anything waits for a grace period to start.
    #[must_use]
    pub fn has_retired(&self) -> bool {
        !self.retired.is_empty()
    }

    /// Makes slots and regions free again, after their grace period and after [`Retired::ops`].
    pub fn release(&mut self, retired: Retired) {
        for slot in retired.slots {
            self.slots.release(slot);
        }
        for region in retired.regions {
            self.regions.release(region);
        }
    }

    /// In how many places `found`, restored from a fresh dump, is other than this. Both at rest: nothing retired here that
    /// was not released.
    #[must_use]
    pub fn drift(&self, found: &Self) -> usize {
        let changed = self.held.iter().filter(|(key, held)| found.held.get(key) != Some(held)).count();
        let strange = found.held.keys().filter(|key| !self.held.contains_key(key)).count();
        changed + strange + found.retired.slots.len()
    }

    /// How full the maps are.
    #[must_use]
    pub fn fill(&self) -> Fill {
        Fill { slots: self.slots.used(), backends: self.regions.used(), sizes: self.sizes }
    }
}

/// The address and port of a backend.
#[must_use]
pub fn socket_addr(backend: &Backend) -> SocketAddr {
    SocketAddr::new(ip_addr(backend.addr), backend.port.get())
}

/// An address out of a map.
#[must_use]
pub fn ip_addr(addr: [u8; 16]) -> IpAddr {
    unmapped(addr).map_or_else(|| IpAddr::from(addr), IpAddr::from)
}

/// A word for `region`, or the empty set. `None`: it does not fit, which sizes of at most [`SetWord::BASE_LIMIT`] exclude.
pub(crate) fn word(region: Option<Region>, tag: u32) -> Option<SetWord> {
    region.map_or(SetWord::new(0, 0, tag), |region| SetWord::new(region.base, region.count, tag))
}
