//! The service tables in the kernel: the pinned maps.

use std::net::{Ipv6Addr, SocketAddr};

use anyhow::{Context, Result, bail};
use fairlead_ebpf_shared::{
    AddressWord, Backend, ClientAddresses, ConfigWord, Frontend, FrontendKey, OptionsWord, RangeKey, RangeTag, Reason,
    SetWord, map, mapped,
};
use fairlead_kernel::bpf::{self, Map, MappedArray};
use fairlead_kernel::netns;
use fairlead_proxy_model::{Dump, DumpedSet, Sizes, ip_addr};
use zerocopy::{FromBytes, IntoBytes};

use super::backends::Backends;
use super::{GracePeriod, Host, Maps};
use crate::attach::{Lock, Pins, Predecessors, open_map};

/// The pinned maps, their shapes checked; the arrays that programs read are mapped into memory.
#[derive(Debug)]
pub struct KernelMaps {
    frontends: Map,
    sets: MappedArray,
    options: MappedArray,
    backends: Backends,
    addresses: Map,
    ranges: Map,
    clients: Map,
    config: MappedArray,
    counters: Map,
    slot_counters: Map,
    /// Number of the network namespace that this value was made in.
    netns: u64,
    /// What of other versions is still attached.
    predecessors: Option<Predecessors>,
    /// Held by who writes.
    _lock: Option<Lock>,
}

impl KernelMaps {
    /// Opens the maps below `pins` for the one who writes them; the lock is kept as long as they are.
    pub fn open(pins: &Pins, lock: Lock, predecessors: Predecessors) -> Result<Self> {
        Ok(Self { predecessors: Some(predecessors), _lock: Some(lock), ..Self::look(pins)? })
    }

    /// What the programs have been told of the node; see [`Maps::tell_host`].
    pub fn host(&self) -> Result<Host> {
        let word = |word: ConfigWord| self.config.load(word as u32).unwrap_or_default();
        let netns = word(ConfigWord::HostNetns);
        let known = self.clients.lookup(netns.as_bytes())?.unwrap_or_default();
        let known = ClientAddresses::read_from_bytes(&known).ok().filter(|known| known.is_of(netns));
        let addresses = known.into_iter().flat_map(|known| [ip_addr(known.v4), ip_addr(known.v6)]);
        let addresses = addresses.filter(|address| !address.is_unspecified());
        Ok(Host::new(word(ConfigWord::LocalhostNodePorts) == 1, addresses))
    }

    /// Opens them to be looked at.
    pub fn look(pins: &Pins) -> Result<Self> {
        let words = |name| -> Result<MappedArray> { Ok(MappedArray::open(&open_map(pins, name)?)?) };
        Ok(Self {
            frontends: open_map(pins, map::FRONTENDS)?,
            sets: words(map::SETS)?,
            options: words(map::OPTIONS)?,
            backends: Backends::open(open_map(pins, map::BACKENDS)?)?,
            addresses: open_map(pins, map::ADDRESSES)?,
            ranges: open_map(pins, map::RANGES)?,
            clients: open_map(pins, map::CLIENTS)?,
            config: words(map::CONFIG)?,
            counters: open_map(pins, map::COUNTERS)?,
            slot_counters: open_map(pins, map::SLOT_COUNTERS)?,
            netns: netns::cookie()?,
            predecessors: None,
            _lock: None,
        })
    }

    fn set(&self, word: SetWord) -> Result<DumpedSet> {
        Ok(DumpedSet { word, backends: self.backends.read(word.base(), word.count())? })
    }
}

/// One atomic store.
pub(super) fn store(words: &MappedArray, map: &str, index: u32, word: u64) -> Result<()> {
    match words.store(index, word) {
        true => Ok(()),
        false => bail!("write word {index} of map {map}: it has {}", words.len()),
    }
}

impl Maps for KernelMaps {
    fn sizes(&self) -> Sizes {
        Sizes {
            slots: self.sets.len() as u32,
            backends: self.backends.len(),
            addresses: self.addresses.info().max_entries,
            ranges: self.ranges.info().max_entries,
        }
    }

