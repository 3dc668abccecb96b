//! The maps in memory: what tests write to.

use std::collections::BTreeMap;

use fairlead_ebpf_shared::{
    AddressWord, Affinity, AffinityKey, Backend, Frontend, FrontendKey, OptionsWord, RangeKey, RangeTag, SetWord,
};

use crate::tables::{Dump, DumpedSet, MapOp, Sizes};

/// The maps in memory. Behaves as the kernel's do when one writer writes and nobody reads meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tables {
    /// `FRONTENDS`.
    pub frontends: BTreeMap<FrontendKey, Frontend>,
    /// `SETS`.
    pub words: Vec<SetWord>,
    /// `BACKENDS`.
    pub backends: Vec<Backend>,
    /// `OPTIONS`.
    pub options: Vec<OptionsWord>,
    /// `ADDRESSES`.
    pub addresses: BTreeMap<[u8; 16], AddressWord>,
    /// `RANGES`.
    pub ranges: BTreeMap<RangeKey, RangeTag>,
    /// `AFFINITY`; of the clients of [`Tables::connect`].
    pub affinity: BTreeMap<AffinityKey, Affinity>,
    /// [`ConfigWord::LocalhostNodePorts`](fairlead_ebpf_shared::ConfigWord::LocalhostNodePorts).
    pub localhost_node_ports: bool,
}

impl Tables {
    /// Empty maps.
    #[must_use]
    pub fn new(sizes: Sizes) -> Self {
        Self {
            frontends: BTreeMap::new(),
            words: vec![SetWord::default(); sizes.slots as usize],
            backends: vec![Backend::default(); sizes.backends as usize],
            options: vec![OptionsWord::default(); sizes.slots as usize],
            addresses: BTreeMap::new(),
            ranges: BTreeMap::new(),
            affinity: BTreeMap::new(),
            localhost_node_ports: true,
        }
    }

    /// Does one write. An index beyond the end of a map does nothing, as in the kernel it does nothing but fail.
    pub fn apply(&mut self, op: &MapOp) {
        match op {
            MapOp::PutBackends { base, backends } => {
                let base = *base as usize;
                if let Some(region) = self.backends.get_mut(base..base + backends.len()) {
                    region.copy_from_slice(backends);
                }
            }
            MapOp::SwitchSet { slot, word } => self.store(*slot, *word),
            MapOp::PutFrontend { key, value } => {
                self.frontends.insert(*key, *value);
            }
            MapOp::DeleteFrontend { key } => {
                self.frontends.remove(key);
            }
            MapOp::PutRange { key, tag } => {
                self.ranges.insert(*key, *tag);
            }
            MapOp::DeleteRange { key } => {
                self.ranges.remove(key);
            }
            MapOp::SetOptions { slot, word } => self.store_options(*slot, *word),
            MapOp::PutAddress { addr, value } => {
                self.addresses.insert(*addr, *value);
            }
            MapOp::DeleteAddress { addr } => {
                self.addresses.remove(addr);
            }
            MapOp::ClearSlot { slot } => {
                self.store(*slot, SetWord::default());
                self.store_options(*slot, OptionsWord::default());
            }
        }
    }

    /// What a dump of these maps says.
    #[must_use]
    pub fn dump(&self) -> Dump {
        let sets = self.words.iter().zip(0_u32..).filter(|(word, _)| **word != SetWord::default());
        let sets = sets.map(|(&word, slot)| {
            let wanted = self.backends.iter().skip(word.base() as usize).take(word.count() as usize);
            (slot, DumpedSet { word, backends: wanted.copied().collect() })
        });
        let options = self.options.iter().zip(0_u32..).filter(|(word, _)| **word != OptionsWord::default());
        Dump {
            frontends: self.frontends.clone(),
            sets: sets.collect(),
            options: options.map(|(&word, slot)| (slot, word)).collect(),
            addresses: self.addresses.clone(),
            ranges: self.ranges.clone(),
        }
    }

    fn store(&mut self, slot: u32, word: SetWord) {
        if let Some(entry) = self.words.get_mut(slot as usize) {
            *entry = word;
        }
    }

    fn store_options(&mut self, slot: u32, word: OptionsWord) {
        if let Some(entry) = self.options.get_mut(slot as usize) {
            *entry = word;
        }
    }
}
