//! nf_tables over netlink: no `nft`, no `iptables`, one transaction per change.
//!
//! Only what Fairlead needs is spoken. Encoders of our own: the generated bindings there are would add a crate of every
//! netlink family for the dozen attributes below.

mod encode;
mod masquerade;
mod socket;
mod transaction;

pub use masquerade::{Masqueraded, TABLE};
pub use socket::Nftables;
