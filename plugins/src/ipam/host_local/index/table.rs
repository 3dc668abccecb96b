//! Slots on pages: a hash says on which page a slot is, so that one read of 4 KiB finds it or says that it is not there.
//!
//! A page has 63 slots; its first 64 bytes say whether it was ever full. Only then can what belongs on it be on the next
//! one. Nothing is moved, so one write of 64 bytes adds or removes a slot.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::slot::{self, Block, Entry, Held, SIZE, Slot, fnv};
use super::{Address, Distrust};
use crate::ipam::host_local::lease::Key;

/// Bytes of a page.
pub const PAGE: usize = 4096;
const PER_PAGE: usize = PAGE / SIZE;
/// What the first slot of a page that was full begins with.
const OVERFLOWED: u8 = 0xff;

/// Pages, some of them read.
#[derive(Debug)]
pub struct Table {
    /// Where the pages are that were not read yet. `None`: all are in memory, and were never written.
    file: Option<File>,
    /// How many pages there are: a power of two.
    count: u32,
    pages: BTreeMap<u32, Page>,
}

#[derive(Debug)]
struct Page {
    bytes: Box<[u8; PAGE]>,
    /// The slots from the first to the last that was changed and not written.
    dirty: Option<(usize, usize)>,
}

/// Where a slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    page: u32,
    slot: usize,
}

impl Table {
    /// `count` pages of nothing, in memory.
    pub fn empty(count: u32) -> Table {
        let page = || Page { bytes: Box::new([0; PAGE]), dirty: None };
        Table { file: None, count, pages: (0..count).map(|number| (number, page())).collect() }
    }

    /// `count` pages of a file, after one page of something else.
    pub fn of_file(file: File, count: u32) -> Table {
        Table { file: Some(file), count, pages: BTreeMap::new() }
    }

