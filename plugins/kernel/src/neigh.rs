//! The neighbour tables: ARP and ND entries.

use std::net::IpAddr;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::RouteType;

use crate::addr::family;
use crate::error::{Error, Result};
use crate::mac::Mac;
use crate::netlink::{REPLACE, Socket};

pub use netlink_packet_route::neighbour::NeighbourState as State;

/// A neighbour on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// Its address.
    pub address: IpAddr,
    /// Its hardware address; `None` while it is not known.
    pub mac: Option<Mac>,
    /// Index of the link.
    pub link: u32,
    /// `NUD_*`: `Reachable` ages, `Permanent` stays.
    pub state: NeighbourState,
}

/// Adds the neighbour or takes the place of the entry of its address.
pub fn replace(socket: &mut Socket, neighbour: &Neighbour) -> Result<()> {
    let mut message = message(neighbour.link, neighbour.address);
    message.header.state = neighbour.state;
    message.header.kind = RouteType::Unicast;
    message.attributes.extend(neighbour.mac.map(|mac| NeighbourAttribute::LinkLayerAddress(mac.0.to_vec())));
    socket.execute(RouteNetlinkMessage::NewNeighbour(message), REPLACE).map_err(|cause| {
        Error::new("replace neighbour", format_args!("{} on link number {}", neighbour.address, neighbour.link), cause)
    })
}

/// Deletes the entry of an address. Errors: [`Error::is_not_found`].
pub fn delete(socket: &mut Socket, link: u32, address: IpAddr) -> Result<()> {
    socket
        .execute(RouteNetlinkMessage::DelNeighbour(message(link, address)), 0)
        .map_err(|cause| Error::new("delete neighbour", format_args!("{address} on link number {link}"), cause))
}

/// The neighbours of one link, both families; `link` 0: of all links. Not the forwarding database (see `fdb`).
pub fn list(socket: &mut Socket, link: u32) -> Result<Vec<Neighbour>> {
    let mut message = NeighbourMessage::default();
    if link != 0 {
        message.attributes.push(NeighbourAttribute::IfIndex(link));
    }
    let messages = socket
        .dump(RouteNetlinkMessage::GetNeighbour(message))
        .map_err(|cause| Error::new("list neighbours", format_args!("of link number {link}"), cause))?;
    Ok(messages.into_iter().filter_map(read).filter(|entry| link == 0 || entry.link == link).collect())
}

pub(crate) fn read(message: RouteNetlinkMessage) -> Option<Neighbour> {
    let RouteNetlinkMessage::NewNeighbour(message) = message else { return None };
    let (mut address, mut mac) = (None, None);
    for attribute in message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some(IpAddr::V4(v4)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => address = Some(IpAddr::V6(v6)),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = Mac::from_slice(&bytes),
            _ => {}
        }
    }
    Some(Neighbour { address: address?, mac, link: message.header.ifindex, state: message.header.state })
}

fn message(link: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(address);
    message.header.ifindex = link;
    message.attributes.push(NeighbourAttribute::Destination(address.into()));
    message
}
