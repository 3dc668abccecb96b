//! Values that are one 64-bit word: replaced by one atomic store, read by one load, never seen torn.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::SetWord;
use crate::arithmetic::address_check;

/// Value of `OPTIONS`: how the frontend in a slot treats its clients. Mmapable array, stored and loaded like [`SetWord`].
/// Zero: the slot is free.
///
/// Bits, least significant first: 17 affinity time-out in seconds, 22 affinity group, 5 flags, 20 `tag`. A reader that
/// finds another tag than its frontend's looks again. An old word beside a new set (or the other way round) does no
/// harm: either the old or the new state admits the client, and the backend is one of the old or the new set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct OptionsWord(pub u64);

/// The parts of an [`OptionsWord`] but for its tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Options {
    /// Seconds that a client keeps its backend after its last new connection; 0: no affinity.
    pub affinity_s: u32,
    /// [`AffinityKey::group`](crate::AffinityKey::group); 0 without affinity.
    pub group: u32,
    /// The `FLAG_` constants.
    pub flags: u8,
}

impl OptionsWord {
    /// When the set is empty: drop. Without it: refuse.
    pub const FLAG_DROP: u8 = 1;
    /// Only clients in `RANGES` are admitted; the others are dropped.
    pub const FLAG_RANGES: u8 = 1 << 1;
    /// At an address of another node the connection is left alone: that node decides (externalTrafficPolicy Local).
    pub const FLAG_LOCAL_ONLY: u8 = 1 << 2;
    /// Packets get the node's address as source.
    pub const FLAG_MASQUERADE: u8 = 1 << 3;
    /// The same, but only if the client is none of the cluster's own (`detectLocal`).
    pub const FLAG_MASQUERADE_FOREIGN: u8 = 1 << 4;

    /// Time-outs are below this: more than a day.
    pub const AFFINITY_LIMIT: u32 = 1 << 17;
    /// Groups, and so slots, are below this.
    pub const GROUP_LIMIT: u32 = 1 << 22;
    /// Flags are below this.
    pub const FLAGS_LIMIT: u8 = 1 << 5;

    /// `None` when a part does not fit its bits.
    #[must_use]
    pub const fn new(options: Options, tag: u32) -> Option<Self> {
        let Options { affinity_s, group, flags } = options;
        if affinity_s >= Self::AFFINITY_LIMIT
            || group >= Self::GROUP_LIMIT
            || flags >= Self::FLAGS_LIMIT
            || tag >= SetWord::TAG_LIMIT
        {
            return None;
        }
        Some(Self(affinity_s as u64 | (group as u64) << 17 | (flags as u64) << 39 | (tag as u64) << 44))
    }

    /// All parts but the tag.
    #[inline(always)]
    #[must_use]
    pub const fn options(self) -> Options {
        Options { affinity_s: self.affinity_s(), group: self.group(), flags: self.flags() }
    }

    /// Seconds; 0: no affinity.
    #[inline(always)]
    #[must_use]
    pub const fn affinity_s(self) -> u32 {
        (self.0 & 0x1_ffff) as u32
    }

    /// Which frontends share their clients' affinity.
    #[inline(always)]
    #[must_use]
    pub const fn group(self) -> u32 {
        (self.0 >> 17 & 0x3f_ffff) as u32
    }

    /// All flags.
    #[inline(always)]
    #[must_use]
    pub const fn flags(self) -> u8 {
        (self.0 >> 39 & 0x1f) as u8
    }

    /// Whether a flag is set.
    #[inline(always)]
    #[must_use]
    pub const fn has(self, flag: u8) -> bool {
        self.flags() & flag != 0
    }

    /// Must equal [`Frontend::tag`](crate::Frontend::tag).
    #[inline(always)]
    #[must_use]
    pub const fn tag(self) -> u32 {
        (self.0 >> 44) as u32
    }
}

/// What an address is that no frontend is known for, at the port asked for. The first that applies wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum AddressClass {
    /// An address of this node at which NodePorts are served. Other ports: left alone.
    OwnNode = 1,
    /// An address of another node: NodePorts are served, but for those whose policy leaves that to the node itself.
    OtherNode = 2,
    /// A cluster IP of a service: at a port that no service has there connections are refused.
    ClusterIp = 3,
}

/// Value of `ADDRESSES`: the class of an address, bound to the address, because an element of a hash may be recycled while
/// it is read.
///
/// Bits, least significant first: 8 class, 56 [`crate::address_check`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct AddressWord(pub u64);

impl AddressWord {
    /// The word of an address (16 bytes, IPv4 mapped).
    #[must_use]
    pub fn new(addr: &[u8; 16], class: AddressClass) -> Self {
        Self(class as u64 | address_check(addr) << 8)
    }

    /// The class; `None`: the word is another address's, look again.
    #[inline(always)]
    #[must_use]
    pub fn class(self, addr: &[u8; 16]) -> Option<AddressClass> {
        if self.0 >> 8 != address_check(addr) {
            return None;
        }
        match self.0 as u8 {
            1 => Some(AddressClass::OwnNode),
            2 => Some(AddressClass::OtherNode),
            3 => Some(AddressClass::ClusterIp),
            _ => None,
        }
    }
}

/// Index into `CONFIG`, an mmapable array of u64: what is true for the whole node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ConfigWord {
    /// `bpf_get_netns_cookie` of the node's own network namespace; 0: not known.
    HostNetns = 0,
    /// 1: NodePorts are served at 127.0.0.0/8 and ::1 too, for processes in the node's own network namespace.
    LocalhostNodePorts = 1,
}

impl ConfigWord {
    /// All of them, in index order.
    pub const ALL: [Self; 2] = [Self::HostNetns, Self::LocalhostNodePorts];
}
