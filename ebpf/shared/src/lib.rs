//! What the BPF programs and the daemon must agree on: map keys and values, map names, sizes, the ABI version, and the
//! arithmetic that both sides do.
//!
//! Knows no map, no program and no kernel; does no I/O. Invariant others may rely on: every type here is `#[repr(C)]`,
//! has no hidden padding (zerocopy refuses to derive otherwise) and an asserted size, so that its bytes mean the same on
//! both sides. A change of any layout, name or meaning bumps [`ABI_VERSION`].
#![no_std]

mod arithmetic;
mod keys;
mod names;
#[cfg(feature = "user")]
mod user;

pub use arithmetic::{frontend_tag, mapped, unmapped};
pub use keys::{
    Backend, Be16, Frontend, FrontendKey, IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP, Origin, Reason, ReplyKey, SetWord,
};
pub use names::{ABI_VERSION, DEFAULT_BACKENDS, DEFAULT_REPLIES, DEFAULT_SLOTS, map, program};
