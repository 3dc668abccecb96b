//! The maps in memory, and the programs' way through them: what tests write to, and how a dump is read.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use fairlead_ebpf_shared::{
    AddressWord, Backend, Frontend, FrontendKey, OptionsWord, RangeKey, RangeTag, SetWord, frontend_tag,
};

use crate::actual::socket_addr;
use crate::tables::{Dump, DumpedSet, MapOp, Sizes};

/// Where a frontend leads. The order is the programs': frontend, tag, word, tag, backends, tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// To one of these, ascending.
    Backends(Vec<SocketAddr>),
    /// Nowhere: an empty set, refused at once.
    Refused,
    /// Nowhere: some part belongs to another frontend; refused after a few looks.
    Broken(Break),
}

/// Which part belongs to another frontend, or is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// The frontend's value.
    Frontend,
    /// The slot's word.
    Word,
    /// A backend.
    Backend,
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Frontend => "the frontend's tag is not its own",
            Self::Word => "the slot's word is another frontend's",
            Self::Backend => "a backend is another frontend's",
        })
    }
}

impl Dump {
    /// Where the frontend `key` with the value `value` leads.
    #[must_use]
    pub fn resolve(&self, key: &FrontendKey, value: &Frontend) -> Outcome {
        if value.tag != frontend_tag(key, value.slot) {
            return Outcome::Broken(Break::Frontend);
        }
        let Some(DumpedSet { word, backends }) = self.sets.get(&value.slot) else {
            return Outcome::Broken(Break::Word);
        };
        if word.tag() != value.tag {
            return Outcome::Broken(Break::Word);
        }
        if word.count() == 0 {
            return Outcome::Refused;
        }
        if backends.len() != word.count() as usize || backends.iter().any(|backend| backend.tag != value.tag) {
            return Outcome::Broken(Break::Backend);
        }
        let mut addrs: Vec<SocketAddr> = backends.iter().map(socket_addr).collect();
        addrs.sort_unstable();
        Outcome::Backends(addrs)
    }

    /// Where every frontend leads.
    #[must_use]
    pub fn outcomes(&self) -> BTreeMap<FrontendKey, Outcome> {
        self.frontends.iter().map(|(key, value)| (*key, self.resolve(key, value))).collect()
    }
}

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
