//! The maps as values: how large they are, what was read from them, what is to be written to them.

use std::collections::BTreeMap;

use fairlead_ebpf_shared::{Backend, Frontend, FrontendKey, SetWord};

/// How many entries the maps hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Entries of `SETS` and of `FRONTENDS`: address, port and protocol triples at the most.
    pub slots: u32,
    /// Entries of `BACKENDS`; at most [`SetWord::BASE_LIMIT`].
    pub backends: u32,
}

/// What the maps hold, read while nobody else writes them. Unused parts are left out, so that a nearly empty set of large
/// maps is a small value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dump {
    /// All of `FRONTENDS`.
    pub frontends: BTreeMap<FrontendKey, Frontend>,
    /// The words of `SETS` that are not zero, by slot, each with the backends it refers to.
    pub sets: BTreeMap<u32, DumpedSet>,
}

/// One word of `SETS` and what it refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpedSet {
    /// The word.
    pub word: SetWord,
    /// `BACKENDS[base..base + count]`, in index order; shorter where the word points beyond the end of the map.
    pub backends: Vec<Backend>,
}

/// One write to the maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapOp {
    /// Fill a region of `BACKENDS` that no published set refers to.
    PutBackends {
        /// Index of the first.
        base: u32,
        /// What to write from there on.
        backends: Vec<Backend>,
    },
    /// Publish a set: one atomic 64-bit store into `SETS`.
    SwitchSet {
        /// Index into `SETS`.
        slot: u32,
        /// The new word.
        word: SetWord,
    },
    /// Make a frontend known. Its slot's set is published already.
    PutFrontend {
        /// Where clients connect to.
        key: FrontendKey,
        /// Slot and tag.
        value: Frontend,
    },
    /// Make a frontend unknown: connections pass untouched from now on.
    DeleteFrontend {
        /// Where clients connected to.
        key: FrontendKey,
    },
    /// Zero the word and the connection counter of a slot that no frontend has had for a grace period.
    ClearSlot {
        /// Index into `SETS` and `SLOT_COUNTERS`.
        slot: u32,
    },
}
