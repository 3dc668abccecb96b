//! `BACKENDS` in the kernel: mapped into memory while it is written or read, and not in between. Every page of such a mapping
//! counts as the daemon's own memory, and this is by far the largest of the maps.

use std::cell::RefCell;

use anyhow::{Result, bail};
use fairlead_ebpf_shared::{Backend, map};
use fairlead_kernel::bpf::{Map, MappedArray};
use zerocopy::{FromBytes, IntoBytes};

/// Words of an entry.
const WORDS: u32 = (size_of::<Backend>() / size_of::<u64>()) as u32;

/// See the head of the file.
#[derive(Debug)]
pub struct Backends {
    map: Map,
    mapped: RefCell<Option<MappedArray>>,
}

impl Backends {
    /// Maps it once, so that what cannot be mapped is refused here.
    pub fn open(map: Map) -> Result<Self> {
        let mapped = RefCell::new(Some(MappedArray::open(&map)?));
        Ok(Self { map, mapped })
    }

    /// How many entries it has.
    pub fn len(&self) -> u32 {
        self.map.info().max_entries
    }

    /// Entries `from..from + count`, as far as the map goes.
    pub fn read(&self, from: u32, count: u32) -> Result<Vec<Backend>> {
        self.with(|words| {
            let entry = |index: u32| {
                let mut entry = [0; WORDS as usize];
                for (word, place) in entry.iter_mut().zip(index.checked_mul(WORDS)?..) {
                    *word = words.load(place)?;
                }
                Backend::read_from_bytes(entry.as_bytes()).ok()
            };
            Ok((from..self.len()).take(count as usize).filter_map(entry).collect())
        })
    }

    /// Writes entries from `base` on, all or none.
    pub fn write(&self, base: u32, backends: &[Backend]) -> Result<()> {
        let entries = self.len();
        if backends.len() > entries.saturating_sub(base) as usize {
            bail!("write {} backends from {base} on: map {} has {entries} entries", backends.len(), map::BACKENDS);
        }
        self.with(|words| {
            for (index, backend) in (base..).zip(backends) {
                for (place, word) in (index * WORDS..).zip(backend.as_bytes().chunks_exact(size_of::<u64>())) {
                    super::kernel::store(words, map::BACKENDS, place, u64::read_from_bytes(word).unwrap_or_default())?;
                }
            }
            Ok(())
        })
    }

    /// Nothing is written or read for a while.
    pub fn rest(&self) {
        self.mapped.replace(None);
    }

    fn with<T>(&self, work: impl FnOnce(&MappedArray) -> Result<T>) -> Result<T> {
        let mut mapped = self.mapped.borrow_mut();
        let words = match mapped.take() {
            Some(words) => words,
            None => MappedArray::open(&self.map)?,
        };
        work(mapped.insert(words))
    }
}
