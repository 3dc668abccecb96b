//! VXLAN devices with a forwarding database (not the external, collect-metadata kind): creating, reading, changing in place.

use std::net::IpAddr;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoData, InfoKind, InfoVxlan, LinkAttribute, LinkExtentMask, LinkInfo, LinkMessage};

use crate::error::{Cause, Error, Result};
use crate::link::Link;
use crate::mac::Mac;
use crate::netlink::{CREATE, Socket};

/// A VXLAN device to be made. It is born down, and without an alias: the kernel takes `IFLA_IFALIAS` only for a link that is
/// there (`rtnl_newlink_create`, net/core/rtnetlink.c).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct New<'a> {
    /// At most 15 bytes.
    pub name: &'a str,
    /// Given at birth: udev's `MACAddressPolicy=persistent` rewrites the address of a device created without one.
    pub mac: Mac,
    /// Bytes. Above what the lower device allows the kernel quietly takes less (`vxlan_config_apply`).
    pub mtu: u32,
    /// 24-bit network identifier.
    pub vni: u32,
    /// UDP port to send to and to listen on, host order.
    pub port: u16,
    /// How its packets leave.
    pub path: Path,
}

/// How a device's packets leave: what of it can be changed while it lives. Learning is always off: one forged packet
/// would point a peer's MAC elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// Source address; its family is that of the outer packets and cannot be changed.
    pub local: IpAddr,
    /// Index of the device beneath. The VXLAN device dies with it.
    pub lower: u32,
}

/// What a VXLAN device says about itself beside its [`Link`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Info {
    /// Network identifier.
    pub vni: u32,
    /// UDP port, host order.
    pub port: u16,
    /// Source address.
    pub local: Option<IpAddr>,
    /// Index of the device beneath, 0 if there is none.
    pub lower: u32,
    /// Collect-metadata mode.
    pub external: bool,
    /// Learns MACs from packets.
    pub learning: bool,
}

/// Creates a device. Errors: [`Error::is_exists`] if the name, or VNI and port together, are taken.
/// `EOPNOTSUPP`: the kernel has no VXLAN.
pub fn create(socket: &mut Socket, new: &New<'_>) -> Result<()> {
    let mut message = LinkMessage::default();
    let mut data = vec![InfoVxlan::Id(new.vni), InfoVxlan::Port(new.port)];
    data.extend(path(new.path));
    message.attributes = vec![
        LinkAttribute::IfName(new.name.to_owned()),
        LinkAttribute::Address(new.mac.0.to_vec()),
        LinkAttribute::Mtu(new.mtu),
        info(data),
    ];
    socket
        .execute(RouteNetlinkMessage::NewLink(message), CREATE)
        .map_err(|cause| Error::new("create VXLAN device", new.name, cause))
}

/// Changes source address and lower device of a live device, and switches learning off. `EOPNOTSUPP`: the new address is
/// of another family.
pub fn change(socket: &mut Socket, index: u32, to: Path) -> Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.push(info(path(to)));
    socket
        .execute(RouteNetlinkMessage::NewLink(message), 0)
        .map_err(|cause| Error::new("change VXLAN device", format_args!("number {index} to local {}", to.local), cause))
}

/// The link of this name and, if it is a VXLAN device, what it says about itself.
/// Errors: [`Error::is_not_found`] if there is none.
pub fn get_by_name(socket: &mut Socket, name: &str) -> Result<(Link, Option<Info>)> {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    match socket.get(RouteNetlinkMessage::GetLink(message)) {
        Ok(RouteNetlinkMessage::NewLink(message)) => {
            let info = read(&message);
            Ok((Link::from_message(message), info))
        }
        Ok(other) => {
            let cause = Cause::Unexpected(format!("the kernel answered RTM_GETLINK with {other:?}"));
            Err(Error::new("get link", name, cause))
        }
        Err(cause) => Err(Error::new("get link", name, cause)),
    }
}

fn info(data: Vec<InfoVxlan>) -> LinkAttribute {
    LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Vxlan), LinkInfo::Data(InfoData::Vxlan(data))])
}

fn path(path: Path) -> Vec<InfoVxlan> {
    let local = match path.local {
        IpAddr::V4(v4) => InfoVxlan::Local(v4),
        IpAddr::V6(v6) => InfoVxlan::Local6(v6),
    };
    vec![local, InfoVxlan::Link(path.lower), InfoVxlan::Learning(false)]
}

fn read(message: &LinkMessage) -> Option<Info> {
    let data = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => infos.iter().find_map(|info| match info {
            LinkInfo::Data(InfoData::Vxlan(data)) => Some(data),
            _ => None,
        }),
        _ => None,
    })?;
    let mut info = Info::default();
    for attribute in data {
        match attribute {
            InfoVxlan::Id(vni) => info.vni = *vni,
            InfoVxlan::Port(port) => info.port = *port,
            InfoVxlan::Local(v4) => info.local = Some(IpAddr::V4(*v4)),
            InfoVxlan::Local6(v6) => info.local = Some(IpAddr::V6(*v6)),
            InfoVxlan::Link(index) => info.lower = *index,
            InfoVxlan::CollectMetadata(on) => info.external = *on,
            InfoVxlan::Learning(on) => info.learning = *on,
            _ => {}
        }
    }
    Some(info)
}
