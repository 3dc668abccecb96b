//! Numbers: slots of `SETS` and regions of `BACKENDS`.
//!
//! Neither allocator knows of time. A slot or region that programs may still read is not given back here before its grace
//! period is over; see [`crate::Retired`].

use std::collections::{BTreeMap, BTreeSet};

/// Hands out slots, the lowest first. Costs memory only for the gaps below the highest slot in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slots {
    size: u32,
    /// Every slot from here on is free.
    next: u32,
    free: BTreeSet<u32>,
}

impl Slots {
    /// `size` free slots, numbered from 0.
    #[must_use]
    pub fn new(size: u32) -> Self {
        Self { size, next: 0, free: BTreeSet::new() }
    }

    /// A free slot, in use from now on.
    pub fn allocate(&mut self) -> Option<u32> {
        if let Some(slot) = self.free.pop_first() {
            return Some(slot);
        }
        let slot = self.next;
        (slot < self.size).then(|| {
            self.next += 1;
            slot
        })
    }

    /// Takes a certain slot. `false`: it is in use or beyond the end.
    pub fn claim(&mut self, slot: u32) -> bool {
        if slot >= self.size {
            return false;
        }
        if slot < self.next {
            return self.free.remove(&slot);
        }
        self.free.extend(self.next..slot);
        self.next = slot + 1;
        true
    }

    /// Gives a slot back.
    pub fn release(&mut self, slot: u32) {
        self.free.insert(slot);
        while self.next > 0 && self.free.remove(&(self.next - 1)) {
            self.next -= 1;
        }
    }

    /// How many are in use.
    #[must_use]
    pub fn used(&self) -> u32 {
        self.next - self.free.len() as u32
    }
}

/// A run of entries of `BACKENDS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Region {
    /// Index of the first.
    pub base: u32,
    /// How many; not 0.
    pub count: u32,
}

/// Hands out regions: of the free runs that are long enough the shortest, of equals the lowest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regions {
    /// Free runs by first index; no two touch.
    free: BTreeMap<u32, u32>,
    /// The same runs, length before first index.
    by_length: BTreeSet<(u32, u32)>,
    size: u32,
    available: u32,
}

impl Regions {
    /// `size` free entries, numbered from 0.
    #[must_use]
    pub fn new(size: u32) -> Self {
        let mut regions = Self { free: BTreeMap::new(), by_length: BTreeSet::new(), size, available: size };
        if size > 0 {
            regions.add(0, size);
        }
        regions
    }

    /// A free region of `count` entries (not 0), in use from now on.
    pub fn allocate(&mut self, count: u32) -> Option<Region> {
        let &(_, base) = self.by_length.range((count, 0)..).next()?;
        self.claim(Region { base, count }).then_some(Region { base, count })
    }

    /// Takes a certain region. `false`: a part of it is in use or beyond the end, and nothing was taken.
    pub fn claim(&mut self, region: Region) -> bool {
        let Some(end) = region.base.checked_add(region.count) else { return false };
        let Some((&start, &length)) = self.free.range(..=region.base).next_back() else { return false };
        if region.count == 0 || end > start + length {
            return false;
        }
        self.take(start);
        if start < region.base {
            self.add(start, region.base - start);
        }
        if end < start + length {
            self.add(end, start + length - end);
        }
        self.available -= region.count;
        true
    }

    /// Gives a region back.
    pub fn release(&mut self, region: Region) {
        let Region { mut base, mut count } = region;
        self.available += count;
        if let Some((&start, &length)) = self.free.range(..base).next_back()
            && start + length == base
        {
            self.take(start);
            base = start;
            count += length;
        }
        if let Some(length) = self.take(base + count) {
            count += length;
        }
        self.add(base, count);
    }

    fn add(&mut self, base: u32, length: u32) {
        self.free.insert(base, length);
        self.by_length.insert((length, base));
    }

    fn take(&mut self, base: u32) -> Option<u32> {
        let length = self.free.remove(&base)?;
        self.by_length.remove(&(length, base));
        Some(length)
    }

    /// How many entries are in use.
    #[must_use]
    pub fn used(&self) -> u32 {
        self.size - self.available
    }

    /// How many entries are free, wherever they are.
    #[must_use]
    pub fn available(&self) -> u32 {
        self.available
    }
}
