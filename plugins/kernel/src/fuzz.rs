//! What the kernel's answers go through here, as functions of bytes that must neither panic nor hang: targets of
//! `cargo xtask fuzz`. The kernel is trusted; what a newer one sends is not known.

use netlink_packet_core::{NetlinkDeserializable, NetlinkHeader};
use netlink_packet_route::RouteNetlinkMessage;

use crate::link::Link;
use crate::netlink::{NLMSG_DONE, NLMSG_ERROR, attributes_of, frames};

/// Name and deed of every target.
pub const TARGETS: &[(&str, fn(&[u8]))] = &[("netlink", netlink)];

/// A datagram, as rtnetlink, nf_tables and ctnetlink send them.
fn netlink(bytes: &[u8]) {
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
        let mut header = NetlinkHeader::default();
        header.message_type = frame.kind;
        if let Ok(RouteNetlinkMessage::NewLink(message)) = RouteNetlinkMessage::deserialize(&header, frame.payload) {
            let _ = Link::from_message(message);
        }
    }
}

/// Attributes in attributes.
fn attributes(bytes: &[u8], depth: u32) {
    if depth > 0 {
        attributes_of(bytes).for_each(|(_, value)| attributes(value, depth - 1));
    }
}
