//! The service tables in the kernel: the pinned maps.

use std::net::{Ipv6Addr, SocketAddr};

use anyhow::{Context, Result, anyhow};
use fairlead_ebpf_shared::{
    AddressWord, Backend, Frontend, FrontendKey, OptionsWord, RangeKey, RangeTag, Reason, SetWord, map,
};
use fairlead_kernel::bpf::{self, Map, MappedArray};
use fairlead_proxy_model::{Dump, DumpedSet, Sizes};
use zerocopy::{FromBytes, IntoBytes};

use super::{GracePeriod, Maps};
use crate::attach::{Lock, Pins, open_map};

/// The pinned maps, their shapes checked, `SETS` mapped into memory.
#[derive(Debug)]
pub struct KernelMaps {
    frontends: Map,
    sets: MappedArray,
    backends: Map,
    counters: Map,
    slot_counters: Map,
    options: MappedArray,
    addresses: Map,
    ranges: Map,
    /// Held by who writes.
    _lock: Option<Lock>,
}

impl KernelMaps {
    /// Opens the maps below `pins`; the lock, if given, is kept as long as they are.
    pub fn open(pins: &Pins, lock: Option<Lock>) -> Result<Self> {
        Ok(Self {
            frontends: open_map(pins, map::FRONTENDS)?,
            sets: MappedArray::open(&open_map(pins, map::SETS)?)?,
            backends: open_map(pins, map::BACKENDS)?,
            counters: open_map(pins, map::COUNTERS)?,
            slot_counters: open_map(pins, map::SLOT_COUNTERS)?,
            options: MappedArray::open(&open_map(pins, map::OPTIONS)?)?,
            addresses: open_map(pins, map::ADDRESSES)?,
            ranges: open_map(pins, map::RANGES)?,
            _lock: lock,
        })
    }

    fn store(&mut self, slot: u32, word: SetWord) -> Result<()> {
        if self.sets.store(slot, word.0) {
            return Ok(());
        }
        Err(anyhow!("write slot {slot} of map {}: it has {} entries", map::SETS, self.sets.len()))
    }

    fn set(&self, word: SetWord) -> Result<DumpedSet> {
        let mut backends = Vec::with_capacity(word.count() as usize);
        if word.count() > 0 && word.base() < self.backends.info().max_entries {
            self.backends.each_of_array(word.base(), word.count(), |_, value| {
                backends.extend(Backend::read_from_bytes(value).ok());
            })?;
        }
        Ok(DumpedSet { word, backends })
    }
}

impl Maps for KernelMaps {
    fn sizes(&self) -> Sizes {
        Sizes {
            slots: self.sets.len() as u32,
            backends: self.backends.info().max_entries,
            addresses: self.addresses.info().max_entries,
            ranges: self.ranges.info().max_entries,
        }
    }

    fn put_backends(&mut self, base: u32, backends: &[Backend]) -> Result<()> {
        let keys: Vec<u32> = (base..).take(backends.len()).collect();
        let last = base.saturating_add(backends.len() as u32);
        self.backends
            .update_batch(keys.as_bytes(), backends.as_bytes())
            .with_context(|| format!("write backends {base} to {last}"))
    }

    fn switch_set(&mut self, slot: u32, word: SetWord) -> Result<()> {
        self.store(slot, word)
    }

    fn clear_slot(&mut self, slot: u32) -> Result<()> {
        self.store(slot, SetWord(0))?;
        self.set_options(slot, OptionsWord(0))?;
        let zeros = vec![0; self.slot_counters.value_bytes()];
        self.slot_counters.update(slot.as_bytes(), &zeros).with_context(|| format!("clear the counter of slot {slot}"))
    }

    fn put_frontend(&mut self, key: &FrontendKey, value: &Frontend) -> Result<()> {
        self.frontends
            .update(key.as_bytes(), value.as_bytes())
            .with_context(|| format!("write frontend {}", shown(key)))
    }

