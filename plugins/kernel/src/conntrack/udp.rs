//! UDP flows, judged one by one by where they were sent and who answers: what a service proxy must forget when an endpoint
//! goes.

use std::net::{IpAddr, SocketAddr};

use nix::sys::socket::SockProtocol;

use super::{
    GET, PROTO_DST_PORT, PROTO_NUM, TUPLE_ORIG, TUPLE_REPLY, V4, V6, ask, attributes_of, body, filter, find, name,
    tracked,
};
use crate::conntrack::DELETE;
use crate::error::{Cause, Errno, Error, Result};
use crate::netlink::{Frame, Reply, Transport};
use crate::nft::attributes::Attributes;

/// `IPPROTO_UDP`.
const UDP: u8 = 17;

/// Flows that are named at a time, some 150 bytes each: a table may hold a million of them.
const AT_ONCE: usize = 8192;

/// Of which family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A UDP flow, as the kernel remembers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UdpFlow {
    /// Where its first datagram was sent, before any translation.
    pub asked: SocketAddr,
    /// Where its answers come from: `asked`, if the destination was not translated.
    pub answered: SocketAddr,
}

/// Forgets those UDP flows of the calling thread's namespace that are stale, and says how many there were. A kernel without
/// connection tracking, or one that never tracked anything there, has none.
///
/// The kernel lists flows of `version` and, if given, of those that were sent to `port` (before any translation; host byte
/// order), once for each 8192 that are deleted. A flow that goes by itself meanwhile does not count.
pub fn forget_udp(version: Version, port: Option<u16>, is_stale: impl Fn(&UdpFlow) -> bool) -> Result<u64> {
    let fail = |cause| Error::new("forget UDP flows", format_args!("of removed endpoints, {version:?}"), cause);
    if tracked().map_err(fail)? == 0 {
        return Ok(0);
    }
    let mut transport = match Transport::open(SockProtocol::NetlinkNetFilter, None) {
        Ok(transport) => transport,
        Err(error) if error.errno() == Some(Errno::EPROTONOSUPPORT) => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut deleted = 0;
    loop {
        let named = list(&mut transport, version, port, &is_stale).map_err(fail)?;
        let before = deleted;
        for flow in &named {
            match ask(&mut transport, DELETE, family_of(version), flow, |_| Ok(())) {
                Ok(_) => deleted += 1,
                Err(cause) if cause.is_not_found() => {}
                Err(cause) => return Err(fail(cause)),
            }
        }
        if named.len() < AT_ONCE || deleted == before {
            return Ok(deleted);
        }
    }
}

/// What names the stale ones, at most [`AT_ONCE`].
fn list(
    transport: &mut Transport,
    version: Version,
    port: Option<u16>,
    is_stale: impl Fn(&UdpFlow) -> bool,
) -> std::result::Result<Vec<Attributes>, Cause> {
    let proto = Attributes::default().bytes(1, &[UDP]);
    let (proto, flags) = match port {
        Some(port) => (proto.bytes(3, &port.to_be_bytes()), PROTO_NUM | PROTO_DST_PORT),
        None => (proto, PROTO_NUM),
    };
    let wanted = filter(TUPLE_ORIG, &Attributes::default().nest(2, &proto), flags);
    let mut named = Vec::new();
    let take = |frame: Frame<'_>| {
        let flow = body(&frame);
        if named.len() < AT_ONCE && UdpFlow::read(flow).is_some_and(|flow| is_stale(&flow)) {
            named.extend(name(flow));
        }
        Ok(())
    };
    // A list that changed under the kernel's hands still names what was there all the time, which is what matters.
    let listed: std::result::Result<Reply, Cause> = ask(transport, GET, family_of(version), &wanted, take);
    listed.map(|_| named)
}

const fn family_of(version: Version) -> u8 {
    match version {
        Version::V4 => V4,
        Version::V6 => V6,
    }
}

impl UdpFlow {
    /// `None`: it is of another protocol, or not whole.
    pub(crate) fn read(flow: &[u8]) -> Option<UdpFlow> {
        if find(flow, &[TUPLE_ORIG, 2, 1]) != Some(&[UDP]) {
            return None;
        }
        let end = |tuple, (v4, v6): (u16, u16), port| {
            let port = u16::from_be_bytes(find(flow, &[tuple, 2, port])?.try_into().ok()?);
            let addresses = find(flow, &[tuple, 1])?;
            let address = attributes_of(addresses).find_map(|(kind, value)| match kind {
                kind if kind == v4 => <[u8; 4]>::try_from(value).ok().map(IpAddr::from),
                kind if kind == v6 => <[u8; 16]>::try_from(value).ok().map(IpAddr::from),
                _ => None,
            });
            Some(SocketAddr::new(address?, port))
        };
        // Of a tuple: sources 1 (IPv4) and 3 (IPv6), destinations 2 and 4; source port 2, destination port 3.
        Some(UdpFlow { asked: end(TUPLE_ORIG, (2, 4), 3)?, answered: end(TUPLE_REPLY, (1, 3), 2)? })
    }
}
