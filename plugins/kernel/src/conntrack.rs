//! Connections that the kernel remembers: forgetting those of an address or of a port that changes hands.
//!
//! A UDP flow that began before its port was forwarded, and any flow of an address that now belongs to another container, goes
//! where it always went for as long as it goes on. The kernel looks for them; nothing but what it finds is ever listed.
//!
//! Each search walks the hash table of all namespaces, empty buckets too, so it is asked for only where the namespace has
//! flows. With the usual 262,144 buckets a deletion takes 0.1 ms and 0.17 ms more for each thousand flows; a list locks
//! every bucket and takes 10 ms. Since Linux 6.8 the kernel deletes by part of a tuple; before, it lists by one (5.8) and
//! each flow is deleted by its own tuple.
//!
//! IPv6 addresses never reach the kernel's filter: it takes the flows that have *another* address
//! (ctnetlink_filter_match_tuple, net/netfilter/nf_conntrack_netlink.c, takes ipv6_addr_cmp for a comparison that is true
//! when equal; 5.8 to 6.18 at least). IPv6 flows are listed, by port where one is asked for, and picked here.

mod udp;

use std::net::IpAddr;

use nix::sys::socket::SockProtocol;

use crate::error::{Cause, Errno, Error, Result};
use crate::netlink::{Answers, Frame, Reply, Transport, attributes_of};
use crate::nft::Nftables;
use crate::nft::attributes::Attributes;
use crate::nft::socket::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, body, message};
use crate::sysctl;

pub use udp::{UdpFlow, Version, forget_udp};

/// `NFNL_SUBSYS_CTNETLINK`, `IPCTNL_MSG_CT_GET`, `IPCTNL_MSG_CT_DELETE`.
const SUBSYSTEM: u16 = 1;
const GET: u16 = 1;
const DELETE: u16 = 2;

/// `enum ctattr_type` (include/uapi/linux/netfilter/nfnetlink_conntrack.h); `enum ctattr_filter` has the two tuples' numbers.
const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const FILTER: u16 = 25;

/// `CTA_FILTER_F_*` (net/netfilter/nf_conntrack_netlink.c): which parts of a tuple count. In the host's byte order.
const IP_SRC: u32 = 1;
const IP_DST: u32 = 1 << 1;
const PROTO_NUM: u32 = 1 << 3;
const PROTO_DST_PORT: u32 = 1 << 5;

/// Up to so many flows, one list of all is cheaper than a list for each search: 1 to 2 µs a flow against 10 ms a walk.
const LIST_ALL: u32 = 8192;

const V4: u8 = libc::AF_INET as u8;
const V6: u8 = libc::AF_INET6 as u8;

/// The flows to forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flows {
    /// Those that the address began, and those that end at it, whatever address they were sent to.
    Of(IpAddr),
    /// Those that were sent to a port, before any translation.
    ToPort {
        /// IP protocol number: 6 TCP, 17 UDP, 132 SCTP.
        protocol: u8,
        /// The port, host byte order.
        port: u16,
        /// The address they were sent to; `None`: any, of both families.
        address: Option<IpAddr>,
    },
}

/// Forgets the flows in the calling thread's namespace. A kernel without connection tracking, or one that never tracked
/// anything there, has nothing to forget.
pub fn forget(flows: &[Flows]) -> Result<()> {
    let fail = |cause| Error::new("forget flows", format_args!("{flows:?}"), cause);
    let searches: Vec<Search> = flows.iter().flat_map(Search::of).collect();
    if searches.is_empty() {
        return Ok(());
    }
    let tracked = tracked().map_err(fail)?;
    if tracked == 0 {
        return Ok(());
    }
    let mut transport = match Transport::open(SockProtocol::NetlinkNetFilter, None) {
        Ok(transport) => transport,
        Err(error) if error.errno() == Some(Errno::EPROTONOSUPPORT) => return Ok(()),
        Err(error) => return Err(error),
    };
    sweep(&mut transport, &searches, tracked).map_err(fail)
}

