//! Keys and values that are about clients: affinity, source ranges, addresses of namespaces.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::Be16;
use crate::arithmetic::client_check;

/// Key of `AFFINITY`: one client of one service port (of one family).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AffinityKey {
    /// `bpf_get_netns_cookie` of the client's network namespace.
    pub netns: u64,
    /// [`OptionsWord::group`](crate::OptionsWord::group): the slot of the service port's first frontend.
    pub group: u32,
    /// 0.
    pub reserved: u32,
}
const _: () = assert!(size_of::<AffinityKey>() == 16);

/// Value of `AFFINITY`. An LRU element may be recycled, and a group may be another service's by now: the backend counts only
/// if it is in the set in use (which is ascending by address and port), whoever put it there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Affinity {
    /// `bpf_ktime_get_boot_ns` of the client's last new connection.
    pub used_ns: u64,
    /// The backend's address (IPv4 mapped).
    pub backend: [u8; 16],
    /// The backend's port.
    pub port: Be16,
    /// 0.
    pub reserved: [u8; 6],
}
const _: () = assert!(size_of::<Affinity>() == 32);

/// Key of the LPM trie `RANGES`: clients that the frontend in a slot admits. The trie compares the bytes of `data` in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RangeKey {
    /// Bits of `data` that count: 32 of the slot, then those of the address ([`RangeKey::FULL`] to look one up).
    pub prefix_bits: u32,
    /// What is compared.
    pub data: RangeData,
}
const _: () = assert!(size_of::<RangeKey>() == 24);

/// The part of a [`RangeKey`] that is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RangeData {
    /// The slot, big endian.
    pub slot: [u8; 4],
    /// The network's address (IPv4 mapped: its prefix counts 96 bits more), all bits beyond the prefix 0.
    pub addr: [u8; 16],
}

impl RangeKey {
    /// `prefix_bits` of a single address.
    pub const FULL: u32 = 32 + 128;

    /// For a look-up.
    #[inline(always)]
    #[must_use]
    pub const fn of_client(slot: u32, addr: [u8; 16]) -> Self {
        Self { prefix_bits: Self::FULL, data: RangeData { slot: slot.to_be_bytes(), addr } }
    }
}

/// Value of `RANGES`: [`Frontend::tag`](crate::Frontend::tag) of the slot's frontend. Another tag: a recycled node, look again.
pub type RangeTag = u32;

/// Value of `CLIENTS` (key: `bpf_get_netns_cookie`, u64): the addresses that sockets of a network namespace send from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ClientAddresses {
    /// IPv4 mapped; zero: none.
    pub v4: [u8; 16],
    /// Zero: none.
    pub v6: [u8; 16],
    /// [`crate::client_check`]: another value means a recycled or torn element, look again.
    pub check: u64,
}
const _: () = assert!(size_of::<ClientAddresses>() == 40);

impl ClientAddresses {
    /// The value for a namespace.
    #[inline(always)]
    #[must_use]
    pub fn new(netns: u64, v4: [u8; 16], v6: [u8; 16]) -> Self {
        Self { v4, v6, check: client_check(netns, &v4, &v6) }
    }

    /// Whether the value is whole and this namespace's.
    #[inline(always)]
    #[must_use]
    pub fn is_of(&self, netns: u64) -> bool {
        self.check == client_check(netns, &self.v4, &self.v6)
    }
}
