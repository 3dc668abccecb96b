//! The intermediate functional block, and whether the kernel has all that shaping needs.

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};

use super::{Tbf, ensure_ingress, redirect, set_root};
use crate::error::{Error, Result};
use crate::link;
use crate::mac::Mac;
use crate::netlink::{CREATE, Socket};
use crate::netns::Netns;

/// Creates an ifb, up, without a queue of its own (the discipline it gets has one). `mtu` in bytes.
/// Errors: [`Error::is_exists`] if the name is taken; EOPNOTSUPP if the kernel has no ifb.
pub fn create_ifb(socket: &mut Socket, name: &str, mac: Mac, mtu: u32) -> Result<()> {
    let mut message = LinkMessage::default();
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    message.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::Address(mac.0.to_vec()),
        LinkAttribute::Mtu(mtu),
        LinkAttribute::TxQueueLen(0),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Ifb)]),
    ];
    socket.execute(RouteNetlinkMessage::NewLink(message), CREATE).map_err(|cause| Error::new("create ifb", name, cause))
}

/// Tries everything in a namespace that nobody else sees and that goes with this call: ifb, tbf, ingress, u32 and mirred.
/// Errors: the first that the kernel does not have, by the deed that failed.
pub fn probe() -> Result<()> {
    let nowhere = Netns::anonymous()?;
    let mut socket = Socket::open_in(&nowhere)?;
    create_ifb(&mut socket, "probe", Mac::random(), 1500)?;
    let probe = link::get_by_name(&mut socket, "probe")?.index;
    set_root(&mut socket, probe, &Tbf { rate: 125_000, burst: 125_000, limit: 125_000 })?;
    let (at, _) = ensure_ingress(&mut socket, probe)?;
    redirect(&mut socket, probe, at, probe)
}
