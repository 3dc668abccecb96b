//! What other people's bytes go through here, as functions of bytes that must neither panic nor hang: targets of
//! `cargo xtask fuzz`, and a unit test that feeds them the corpus. Nothing is written.

/// Name and deed.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[];
