//! Blocking netlink: [`Socket`] speaks rtnetlink, and the transport below it is shared with nf_tables.
//!
//! No crate checks `NLM_F_DUMP_INTR` (netlink-proto, rtnetlink, neli, netlink-bindings: all read, 2026), so the client is
//! ours; the message types are those of netlink-packet-route. A message that was parsed is never serialised again: its
//! `Other` attributes can make that crate panic.

mod bell;
mod frame;
pub(crate) mod socket;
mod transport;

pub(crate) use bell::Bell;
pub(crate) use frame::{Frame, NLMSG_DONE, NLMSG_ERROR, NLMSG_HEADER_LEN, attributes_of, frames};
pub use socket::{CREATE, REPLACE, Socket};
pub use transport::DUMP_ATTEMPTS;
pub(crate) use transport::{Answers, Reply, Transport};
