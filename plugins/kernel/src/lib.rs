//! The one door to the kernel: rtnetlink, network namespaces, nf_tables, connection tracking, sysctl, neighbour
//! announcements, raw bpf(2).
//!
//! It knows no CNI, no async, starts no process and no thread. Everything goes through one blocking socket that lives in
//! the namespace it was opened in: *move a socket, not the thread*. What must run inside a namespace (a write below
//! `/proc/sys/net`) goes through [`netns::Netns::enter`], which changes the calling thread there and back.
//!
//! Others may rely on this: no answer that was not ours is taken for ours (sequence number and sender are checked), no
//! dump that the kernel flagged as interrupted is ever returned, and every error names the deed, the object and the errno.

pub mod addr;
pub mod announce;
#[cfg(feature = "bpf")]
pub mod bpf;
pub mod conntrack;
pub mod error;
pub mod events;
pub mod fdb;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
pub mod link;
pub mod lock;
pub mod mac;
pub mod memory;
pub mod neigh;
pub mod netlink;
pub mod netns;
pub mod nft;
pub mod qdisc;
pub mod route;
pub mod sock_diag;
pub mod sysctl;
pub mod terminal;
pub mod vlan;
pub mod vxlan;
pub mod xtables;

pub use error::{Cause, Error, Result};
pub use mac::Mac;