impl Nftables {
    /// [`forget`] in the socket's namespace, over this socket: who gives it up by [`Nftables::leave`] has no other to close,
    /// which would wait.
    pub fn forget(&mut self, flows: &[Flows]) -> Result<()> {
        let fail = |cause| Error::new("forget flows", format_args!("{flows:?}"), cause);
        let searches: Vec<Search> = flows.iter().flat_map(Search::of).collect();
        match tracked().map_err(fail)? {
            0 => Ok(()),
            _ if searches.is_empty() => Ok(()),
            tracked => sweep(&mut self.transport, &searches, tracked).map_err(fail),
        }
    }
}

fn sweep(transport: &mut Transport, searches: &[Search], tracked: u32) -> std::result::Result<(), Cause> {
    let mut left = Vec::new();
    for search in searches {
        if !search.delete(transport)? {
            left.push(search);
        }
    }
    if left.len() > 1 && tracked <= LIST_ALL {
        let wanted = |flow: &[u8]| left.iter().any(|search| search.wanted.holds(flow));
        return delete_each(transport, libc::AF_UNSPEC as u8, &Attributes::default(), wanted);
    }
    left.iter()
        .try_for_each(|search| delete_each(transport, search.family, &search.filter, |flow| search.wanted.holds(flow)))
}

/// Lists flows and deletes those that are wanted.
fn delete_each(
    transport: &mut Transport,
    family: u8,
    filter: &Attributes,
    wanted: impl Fn(&[u8]) -> bool,
) -> std::result::Result<(), Cause> {
    let mut found = Vec::new();
    // A list that changed under the kernel's hands still names what was there all the time, which is what matters.
    let listed: std::result::Result<Reply, Cause> = ask(transport, GET, family, filter, |frame| {
        let flow = Some(body(&frame)).filter(|flow| wanted(flow)).and_then(name);
        found.extend(flow.zip(frame.payload.first().copied()));
        Ok(())
    });
    listed?;
    for (flow, family) in found {
        match ask(transport, DELETE, family, &flow, |_| Ok(())) {
            Err(cause) if !cause.is_not_found() => return Err(cause),
            _ => {}
        }
    }
    Ok(())
}

/// How many flows there are. The count is there as soon as connection tracking is: asked over netlink, the kernel would load
/// the module first.
fn tracked() -> std::result::Result<u32, Cause> {
    match sysctl::read("net/netfilter/nf_conntrack_count") {
        Ok(count) => Ok(count.parse().unwrap_or(u32::MAX)),
        Err(error) if error.is_not_found() => Ok(0),
        Err(error) => Err(error.cause),
    }
}

/// One walk through the table.
#[derive(Debug, PartialEq, Eq)]
struct Search {
    family: u8,
    /// What the kernel picks by; empty: it lists the family.
    filter: Attributes,
    /// Whether that is all that is wanted, so that it may delete what it finds.
    exact: bool,
    wanted: Flows,
}

impl Search {
    fn of(flows: &Flows) -> Vec<Search> {
        let wanted = *flows;
        match *flows {
            // What ends at an address is answered from it, translated or not.
            Flows::Of(IpAddr::V4(address)) => {
                let tuple = Attributes::default().nest(1, &Attributes::default().bytes(1, &address.octets()));
                [TUPLE_ORIG, TUPLE_REPLY]
                    .map(|of| Search { family: V4, filter: filter(of, &tuple, IP_SRC), exact: true, wanted })
                    .into()
            }
            Flows::Of(IpAddr::V6(_)) => {
                vec![Search { family: V6, filter: Attributes::default(), exact: false, wanted }]
            }
            Flows::ToPort { protocol, port, address } => {
                let proto = Attributes::default().bytes(1, &[protocol]).bytes(3, &port.to_be_bytes());
                let proto = Attributes::default().nest(2, &proto);
                let flags = PROTO_NUM | PROTO_DST_PORT;
                let any = |family| Search { family, filter: filter(TUPLE_ORIG, &proto, flags), exact: true, wanted };
                match address {
                    None => vec![any(V4), any(V6)],
                    Some(IpAddr::V4(to)) => {
                        let tuple = proto.clone().nest(1, &Attributes::default().bytes(2, &to.octets()));
                        vec![Search { filter: filter(TUPLE_ORIG, &tuple, flags | IP_DST), ..any(V4) }]
                    }
                    Some(IpAddr::V6(_)) => vec![Search { exact: false, ..any(V6) }],
                }
            }
        }
    }

