//! What the maps hold, which slots and regions are taken, and what waits for its grace period.
//!
//! The value is right as long as every operation succeeds that [`crate::diff()`] orders. When one does not, the owner throws
//! the value away, waits a grace period, reads the maps and starts again from [`Actual::restore`]; a killed daemon's
//! successor does the same. So there is one way back and it is used every day.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use fairlead_ebpf_shared::{AddressClass, Backend, FrontendKey, Options, RangeKey, SetWord, unmapped};
use ipnet::IpNet;

use crate::facts::ObjectName;
use crate::ids::{Region, Regions, Slots};
use crate::tables::{Entry, MapOp, Sizes};

/// The maps' content as far as it decides anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actual {
    pub(crate) sizes: Sizes,
    pub(crate) held: BTreeMap<FrontendKey, Held>,
    /// `None`: a word that is not the address's own.
    pub(crate) addresses: BTreeMap<IpAddr, Option<AddressClass>>,
    pub(crate) slots: Slots,
    pub(crate) regions: Regions,
    pub(crate) ranges: Ranges,
    pub(crate) retired: Retired,
}

/// What `FRONTENDS` holds under one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// A value of ours.
    Slot(HeldSlot),
    /// A value that leads nowhere, or to the slot of another.
    Unusable,
}

/// A slot with what is published in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeldSlot {
    pub slot: u32,
    /// For whom it was made; `None`: it was found.
    pub owner: Option<ObjectName>,
    /// `None`: the slot's word, or a backend it refers to, is not ours.
    pub set: Option<HeldSet>,
    /// `None`: not ours.
    pub options: Option<Options>,
    /// Ascending.
    pub ranges: Arc<[IpNet]>,
}

/// A published set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeldSet {
    /// `None` for the empty set.
    pub region: Option<Region>,
    /// Ascending.
    pub backends: Arc<[SocketAddr]>,
}

/// The entries of `RANGES`: all, those that are wanted, and how often each has been retired and not yet released.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges {
    pub present: BTreeSet<RangeKey>,
    pub wanted: BTreeSet<RangeKey>,
    pub waiting: BTreeMap<RangeKey, u32>,
}

impl Ranges {
    pub fn retire(&mut self, key: RangeKey) {
        self.wanted.remove(&key);
        *self.waiting.entry(key).or_default() += 1;
    }

    /// Whether nobody wants it again by now, and nobody has stopped to want it later.
    fn is_over(&self, key: &RangeKey) -> bool {
        !self.wanted.contains(key) && self.waiting.get(key).is_none_or(|waiting| *waiting == 1)
    }

    fn release(&mut self, key: RangeKey) {
        if self.is_over(&key) {
            self.present.remove(&key);
        }
        if let Some(waiting) = self.waiting.get_mut(&key) {
            *waiting -= 1;
            if *waiting == 0 {
                self.waiting.remove(&key);
            }
        }
    }
}

/// Slots, regions and ranges that nothing refers to any more, but that a program may still read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "what is not released after its grace period is lost until the next restart"]
pub struct Retired {
    pub(crate) slots: Vec<u32>,
    pub(crate) regions: Vec<Region>,
    pub(crate) ranges: Vec<RangeKey>,
}

impl Retired {
    /// Nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.regions.is_empty() && self.ranges.is_empty()
    }

    /// What to write, once the grace period is over and before [`Actual::release`]. A range that
    /// has come back meanwhile stays.
    pub fn ops<'a>(&'a self, actual: &'a Actual) -> impl Iterator<Item = MapOp> + 'a {
        let unwanted = self.ranges.iter().filter(|key| actual.ranges.is_over(key));
        let ranges = unwanted.map(|&key| MapOp::DeleteRange { key });
        ranges.chain(self.slots.iter().map(|&slot| MapOp::ClearSlot { slot }))
    }
}

/// How full the maps are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// Slots in use or not yet released.
    pub slots: u32,
    /// Backend entries in use or not yet released.
    pub backends: u32,
    /// Addresses.
    pub addresses: u32,
    /// Source ranges in use or not yet released.
    pub ranges: u32,
    /// How many there are.
    pub sizes: Sizes,
}

impl Actual {
    /// Everything that the maps hold.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        let frontends = self.held.keys().copied().map(Entry::Frontend);
        frontends.chain(self.addresses.keys().copied().map(Entry::Address))
    }

    /// Whether the maps hold it.
    #[must_use]
    pub fn holds(&self, entry: &Entry) -> bool {
        match entry {
            Entry::Frontend(key) => self.held.contains_key(key),
            Entry::Address(addr) => self.addresses.contains_key(addr),
        }
    }

    /// The slot of a frontend.
    #[must_use]
    pub fn slot(&self, key: &FrontendKey) -> Option<u32> {
        match self.held.get(key)? {
            Held::Slot(held) => Some(held.slot),
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

    /// Makes slots, regions and ranges free again, after their grace period and after [`Retired::ops`].
    pub fn release(&mut self, retired: Retired) {
        for slot in retired.slots {
            self.slots.release(slot);
        }
        for region in retired.regions {
            self.regions.release(region);
        }
        for key in retired.ranges {
            self.ranges.release(key);
        }
    }

    /// In how many places `found`, restored from a fresh dump, is other than this. Both at rest: nothing retired here that
    /// was not released.
    #[must_use]
    pub fn drift(&self, found: &Self) -> usize {
        let frontends =
            self.held.iter().filter(|(key, held)| !found.held.get(key).is_some_and(|found| held.is_as(found)));
        let strange = found.held.keys().filter(|key| !self.held.contains_key(key));
        let addresses = self.addresses.iter().filter(|(addr, class)| found.addresses.get(addr) != Some(class));
        let strange_addresses = found.addresses.keys().filter(|addr| !self.addresses.contains_key(addr));
        frontends.count()
            + strange.count()
            + addresses.count()
            + strange_addresses.count()
            + found.retired.slots.len()
            + found.retired.ranges.len()
    }

    /// How full the maps are.
    #[must_use]
    pub fn fill(&self) -> Fill {
        Fill {
            slots: self.slots.used(),
            backends: self.regions.used(),
            addresses: self.addresses.len() as u32,
            ranges: self.ranges.present.len() as u32,
            sizes: self.sizes,
        }
    }
}

impl Held {
    /// Equal but for whom it was made for, which the maps do not tell.
    fn is_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unusable, Self::Unusable) => true,
            (Self::Slot(held), Self::Slot(found)) => {
                let HeldSlot { slot, owner: _, set, options, ranges } = held;
                *slot == found.slot && *set == found.set && *options == found.options && *ranges == found.ranges
            }
            _ => false,
        }
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