    /// The file, if there is one.
    pub fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }

    /// Says where all pages were written to, after one page of something else.
    pub fn was_written_to(&mut self, file: File) {
        self.file = Some(file);
        self.pages.values_mut().for_each(|page| page.dirty = None);
    }

    /// How many pages there are.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// How many slots may be in use before a table of this many pages should grow: three quarters.
    pub fn capacity(count: u32) -> u32 {
        count.saturating_mul((PER_PAGE as u32 - 1) * 3 / 4)
    }

    /// The entries with this key.
    pub fn entries(&mut self, key: &Key) -> Result<Vec<(Place, Entry)>, Distrust> {
        let mut found = Vec::new();
        self.walk(page_of_key(key), |slot| slot::is_entry(slot, key), &mut |place, held| {
            found.extend(if let Held::Entry(entry) = held { Some((place, entry)) } else { None });
            false
        })?;
        Ok(found)
    }

    /// The block that begins at this address.
    pub fn block(&mut self, level: u8, first: &Address) -> Result<Option<(Place, Block)>, Distrust> {
        let mut found = None;
        self.walk(page_of_block(level, first), |slot| slot::is_block(slot, level, first), &mut |place, held| {
            found = if let Held::Block(block) = held { Some((place, block)) } else { None };
            true
        })?;
        Ok(found)
    }

    /// Puts an entry where it will be found.
    pub fn add_entry(&mut self, entry: Entry) -> Result<(), Distrust> {
        self.add(page_of_key(&entry.key), entry.to_slot())
    }

    /// Puts a block where it will be found.
    pub fn add_block(&mut self, block: Block) -> Result<(), Distrust> {
        self.add(page_of_block(block.level, &block.first), block.to_slot())
    }

    /// Writes a slot that was found.
    pub fn put(&mut self, place: Place, slot: &Slot) -> Result<(), Distrust> {
        self.page(place.page)?.put(place.slot, slot);
        Ok(())
    }

    /// Every byte, page after page. For a table that is whole in memory.
    pub fn bytes(&self) -> impl Iterator<Item = &[u8]> {
        self.pages.values().map(|page| &page.bytes[..])
    }

    /// Writes what was changed to the file, if there is one.
    pub fn write_changes(&mut self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        for (number, page) in &mut self.pages {
            if let Some((first, last)) = page.dirty.take() {
                let (from, to) = (first * SIZE, (last + 1) * SIZE);
                file.write_all_at(&page.bytes[from..to], offset(*number) + from as u64)?;
            }
        }
        Ok(())
    }

    /// Reads the slots that a hash leads to and that look like what is looked for, until `found` says that it was it.
    /// Errors: what looks like it and does not add up.
    fn walk(
        &mut self,
        hash: u32,
        looks_like: impl Fn(&Slot) -> bool,
        found: &mut dyn FnMut(Place, Held) -> bool,
    ) -> Result<(), Distrust> {
        for step in 0..self.count {
            let number = hash.wrapping_add(step) & (self.count - 1);
            let page = self.page(number)?;
            for slot in (1..PER_PAGE).filter(|slot| looks_like(page.slot(*slot))) {
                let held = slot::read(page.slot(slot)).ok_or(Distrust("a slot does not add up"))?;
                if found(Place { page: number, slot }, held) {
                    return Ok(());
                }
            }
            if !page.overflowed() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn add(&mut self, hash: u32, new: Slot) -> Result<(), Distrust> {
        for step in 0..self.count {
            let page = self.page(hash.wrapping_add(step) & (self.count - 1))?;
            if let Some(free) = (1..PER_PAGE).find(|slot| page.slot(*slot)[0] == 0) {
                page.put(free, &new);
                return Ok(());
            }
            if !page.overflowed() {
                let mut mark = [0; SIZE];
                mark[0] = OVERFLOWED;
                page.put(0, &mark);
            }
        }
        Err(Distrust("every page is full"))
    }

    fn page(&mut self, number: u32) -> Result<&mut Page, Distrust> {
        use std::collections::btree_map::Entry::{Occupied, Vacant};
        match (self.pages.entry(number), &self.file) {
            (Occupied(page), _) => Ok(page.into_mut()),
            (Vacant(_), None) => Err(Distrust("a page is missing")),
            (Vacant(empty), Some(file)) => {
                let mut bytes = Box::new([0; PAGE]);
                file.read_exact_at(&mut bytes[..], offset(number)).map_err(|_| Distrust("a page cannot be read"))?;
                Ok(empty.insert(Page { bytes, dirty: None }))
            }
        }
    }
}

impl Page {
    fn slot(&self, number: usize) -> &Slot {
        let at = number * SIZE;
        self.bytes[at..at + SIZE].try_into().expect("a page is a whole number of slots")
    }

    fn put(&mut self, number: usize, slot: &Slot) {
        let at = number * SIZE;
        self.bytes[at..at + SIZE].copy_from_slice(slot);
        let (first, last) = self.dirty.unwrap_or((number, number));
        self.dirty = Some((first.min(number), last.max(number)));
    }

    fn overflowed(&self) -> bool {
        self.bytes[0] == OVERFLOWED
    }
}

/// Every entry in the bytes of pages, those with an error left out: each stands for itself.
pub fn entries_in(pages: &[u8]) -> impl Iterator<Item = Entry> {
    pages.chunks_exact(SIZE).filter_map(|slot| match slot::read(slot.try_into().ok()?)? {
        Held::Entry(entry) => Some(entry),
        _ => None,
    })
}

fn offset(page: u32) -> u64 {
    (u64::from(page) + 1) * PAGE as u64
}

/// A key is a hash already.
fn page_of_key(key: &Key) -> u32 {
    u32::from_le_bytes([key[0], key[1], key[2], key[3]])
}

/// The last bits of FNV-1a are its weakest.
fn page_of_block(level: u8, first: &Address) -> u32 {
    let hash = fnv(&[&[level], first]);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests;
