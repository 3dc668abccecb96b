//! Forwards: connections to a port of the node go to an address behind it.
//!
//! One table for everybody. A new connection costs a handful of look-ups however many forwards there are, and one that is
//! under way nothing:
//!
//! ```text
//! table inet fairlead_forwards {
//!     map hosts4        { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; … }
//!     map ports4        { type inet_proto . inet_service : ipv4_addr . inet_service
//!                         elements = { tcp . 8080 comment "…" : 10.1.0.2 . 80, … } }
//!     map marked-hosts4 { type ipv4_addr . inet_proto . inet_service : verdict; … }
//!     map marked-ports4 { type inet_proto . inet_service : verdict
//!                         elements = { tcp . 8080 : jump mark-13-from-10.1.0.0/16, … } }
//!     set localnets     { type ifname; … }
//!
//!     chain prerouting  { type nat hook prerouting priority dstnat + 1; ip6 daddr ::1 return; fib daddr type local jump local }
//!     chain output      { type nat hook output priority dstnat + 1;     ip6 daddr ::1 return; fib daddr type local jump local }
//!     chain local       { meta nfproto ipv4 ip daddr != 10.9.0.0/16 jump forwards4-6b3f…  comment "the conditions"
//!                         meta nfproto ipv4 jump forwards4
//!                         meta nfproto ipv6 jump forwards6 }
//!     chain forwards4   { ip daddr . meta l4proto . th dport vmap @marked-hosts4
//!                         dnat ip to ip daddr . meta l4proto . th dport map @hosts4
//!                         meta l4proto . th dport vmap @marked-ports4
//!                         dnat ip to meta l4proto . th dport map @ports4 }
//!     chain mark-13-from-10.1.0.0/16 { ip saddr 10.1.0.0/16 goto mark-13; ip saddr 127.0.0.0/8 goto mark-13 }
//!     chain mark-13     { meta mark set meta mark | 0x2000 }
//!     chain postrouting { type nat hook postrouting priority srcnat
//!                         meta mark & 0x2000 != 0 meta mark set meta mark & ~0x2000 masquerade }
//!     chain guard       { type filter hook prerouting priority raw
//!                         iif != lo ip daddr 127.0.0.0/8 drop; iif != lo ip saddr 127.0.0.0/8 drop }
//! }
//! ```
//!
//! A forward costs one element, and one more if some of its connections must be masqueraded: those from the address's own
//! network, whose answers would not come back through the node, and those from the node's loopback. Forwards with the same
//! conditions share a chain and maps like `forwards4`. Who owns a forward is in its comment.
//!
//! `fib daddr type local` is what keeps a forward from other people's traffic (CVE-2025-67499). Letting 127/8 out to a
//! container (`route_localnet`) lets it in from there too, which `guard` forbids (CVE-2020-8558): while the table stands.
//! So `localnets` remembers where it was let, and that is taken back before the table goes, with its last forward.
//!
//! IPv6 has no `route_localnet`: the kernel takes no answer to ::1 from a container (`rt6_need_strict`, net/ipv6/route.c). So
//! ::1 is left alone: who asks `localhost` is refused there at once, and goes on to 127.0.0.1, instead of waiting.
//!
//! Adding is one question, whether the chains stand, and one transaction.

mod add;
mod condition;
mod layout;
mod read;
mod remove;

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

pub use condition::{ADDRESS_TYPES, Condition, Conditions, Name, Term};
pub use remove::Removed;

use super::set::Part;

/// A port of the node that leads to an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// The IP protocol's number; one that has ports where UDP has them.
    pub protocol: u8,
    /// The node's address; `None`: every one of the target's family.
    pub host: Option<IpAddr>,
    /// The node's port.
    pub port: u16,
    /// Where it leads to.
    pub to: SocketAddr,
}

/// Which connections get the node's address instead of their client's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Masquerade {
    /// None.
    Nothing,
    /// Those from this network, the target's own, and from the node's loopback.
    From(IpNet),
    /// All.
    Everything,
}

/// Forwards of one family that are treated alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// At least one, all of one family.
    pub forwards: Vec<Forward>,
    /// Which packets are meant.
    pub conditions: Conditions,
    /// Which connections are masqueraded.
    pub masquerade: Masquerade,
    /// The bit of the packet mark, 0 to 31, that a connection to be masqueraded has on its way through the node.
    pub bit: u8,
}

/// A forward that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forwarded {
    /// The forward.
    pub forward: Forward,
    /// Whose it is, cut at 128 bytes.
    pub owner: String,
    /// The chain that marks what is to be masqueraded.
    pub(super) marked_by: Option<String>,
}

/// What a forward that is there is to whoever wants the same port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// His own, or nobody's any more: it may be replaced, with all else of its owner.
    Yields,
    /// As good as his own: it stays as it is, and his is not made.
    Serves,
    /// Somebody else's.
    Stays,
}

impl Group {
    /// The family of all of its forwards.
    pub fn is_ipv4(&self) -> bool {
        self.forwards.iter().all(|forward| forward.to.is_ipv4())
    }
}

impl Forward {
    /// The key in the maps of its kind.
    fn key(&self) -> Vec<Part> {
        let port = [Part::Protocol(self.protocol), Part::Port(self.port)];
        self.host.map(Part::Address).into_iter().chain(port).collect()
    }

    /// The same port of the same address, or of all.
    pub fn asks_for_the_same(&self, other: &Forward) -> bool {
        (self.protocol, self.host, self.port, self.to.is_ipv4())
            == (other.protocol, other.host, other.port, other.to.is_ipv4())
    }
}

/// `tcp 192.0.2.1:8080 to 10.1.0.2:80`.
impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match i32::from(self.protocol) {
            libc::IPPROTO_TCP => f.write_str("tcp ")?,
            libc::IPPROTO_UDP => f.write_str("udp ")?,
            libc::IPPROTO_SCTP => f.write_str("sctp ")?,
            other => write!(f, "protocol {other} ")?,
        }
        match self.host {
            Some(host) => write!(f, "{} to {}", SocketAddr::new(host, self.port), self.to),
            None => write!(f, "port {} to {}", self.port, self.to),
        }
    }
}