    /// Whether the kernel could.
    fn delete(&self, transport: &mut Transport) -> std::result::Result<bool, Cause> {
        if !self.exact {
            return Ok(false);
        }
        match ask(transport, DELETE, self.family, &self.filter, |_| Ok(())) {
            Ok(_) => Ok(true),
            // ctnetlink_del_conntrack before Linux 6.8 wants the tuple whole; it never takes a part of it for all.
            Err(cause) if cause.errno() == Some(Errno::EINVAL) => Ok(false),
            Err(cause) if cause.is_not_found() => Ok(true),
            Err(cause) => Err(cause),
        }
    }
}

impl Flows {
    /// Whether a flow that the kernel told of is one of them.
    pub(crate) fn holds(&self, flow: &[u8]) -> bool {
        let address = |tuple, source| {
            let (v4, v6) = if source { (1, 3) } else { (2, 4) };
            find(flow, &[tuple, 1, v4]).or_else(|| find(flow, &[tuple, 1, v6]))
        };
        let is = |found: Option<&[u8]>, wanted: IpAddr| match wanted {
            IpAddr::V4(wanted) => found == Some(&wanted.octets()),
            IpAddr::V6(wanted) => found == Some(&wanted.octets()),
        };
        match *self {
            Flows::Of(wanted) => [TUPLE_ORIG, TUPLE_REPLY].into_iter().any(|of| is(address(of, true), wanted)),
            Flows::ToPort { protocol, port, address: to } => {
                find(flow, &[TUPLE_ORIG, 2, 1]) == Some(&[protocol])
                    && find(flow, &[TUPLE_ORIG, 2, 3]) == Some(&port.to_be_bytes())
                    && to.is_none_or(|to| is(address(TUPLE_ORIG, false), to))
            }
        }
    }
}

/// What names this flow and no other: its tuple, its zone, its number.
pub(crate) fn name(flow: &[u8]) -> Option<Attributes> {
    let name = Attributes::default().nest(TUPLE_ORIG, &Attributes(find(flow, &[TUPLE_ORIG])?.to_vec()));
    Some([ID, ZONE].into_iter().fold(name, |name, kind| match find(flow, &[kind]) {
        Some(value) => name.bytes(kind, value),
        None => name,
    }))
}

/// Part of a tuple, and which parts those are.
fn filter(of: u16, tuple: &Attributes, flags: u32) -> Attributes {
    let flags = Attributes::default().bytes(of, &flags.to_ne_bytes());
    Attributes::default().nest(of, tuple).nest(FILTER, &flags)
}

/// The attribute at the end of a path of nests.
fn find<'a>(attributes: &'a [u8], path: &[u16]) -> Option<&'a [u8]> {
    path.iter().try_fold(attributes, |inner, wanted| {
        attributes_of(inner).find(|(kind, _)| kind == wanted).map(|(_, value)| value)
    })
}

fn ask(
    transport: &mut Transport,
    kind: u16,
    family: u8,
    attributes: &Attributes,
    take: impl FnMut(Frame<'_>) -> std::result::Result<(), Cause>,
) -> std::result::Result<Reply, Cause> {
    let sequence = transport.next_sequence();
    let (flags, answers) = if kind == GET { (NLM_F_DUMP, Answers::Dumped) } else { (NLM_F_ACK, Answers::Acknowledged) };
    let mut bytes = Vec::new();
    message(&mut bytes, SUBSYSTEM << 8 | kind, NLM_F_REQUEST | flags, sequence, (family, 0), &attributes.0);
    // A deletion looks at the family only if nfgenmsg says version 1 (ctnetlink_del_conntrack); version and family lie
    // behind the netlink header.
    bytes[crate::netlink::NLMSG_HEADER_LEN + 1] = 1;
    transport.send(&bytes)?;
    transport.collect(sequence, answers, take)
}