    fn delete_frontend(&mut self, key: &FrontendKey) -> Result<()> {
        self.frontends.delete(key.as_bytes()).map(drop).with_context(|| format!("delete frontend {}", shown(key)))
    }

    fn put_range(&mut self, key: &RangeKey, tag: RangeTag) -> Result<()> {
        self.ranges.update(key.as_bytes(), tag.as_bytes()).with_context(|| format!("write source range {key:?}"))
    }

    fn delete_range(&mut self, key: &RangeKey) -> Result<()> {
        self.ranges.delete(key.as_bytes()).map(drop).with_context(|| format!("delete source range {key:?}"))
    }

    fn set_options(&mut self, slot: u32, word: OptionsWord) -> Result<()> {
        if self.options.store(slot, word.0) {
            return Ok(());
        }
        Err(anyhow!("write slot {slot} of map {}: it has {} entries", map::OPTIONS, self.options.len()))
    }

    fn put_address(&mut self, addr: &[u8; 16], value: AddressWord) -> Result<()> {
        let shown = Ipv6Addr::from(*addr).to_canonical();
        self.addresses.update(addr, value.as_bytes()).with_context(|| format!("write the class of address {shown}"))
    }

    fn delete_address(&mut self, addr: &[u8; 16]) -> Result<()> {
        let shown = Ipv6Addr::from(*addr).to_canonical();
        self.addresses.delete(addr).map(drop).with_context(|| format!("delete the class of address {shown}"))
    }

    fn dump(&self) -> Result<Dump> {
        let mut dump = Dump::default();
        self.frontends.each(|key, value| {
            if let (Ok(key), Ok(value)) = (FrontendKey::read_from_bytes(key), Frontend::read_from_bytes(value)) {
                dump.frontends.insert(key, value);
            }
        })?;
        self.addresses.each(|key, value| {
            if let (Ok(addr), Ok(word)) = (<[u8; 16]>::read_from_bytes(key), AddressWord::read_from_bytes(value)) {
                dump.addresses.insert(addr, word);
            }
        })?;
        self.ranges.each(|key, value| {
            if let (Ok(key), Ok(tag)) = (RangeKey::read_from_bytes(key), RangeTag::read_from_bytes(value)) {
                dump.ranges.insert(key, tag);
            }
        })?;
        for slot in 0..self.sets.len() as u32 {
            match self.sets.load(slot).map(SetWord) {
                Some(word) if word != SetWord(0) => {
                    dump.sets.insert(slot, self.set(word)?);
                }
                _ => {}
            }
            match self.options.load(slot).map(OptionsWord) {
                Some(word) if word != OptionsWord(0) => {
                    dump.options.insert(slot, word);
                }
                _ => {}
            }
        }
        Ok(dump)
    }

    fn counters(&self) -> Result<[u64; Reason::ALL.len()]> {
        let mut counters = [0; Reason::ALL.len()];
        for (index, counter) in (0_u32..).zip(&mut counters) {
            *counter = sum(&self.counters, index)?;
        }
        Ok(counters)
    }

    fn slot_counters(&self, slots: &[u32]) -> Result<Vec<u64>> {
        slots.iter().map(|slot| sum(&self.slot_counters, *slot)).collect()
    }

    fn grace_period(&self) -> GracePeriod {
        Box::new(|| Ok(bpf::grace_period()?))
    }
}

/// `10.96.0.1:53, protocol 17`.
fn shown(key: &FrontendKey) -> String {
    let address = SocketAddr::new(Ipv6Addr::from(key.addr).to_canonical(), key.port.get());
    format!("{address}, protocol {}", key.protocol)
}

/// A per-CPU value, summed. Beyond the end of the map: 0.
fn sum(map: &Map, index: u32) -> Result<u64> {
    let values = map.lookup(index.as_bytes())?.unwrap_or_default();
    Ok(values.chunks_exact(size_of::<u64>()).filter_map(|value| u64::read_from_bytes(value).ok()).sum())
}
