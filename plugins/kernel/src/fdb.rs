//! The forwarding database of a VXLAN device: which MAC is behind which underlay address.
//!
//! An entry is a neighbour message of family `AF_BRIDGE` with `NTF_SELF` (the device's own table, not its bridge's) and
//! `NUD_PERMANENT`, `NDA_LLADDR` and `NDA_DST` (`vxlan_fdb_add`, drivers/net/vxlan/vxlan_core.c).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::error::{Error, Result};
use crate::mac::Mac;
use crate::netlink::{REPLACE, Socket};

/// One destination of a MAC. Unicast MACs have one; the all-zero and multicast ones can have several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The inner destination.
    pub mac: Mac,
    /// Where the outer packet goes.
    pub destination: IpAddr,
    /// Neither learned nor ageing.
    pub permanent: bool,
}

/// Points `mac` at `destination`, permanently; another destination of a unicast MAC is replaced in place, so that no
/// packet finds the entry missing.
pub fn replace(socket: &mut Socket, link: u32, mac: Mac, destination: IpAddr) -> Result<()> {
    let mut message = message(link, mac, destination);
    message.header.state = NeighbourState::Permanent;
    socket.execute(RouteNetlinkMessage::NewNeighbour(message), REPLACE).map_err(|cause| {
        Error::new("replace FDB entry", format_args!("{mac} to {destination} on link number {link}"), cause)
    })
}

/// Removes one destination of `mac`. Errors: [`Error::is_not_found`].
pub fn delete(socket: &mut Socket, link: u32, mac: Mac, destination: IpAddr) -> Result<()> {
    socket.execute(RouteNetlinkMessage::DelNeighbour(message(link, mac, destination)), 0).map_err(|cause| {
        Error::new("delete FDB entry", format_args!("{mac} to {destination} on link number {link}"), cause)
    })
}

/// The entries of one device that have a destination.
pub fn list(socket: &mut Socket, link: u32) -> Result<Vec<Entry>> {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.attributes.push(NeighbourAttribute::IfIndex(link));
    let messages = socket
        .dump(RouteNetlinkMessage::GetNeighbour(message))
        .map_err(|cause| Error::new("list FDB entries", format_args!("of link number {link}"), cause))?;
    Ok(messages.into_iter().filter_map(|message| read(message, link)).collect())
}

pub(crate) fn read(message: RouteNetlinkMessage, link: u32) -> Option<Entry> {
    let RouteNetlinkMessage::NewNeighbour(message) = message else { return None };
    if message.header.ifindex != link || message.header.family != AddressFamily::Bridge {
        return None;
    }
    let (mut mac, mut destination) = (None, None);
    for attribute in message.attributes {
        match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = Mac::from_slice(&bytes),
            NeighbourAttribute::Destination(address) => destination = ip(&address),
            _ => {}
        }
    }
    let permanent = message.header.state == NeighbourState::Permanent;
    Some(Entry { mac: mac?, destination: destination?, permanent })
}

/// The crate leaves addresses of this family undecoded: the length says which they are.
fn ip(address: &NeighbourAddress) -> Option<IpAddr> {
    match address {
        NeighbourAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        NeighbourAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        NeighbourAddress::Other(bytes) => match bytes.len() {
            4 => Some(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.as_slice()).ok()?))),
            16 => Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?))),
            _ => None,
        },
        _ => None,
    }
}

fn message(link: u32, mac: Mac, destination: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = link;
    message.header.flags = NeighbourFlags::Own;
    message.attributes =
        vec![NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()), NeighbourAttribute::Destination(destination.into())];
    message
}
