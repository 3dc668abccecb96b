//! The maps as values: how large they are, what was read from them, what is to be written to them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use fairlead_ebpf_shared::{AddressWord, Backend, Frontend, FrontendKey, OptionsWord, RangeKey, RangeTag, SetWord};

/// How many entries the maps hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Entries of `SETS`, `OPTIONS` and `FRONTENDS`: address, port and protocol triples at the most; at most
    /// [`OptionsWord::GROUP_LIMIT`].
    pub slots: u32,
    /// Entries of `BACKENDS`; at most [`SetWord::BASE_LIMIT`].
    pub backends: u32,
    /// Entries of `ADDRESSES`.
    pub addresses: u32,
    /// Entries of `RANGES`.
    pub ranges: u32,
}

/// Something in the maps that is kept up as a whole, and marked when it may be other than desired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entry {
    /// A frontend with its set, its options and its ranges.
    Frontend(FrontendKey),
    /// The class of an address.
    Address(IpAddr),
}

/// What the maps hold, read while nobody else writes them. Unused parts are left out, so that a nearly empty set of large
/// maps is a small value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dump {
    /// All of `FRONTENDS`.
    pub frontends: BTreeMap<FrontendKey, Frontend>,
    /// The words of `SETS` that are not zero, by slot, each with the backends it refers to.
    pub sets: BTreeMap<u32, DumpedSet>,
    /// The words of `OPTIONS` that are not zero, by slot.
    pub options: BTreeMap<u32, OptionsWord>,
    /// All of `ADDRESSES`.
    pub addresses: BTreeMap<[u8; 16], AddressWord>,
    /// All of `RANGES`.
    pub ranges: BTreeMap<RangeKey, RangeTag>,
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
    /// Admit clients of a network: insert or overwrite an entry of `RANGES`.
    PutRange {
        /// Slot and network.
        key: RangeKey,
        /// The tag of the slot's frontend.
        tag: RangeTag,
    },
    /// Publish options: one atomic 64-bit store into `OPTIONS`.
    SetOptions {
        /// Index into `OPTIONS`.
        slot: u32,
        /// The new word.
        word: OptionsWord,
    },
    /// Publish a set: one atomic 64-bit store into `SETS`.
    SwitchSet {
        /// Index into `SETS`.
        slot: u32,
        /// The new word.
        word: SetWord,
    },
    /// Make a frontend known, or lead a known one to another slot. Its slot's set, options and ranges are published already.
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
    /// Make the class of an address known: insert or replace an element of `ADDRESSES`.
    PutAddress {
        /// The address, IPv4 mapped.
        addr: [u8; 16],
        /// Its class.
        value: AddressWord,
    },
    /// Make the class of an address unknown.
    DeleteAddress {
        /// The address, IPv4 mapped.
        addr: [u8; 16],
    },
    /// Delete an entry of `RANGES`. One that is not there is fine.
    DeleteRange {
        /// Slot and network.
        key: RangeKey,
    },
    /// Zero the words and the connection counter of a slot that no frontend has had for a grace period.
    ClearSlot {
        /// Index into `SETS`, `OPTIONS` and `SLOT_COUNTERS`.
        slot: u32,
    },
}
