//! Keys and values of the maps.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// IPPROTO_TCP (IANA protocol number 6).
pub const IPPROTO_TCP: u8 = 6;
/// IPPROTO_UDP (IANA protocol number 17).
pub const IPPROTO_UDP: u8 = 17;
/// IPPROTO_SCTP (IANA protocol number 132).
pub const IPPROTO_SCTP: u8 = 132;

/// [`FrontendKey::scope`] of clients that are this node's own: its pods and its processes.
pub const SCOPE_NODE: u8 = 0;
/// [`FrontendKey::scope`] of clients whose packets come from outside of the node.
pub const SCOPE_OUTSIDE: u8 = 1;

/// A 16-bit number in network byte order, as packets and socket addresses hold it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct Be16([u8; 2]);

impl Be16 {
    /// From a number in host order.
    #[inline(always)]
    #[must_use]
    pub const fn new(host: u16) -> Self {
        Self(host.to_be_bytes())
    }

    /// From the raw network-order word that a socket address holds.
    #[inline(always)]
    #[must_use]
    pub const fn from_network(raw: u16) -> Self {
        Self(raw.to_ne_bytes())
    }

    /// The number in host order.
    #[inline(always)]
    #[must_use]
    pub const fn get(self) -> u16 {
        u16::from_be_bytes(self.0)
    }

    /// The raw network-order word, to be stored in a socket address.
    #[inline(always)]
    #[must_use]
    pub const fn to_network(self) -> u16 {
        u16::from_ne_bytes(self.0)
    }
}

/// Key of `FRONTENDS`: where a client thinks it is connecting to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FrontendKey {
    /// IPv6, or IPv4 mapped into it (RFC 4291, 2.5.5.2). Network byte order.
    pub addr: [u8; 16],
    /// The service port.
    pub port: Be16,
    /// IPPROTO_TCP, IPPROTO_UDP or IPPROTO_SCTP.
    pub protocol: u8,
    /// [`SCOPE_NODE`] or [`SCOPE_OUTSIDE`]: whose connection it is.
    pub scope: u8,
}
const _: () = assert!(size_of::<FrontendKey>() == 20);

/// Value of `FRONTENDS`. Written once when the frontend is born, never updated: a hash element is freed and reused for
/// another key while a program may still read it, so an update in place of *any* element can be seen torn or foreign.
/// `tag` is bound to the key ([`crate::frontend_tag`]); a reader that finds another tag looked at a recycled element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Frontend {
    /// Index into `SETS`.
    pub slot: u32,
    /// [`crate::frontend_tag`] of the key and of `slot`; 20 bits.
    pub tag: u32,
}
const _: () = assert!(size_of::<Frontend>() == 8);

/// Value of `SETS`: which backends a frontend has now. One aligned 64-bit word in an mmapable array; the daemon replaces
/// it by one atomic store, a program reads it by one 64-bit load. Zero: the slot is free.
///
/// Bits, least significant first: 24 `base`, 20 `count`, 20 `tag`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct SetWord(pub u64);

impl SetWord {
    /// Backend indexes are below this.
    pub const BASE_LIMIT: u32 = 1 << 24;
    /// A set has fewer backends than this.
    pub const COUNT_LIMIT: u32 = 1 << 20;
    /// Tags are below this.
    pub const TAG_LIMIT: u32 = 1 << 20;

    /// `None` when a part does not fit its bits.
    #[must_use]
    pub const fn new(base: u32, count: u32, tag: u32) -> Option<Self> {
        if base >= Self::BASE_LIMIT || count >= Self::COUNT_LIMIT || tag >= Self::TAG_LIMIT {
            return None;
        }
        Some(Self(base as u64 | (count as u64) << 24 | (tag as u64) << 44))
    }

    /// Index of the set's first backend in `BACKENDS`.
    #[inline(always)]
    #[must_use]
    pub const fn base(self) -> u32 {
        (self.0 & 0xff_ffff) as u32
    }

    /// Number of backends; 0: refuse the connection.
    #[inline(always)]
    #[must_use]
    pub const fn count(self) -> u32 {
        (self.0 >> 24 & 0xf_ffff) as u32
    }

    /// Must equal [`Frontend::tag`].
    #[inline(always)]
    #[must_use]
    pub const fn tag(self) -> u32 {
        (self.0 >> 44) as u32
    }
}

/// Value of `BACKENDS`. Immutable while a published set holds its index; reused only after an RCU grace period.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Backend {
    /// IPv6, or IPv4 mapped into it. Network byte order.
    pub addr: [u8; 16],
    /// Port of the backend.
    pub port: Be16,
    /// 0; spare.
    pub reserved: u16,
    /// Tag of the set's slot ([`Frontend::tag`]): the second line of defence against a recycled region.
    pub tag: u32,
}
const _: () = assert!(size_of::<Backend>() == 24);

/// Value of the socket storage `ORIGINS`: what the application asked for when it connected, told to `getpeername` and, UDP, to
/// `recvfrom`. Value of `REPLIES`: what it asked for with a datagram, told to `recvfrom`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Origin {
    /// The frontend's address (IPv4 mapped).
    pub vip: [u8; 16],
    /// The backend that was chosen (IPv4 mapped): the VIP is shown only while the peer or the sender is this one.
    pub backend: [u8; 16],
    /// The frontend's port.
    pub vip_port: Be16,
    /// The backend's port.
    pub backend_port: Be16,
}
const _: () = assert!(size_of::<Origin>() == 36);

/// Key of `REPLIES`: a datagram coming back to a socket from a backend. The value is an [`Origin`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ReplyKey {
    /// `bpf_get_socket_cookie`.
    pub cookie: u64,
    /// The backend's address (IPv4 mapped).
    pub backend: [u8; 16],
    /// The backend's port.
    pub port: Be16,
    /// 0.
    pub reserved: [u8; 6],
}
const _: () = assert!(size_of::<ReplyKey>() == 32);
