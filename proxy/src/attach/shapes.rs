//! What each map must be. Neither aya nor the verifier compares a pinned map with the program that is given it: a map of
//! another size would be read and written beyond its elements.

use anyhow::{Result, bail};
use fairlead_ebpf_shared::{
    AddressWord, Affinity, AffinityKey, Backend, ClientAddresses, ConfigWord, DEFAULT_AFFINITY, DEFAULT_CLIENTS,
    DEFAULT_REPLIES, Frontend, FrontendKey, OptionsWord, Origin, RangeKey, RangeTag, Reason, ReplyKey, SetWord, map,
};
use fairlead_kernel::bpf::{Map, MapInfo};
use fairlead_proxy_model::Sizes;

use super::pins::Pins;

/// `enum bpf_map_type`.
const HASH: u32 = 1;
const ARRAY: u32 = 2;
const PERCPU_ARRAY: u32 = 6;
const LRU_HASH: u32 = 9;
const LPM_TRIE: u32 = 11;
const SK_STORAGE: u32 = 24;

/// BPF_F_NO_PREALLOC, BPF_F_MMAPABLE.
const NO_PREALLOC: u32 = 1;
const MMAPABLE: u32 = 1 << 10;

/// A map as this build makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub name: &'static str,
    kind: u32,
    key_size: u32,
    value_size: u32,
    pub max_entries: u32,
    flags: u32,
    /// The option that decides `max_entries`.
    option: Option<&'static str>,
}

/// All maps.
pub fn expected(sizes: Sizes) -> [Shape; map::ALL.len()] {
    let Sizes { slots, backends, addresses, ranges } = sizes;
    let (frontends, per_backend) = (Some("--max-frontends"), Some("--max-backends"));
    [
        shape::<FrontendKey, Frontend>(map::FRONTENDS, HASH, slots, 0, frontends),
        shape::<u32, SetWord>(map::SETS, ARRAY, slots, MMAPABLE, frontends),
        shape::<u32, Backend>(map::BACKENDS, ARRAY, backends, MMAPABLE, per_backend),
        shape::<i32, Origin>(map::ORIGINS, SK_STORAGE, 0, NO_PREALLOC, None),
        shape::<ReplyKey, Origin>(map::REPLIES, LRU_HASH, DEFAULT_REPLIES, 0, None),
        shape::<u32, u64>(map::COUNTERS, PERCPU_ARRAY, Reason::ALL.len() as u32, 0, None),
        shape::<u32, u64>(map::SLOT_COUNTERS, PERCPU_ARRAY, slots, 0, frontends),
        shape::<u32, OptionsWord>(map::OPTIONS, ARRAY, slots, MMAPABLE, frontends),
        shape::<[u8; 16], AddressWord>(map::ADDRESSES, HASH, addresses, 0, Some("--max-addresses")),
        shape::<AffinityKey, Affinity>(map::AFFINITY, LRU_HASH, DEFAULT_AFFINITY, 0, None),
        shape::<RangeKey, RangeTag>(map::RANGES, LPM_TRIE, ranges, NO_PREALLOC, Some("--max-source-ranges")),
        shape::<u64, ClientAddresses>(map::CLIENTS, HASH, DEFAULT_CLIENTS, 0, None),
        shape::<u32, u64>(map::CONFIG, ARRAY, ConfigWord::ALL.len() as u32, MMAPABLE, None),
    ]
}

fn shape<Key, Value>(
    name: &'static str,
    kind: u32,
    max_entries: u32,
    flags: u32,
    option: Option<&'static str>,
) -> Shape {
    Shape {
        name,
        kind,
        key_size: size_of::<Key>() as u32,
        value_size: size_of::<Value>() as u32,
        max_entries,
        flags,
        option,
    }
}

/// The numbers that the set words and the kernel can hold.
pub fn check_sizes(sizes: Sizes) -> Result<()> {
    let Sizes { slots, backends, .. } = sizes;
    if slots == 0 || slots > OptionsWord::GROUP_LIMIT {
        bail!("--max-frontends {slots}: must be 1 to {}", OptionsWord::GROUP_LIMIT);
    }
    if backends == 0 || backends > SetWord::BASE_LIMIT {
        bail!("--max-backends {backends}: must be 1 to {}", SetWord::BASE_LIMIT);
    }
    Ok(())
}

/// Compares every map that is pinned; one that is not will be made.
pub fn check_pinned(pins: &Pins, sizes: Sizes) -> Result<()> {
    for shape in expected(sizes) {
        match Map::from_pin(&pins.map(shape.name)) {
            Ok(map) => shape.check(map.info(), pins)?,
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Opens a pinned map after comparing all but its number of entries, which is the map's own.
pub fn open(pins: &Pins, name: &str) -> Result<Map> {
    let map = Map::from_pin(&pins.map(name))?;
    let of_any_size = Sizes { slots: 1, backends: 1, addresses: 1, ranges: 1 };
    if let Some(shape) = expected(of_any_size).into_iter().find(|shape| shape.name == name) {
        Shape { max_entries: map.info().max_entries, ..shape }.check(map.info(), pins)?;
    }
    Ok(map)
}

impl Shape {
    fn check(&self, is: &MapInfo, pins: &Pins) -> Result<()> {
        let place = pins.map(self.name);
        let compared = [
            ("map type", is.kind, self.kind),
            ("key size", is.key_size, self.key_size),
            ("value size", is.value_size, self.value_size),
            ("flags", is.flags, self.flags),
        ];
        for (what, is, expected) in compared {
            if is != expected {
                bail!(
                    "the pinned map {} is not ours: {what} {is}, expected {expected}. Nothing was changed; run \
                     `fairlead-proxy cleanup`, which interrupts services until this runs again",
                    place.display()
                );
            }
        }
        if is.max_entries != self.max_entries {
            let asked = match self.option {
                Some(option) => format!("{option} asks for {}: give {option} {}", self.max_entries, is.max_entries),
                None => format!("this build makes it with {}", self.max_entries),
            };
            bail!(
                "the pinned map {} has room for {} entries, and {asked}, or run `fairlead-proxy cleanup` for the new size, \
                 which interrupts services until this runs again",
                place.display(),
                is.max_entries
            );
        }
        Ok(())
    }
}
