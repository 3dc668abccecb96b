//! VLANs of bridge ports (IEEE 802.1Q): which the port belongs to, which one its untagged frames are of.
//!
//! A kernel without `CONFIG_BRIDGE_VLAN_FILTERING` answers with EOPNOTSUPP; [`crate::link::Link::filters_vlans`] tells
//! beforehand. A bridge that does not filter takes the settings and does not mind them.

use std::fmt;

use netlink_packet_route::link::{
    AfSpecBridge, BridgeVlanInfo, BridgeVlanInfoFlags, LinkAttribute, LinkExtentMask, LinkMessage,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::error::{Error, Result};
use crate::netlink::Socket;

/// A port's membership in a VLAN. The order is that of the identifiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vlan {
    /// 1 to 4094.
    pub id: u16,
    /// What comes in untagged is of this VLAN, and what is of this VLAN goes out untagged.
    pub native: bool,
}

impl Vlan {
    /// Membership with tags.
    pub fn tagged(id: u16) -> Vlan {
        Vlan { id, native: false }
    }

    /// Membership without tags.
    pub fn native(id: u16) -> Vlan {
        Vlan { id, native: true }
    }
}

impl fmt::Display for Vlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.id, if self.native { " untagged" } else { "" })
    }
}

/// The VLANs of the port with this index, in the order of their numbers; none if it is no port.
pub fn list(socket: &mut Socket, index: u32) -> Result<Vec<Vlan>> {
    let mut message = LinkMessage::default();
    message.header.interface_family = AddressFamily::Bridge;
    message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::Brvlan]));
    // The kernel takes no index here (valid_bridge_getlink_req, net/core/rtnetlink.c): all ports, one of which is wanted.
    let messages = match socket.dump(RouteNetlinkMessage::GetLink(message)) {
        Ok(messages) => messages,
        Err(cause) => return Err(Error::new("list VLANs", format_args!("of link number {index}"), cause)),
    };
    let mut found = Vec::new();
    for message in messages {
        let RouteNetlinkMessage::NewLink(message) = message else { continue };
        if message.header.index != index {
            continue;
        }
        for attribute in message.attributes {
            let LinkAttribute::AfSpecBridge(all) = attribute else { continue };
            found.extend(all.into_iter().filter_map(|one| match one {
                AfSpecBridge::VlanInfo(info) => Some(read(info)),
                _ => None,
            }));
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn read(info: BridgeVlanInfo) -> Vlan {
    Vlan { id: info.vid, native: info.flags.contains(BridgeVlanInfoFlags::Pvid) }
}

/// Makes the port a member of these VLANs, in one message; a new native one takes the place of the old.
pub fn add(socket: &mut Socket, index: u32, vlans: &[Vlan]) -> Result<()> {
    if vlans.is_empty() {
        return Ok(());
    }
    let flags = |vlan: &Vlan| match vlan.native {
        true => BridgeVlanInfoFlags::Pvid | BridgeVlanInfoFlags::Untagged,
        false => BridgeVlanInfoFlags::empty(),
    };
    let message = message(index, vlans.iter().map(|vlan| BridgeVlanInfo { flags: flags(vlan), vid: vlan.id }));
    socket
        .execute(RouteNetlinkMessage::SetLink(message), 0)
        .map_err(|cause| Error::new("add VLANs", format_args!("{} to link number {index}", text(vlans)), cause))
}

/// Ends the port's membership in these VLANs, in one message. What it is no member of is passed over.
pub fn delete(socket: &mut Socket, index: u32, vlans: &[Vlan]) -> Result<()> {
    if vlans.is_empty() {
        return Ok(());
    }
    let flags = BridgeVlanInfoFlags::empty();
    let message = message(index, vlans.iter().map(|vlan| BridgeVlanInfo { flags, vid: vlan.id }));
    socket
        .execute(RouteNetlinkMessage::DelLink(message), 0)
        .map_err(|cause| Error::new("delete VLANs", format_args!("{} of link number {index}", text(vlans)), cause))
}

/// `IFLA_AF_SPEC` of the family AF_BRIDGE, for the port's bridge (br_afspec, net/bridge/br_netlink.c).
fn message(index: u32, infos: impl Iterator<Item = BridgeVlanInfo>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.interface_family = AddressFamily::Bridge;
    message.header.index = index;
    message.attributes.push(LinkAttribute::AfSpecBridge(infos.map(AfSpecBridge::VlanInfo).collect()));
    message
}

fn text(vlans: &[Vlan]) -> String {
    vlans.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
