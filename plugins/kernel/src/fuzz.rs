//! What the kernel's answers go through here, as functions of bytes that must neither panic nor hang: targets of
//! `cargo xtask fuzz`. The kernel is trusted; what a newer one sends is not known.

use netlink_packet_route::RouteNetlinkMessage;

use crate::conntrack::{self, Flows, UdpFlow};
use crate::link::Link;
use crate::netlink::{NLMSG_DONE, NLMSG_ERROR, attributes_of, frames, socket};
use crate::{addr, events, fdb, neigh, nft, qdisc, route, sock_diag};

/// Name and deed.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[("netlink", netlink), ("xtables", crate::xtables::fuzz::table)];

/// A datagram, as rtnetlink, nf_tables and ctnetlink send them.
fn netlink(bytes: &[u8]) {
    events::read(bytes, &mut |_| {});
    // No datagram has more; an endless one would be a finding.
    let most = bytes.len() / 16 + 1;
    let mut count = 0;
    for frame in frames(bytes) {
        count += 1;
        assert!(count <= most, "a datagram without an end");
        let Ok(frame) = frame else { break };
        match frame.kind {
            NLMSG_ERROR => drop(frame.acknowledgement()),
            NLMSG_DONE => drop(frame.done()),
            _ => {}
        }
        attributes(frame.payload, 8);
        nft::fuzz::read(&frame);
        qdisc::read(frame.payload);
        let _ = sock_diag::ConnectedUdp::read(frame.payload);
        flows(frame.payload.get(4..).unwrap_or_default());
        if let Ok(message) = socket::parse(frame) {
            rtnetlink(message);
        }
    }
}

fn rtnetlink(message: RouteNetlinkMessage) {
    let _ = addr::read(message.clone());
    let _ = route::read(message.clone());
    let _ = neigh::read(message.clone());
    let _ = fdb::read(message.clone(), 1);
    if let RouteNetlinkMessage::NewLink(message) = message {
        let _ = Link::from_message(message);
    }
}

fn flows(flow: &[u8]) {
    let address = std::net::IpAddr::from([10, 1, 0, 2]);
    let _ = Flows::Of(address).holds(flow);
    let _ = Flows::ToPort { protocol: 17, port: 53, address: Some(address) }.holds(flow);
    let _ = conntrack::name(flow);
    let _ = UdpFlow::read(flow);
}

/// Attributes in attributes.
fn attributes(bytes: &[u8], depth: u32) {
    if depth > 0 {
        attributes_of(bytes).for_each(|(_, value)| attributes(value, depth - 1));
    }
}
