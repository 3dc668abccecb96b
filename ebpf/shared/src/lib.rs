//! What the BPF programs and the daemon must agree on: map keys and values, map names, sizes, the ABI version, and the
//! arithmetic that both sides do.
//!
//! Knows no map, no program and no kernel; does no I/O. Invariant others may rely on: every type here is `#[repr(C)]`,
//! has no hidden padding (zerocopy refuses to derive otherwise) and an asserted size, so that its bytes mean the same on
//! both sides. A change of any layout, name or meaning bumps [`ABI_VERSION`].
#![no_std]

mod arithmetic;
mod clients;
mod keys;
mod names;
mod reasons;
#[cfg(feature = "user")]
mod user;
mod words;

pub use arithmetic::{address_check, client_check, frontend_tag, key_hash, mapped, tag_of, unmapped};
pub use clients::{Affinity, AffinityKey, ClientAddresses, RangeData, RangeKey, RangeTag};
pub use keys::{
    Backend, Be16, Frontend, FrontendKey, IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP, Origin, ReplyKey, SCOPE_NODE,
    SCOPE_OUTSIDE, SetWord,
};
pub use names::{
    ABI_VERSION, DEFAULT_ADDRESSES, DEFAULT_AFFINITY, DEFAULT_BACKENDS, DEFAULT_CLIENTS, DEFAULT_RANGES,
    DEFAULT_REPLIES, DEFAULT_SLOTS, map, program,
};
pub use reasons::Reason;
pub use words::{AddressClass, AddressWord, ConfigWord, Options, OptionsWord};