    fn put_backends(&mut self, base: u32, backends: &[Backend]) -> Result<()> {
        self.backends.write(base, backends)
    }

    fn rest(&mut self) {
        self.backends.rest();
    }

    fn switch_set(&mut self, slot: u32, word: SetWord) -> Result<()> {
        store(&self.sets, map::SETS, slot, word.0)
    }

    fn clear_slot(&mut self, slot: u32) -> Result<()> {
        self.switch_set(slot, SetWord(0))?;
        self.set_options(slot, OptionsWord(0))?;
        let zeros = vec![0; self.slot_counters.value_bytes()];
        self.slot_counters.update(slot.as_bytes(), &zeros).with_context(|| format!("clear the counter of slot {slot}"))
    }

    fn put_frontend(&mut self, key: &FrontendKey, value: &Frontend) -> Result<()> {
        self.frontends
            .update(key.as_bytes(), value.as_bytes())
            .with_context(|| format!("write frontend {}", shown(key)))
    }

    fn put_frontends(&mut self, entries: &[(FrontendKey, Frontend)]) -> Result<()> {
        let (keys, values): (Vec<FrontendKey>, Vec<Frontend>) = entries.iter().copied().unzip();
        self.frontends
            .update_batch(keys.as_bytes(), values.as_bytes())
            .with_context(|| format!("write {} frontends", entries.len()))
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
        store(&self.options, map::OPTIONS, slot, word.0)
    }

    fn put_address(&mut self, addr: &[u8; 16], value: AddressWord) -> Result<()> {
        let shown = Ipv6Addr::from(*addr).to_canonical();
        self.addresses.update(addr, value.as_bytes()).with_context(|| format!("write the class of address {shown}"))
    }

    fn put_addresses(&mut self, entries: &[([u8; 16], AddressWord)]) -> Result<()> {
        let (keys, values): (Vec<[u8; 16]>, Vec<AddressWord>) = entries.iter().copied().unzip();
        self.addresses
            .update_batch(keys.as_bytes(), values.as_bytes())
            .with_context(|| format!("write the classes of {} addresses", entries.len()))
    }

    fn delete_address(&mut self, addr: &[u8; 16]) -> Result<()> {
        let shown = Ipv6Addr::from(*addr).to_canonical();
        self.addresses.delete(addr).map(drop).with_context(|| format!("delete the class of address {shown}"))
    }

    fn tell_host(&mut self, host: &Host) -> Result<()> {
        let v4 = host.v4.map_or([0; 16], |address| mapped(address.octets()));
        let v6 = host.v6.map_or([0; 16], |address| address.octets());
        self.put_client(self.netns, &ClientAddresses::new(self.netns, v4, v6))?;
        store(&self.config, map::CONFIG, ConfigWord::HostNetns as u32, self.netns)?;
        let localhost = u64::from(host.localhost_node_ports);
        store(&self.config, map::CONFIG, ConfigWord::LocalhostNodePorts as u32, localhost)
    }

    fn unknown_clients(&self) -> Result<u64> {
        sum(&self.counters, Reason::ClientUnknown as u32)
    }

    fn put_client(&mut self, netns: u64, addresses: &ClientAddresses) -> Result<()> {
        // An update makes a new element: not for nothing.
        if self.clients.lookup(netns.as_bytes())?.is_some_and(|known| known == addresses.as_bytes()) {
            return Ok(());
        }
        self.clients
            .update(netns.as_bytes(), addresses.as_bytes())
            .with_context(|| format!("write the addresses of network namespace {netns}"))
    }

    fn delete_client(&mut self, netns: u64) -> Result<()> {
        let deleted = self.clients.delete(netns.as_bytes()).map(drop);
        deleted.with_context(|| format!("delete the addresses of network namespace {netns}"))
    }

    fn retire_predecessors(&mut self) -> Result<Vec<String>> {
        match &mut self.predecessors {
            Some(predecessors) => predecessors.retire(),
            None => Ok(Vec::new()),
        }
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
