//! Addresses of links.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::error::{Errno, Error, Result};
use crate::netlink::{Bell, CREATE, REPLACE, Socket};
use crate::netns::Netns;

pub use netlink_packet_route::address::AddressFlags as Flags;

/// `RTMGRP_IPV6_IFADDR`, include/uapi/linux/rtnetlink.h.
const RTMGRP_IPV6_IFADDR: u32 = 0x100;

/// An address on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The address with its prefix length; host bits are the address.
    pub net: IpNet,
    /// Index of the link.
    pub link: u32,
    /// `IFA_F_*`.
    pub flags: AddressFlags,
}

/// Adds `net` to the link without duplicate address detection (`IFA_F_NODAD`): it is usable at once.
/// Errors: [`Error::is_exists`] if it is there with this prefix length.
pub fn add(socket: &mut Socket, link: u32, net: IpNet) -> Result<()> {
    add_with(socket, link, net, AddressFlags::Nodad)
}

/// Adds `net` with the given flags. IPv4 knows no detection and ignores `Nodad`.
pub fn add_with(socket: &mut Socket, link: u32, net: IpNet, flags: AddressFlags) -> Result<()> {
    put(socket, link, net, flags, CREATE)
}

/// Adds `net` without detection, or does nothing if it is there.
pub fn replace(socket: &mut Socket, link: u32, net: IpNet) -> Result<()> {
    put(socket, link, net, AddressFlags::Nodad, REPLACE)
}

fn put(socket: &mut Socket, link: u32, net: IpNet, flags: AddressFlags, request: u16) -> Result<()> {
    let mut message = message(link, net);
    message.attributes.push(AddressAttribute::Flags(flags));
    // The kernel makes the broadcast route by itself, but not the address's own broadcast (inet_rtm_newaddr,
    // net/ipv4/devinet.c); Go's netlink library sets it, so the reference plugins do. A /31 has none (RFC 3021).
    if let IpNet::V4(v4) = net
        && v4.prefix_len() < 31
    {
        message.attributes.push(AddressAttribute::Broadcast(v4.broadcast()));
    }
    socket
        .execute(RouteNetlinkMessage::NewAddress(message), request)
        .map_err(|cause| Error::new("add address", format_args!("{net} to link number {link}"), cause))
}

/// Removes `net` from the link. Errors: [`Error::is_not_found`].
pub fn delete(socket: &mut Socket, link: u32, net: IpNet) -> Result<()> {
    socket
        .execute(RouteNetlinkMessage::DelAddress(message(link, net)), 0)
        .map_err(|cause| Error::new("delete address", format_args!("{net} of link number {link}"), cause))
}

/// The addresses of one link, or of all with `link` 0, both families.
pub fn list(socket: &mut Socket, link: u32) -> Result<Vec<Address>> {
    let mut message = AddressMessage::default();
    message.header.index = link;
    let messages = match socket.dump(RouteNetlinkMessage::GetAddress(message)) {
        Ok(messages) => messages,
        Err(cause) => return Err(Error::new("list addresses", format_args!("of link number {link}"), cause)),
    };
    Ok(messages.into_iter().filter_map(read).filter(|address| link == 0 || address.link == link).collect())
}

/// Waits until no address of the link is tentative any more, for at most `limit`; gives those that are still tentative or
/// that somebody else has (`Tentative`, `Dadfailed` in their flags). The link is in `netns`, and so is `socket`.
pub fn wait_until_settled(socket: &mut Socket, netns: &Netns, link: u32, limit: Duration) -> Result<Vec<Address>> {
    let fail = |errno: Errno| Error::new("wait for addresses", format_args!("of link number {link}"), errno);
    let bell = netns.enter(|| Bell::open(RTMGRP_IPV6_IFADDR))?.map_err(fail)?;
    let deadline = Instant::now() + limit;
    loop {
        let mut unsettled = list(socket, link)?;
        unsettled.retain(|address| address.flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed));
        let left = deadline.saturating_duration_since(Instant::now());
        let decided = unsettled.iter().any(|address| address.flags.contains(AddressFlags::Dadfailed));
        if unsettled.is_empty() || decided || left.is_zero() {
            return Ok(unsettled);
        }
        bell.wait(left).map_err(fail)?;
    }
}

pub(crate) fn read(message: RouteNetlinkMessage) -> Option<Address> {
    let RouteNetlinkMessage::NewAddress(message) = message else { return None };
    let (mut local, mut remote, mut flags) = (None, None, u32::from(message.header.flags.bits()));
    for attribute in message.attributes {
        match attribute {
            AddressAttribute::Local(address) => local = Some(address),
            AddressAttribute::Address(address) => remote = Some(address),
            AddressAttribute::Flags(all) => flags = all.bits(),
            _ => {}
        }
    }
    // IPv4 always has IFA_LOCAL; IPv6 has it only beside a peer (inet6_fill_ifaddr, net/ipv6/addrconf.c).
    let net = IpNet::new(local.or(remote)?, message.header.prefix_len).ok()?;
    Some(Address { net, link: message.header.index, flags: AddressFlags::from_bits_retain(flags) })
}

fn message(link: u32, net: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(net.addr());
    message.header.prefix_len = net.prefix_len();
    message.header.index = link;
    message.attributes = vec![AddressAttribute::Local(net.addr()), AddressAttribute::Address(net.addr())];
    message
}

pub(crate) fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
