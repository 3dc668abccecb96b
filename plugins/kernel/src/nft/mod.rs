//! nf_tables over netlink: no `nft`, no `iptables`, one transaction per change.
//!
//! [`Transaction`] collects operations on tables, chains, rules, sets and elements; [`Nftables::commit`] does all of them or
//! none. [`Expressions`] writes a rule. [`Nftables::rules`] and [`Nftables::elements`] read what is there, also what
//! iptables-nft and nft wrote. Beside this base, each room is one table of ours.
//!
//! Only what Fairlead needs is spoken. Encoders of our own: the generated bindings there are would add a crate of every
//! netlink family for the dozen attributes below.

pub(crate) mod admission;
pub(crate) mod attributes;
mod expression;
mod forwards;
mod leave;
mod masquerade;
mod others;
mod read;
mod rule;
mod set;
pub(crate) mod socket;
mod spoof;
mod table;
mod transaction;

#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;

pub use admission::{Admission, Hint, Isolation};
pub use attributes::COMMENT_MAX;
pub use expression::{Expressions, Load};
pub use forwards::{
    ADDRESS_TYPES, Condition, Conditions, Forward, Forwarded, Group, Masquerade, Name, Removed, Standing, Term,
};
pub use masquerade::{Masqueraded, TABLE};
pub use read::Chain;
pub use rule::{Match, Rule};
pub use set::{Data, Element, Leads, Part, Set, Type};
pub use socket::{Nftables, is_stale};
pub use spoof::Protected;
pub use table::{Base, ChainType, Family, Hook, Policy, Table, Verdict};
pub use transaction::Transaction;
