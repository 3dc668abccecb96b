//! Routes, with the metrics that CNI results carry.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteProtocol, RouteScope,
    RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::addr::family;
use crate::error::{Cause, Error, Result};
use crate::netlink::{CREATE, REPLACE, Socket};

/// `RT_TABLE_MAIN`.
pub const TABLE_MAIN: u32 = 254;
/// `RT_TABLE_LOCAL`.
pub const TABLE_LOCAL: u32 = 255;

/// A unicast route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Destination; host bits are ignored.
    pub destination: IpNet,
    /// Next hop; `None`: the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// Index of the link.
    pub link: u32,
    /// Source address the kernel prefers.
    pub source: Option<IpAddr>,
    /// Metric. `None`: 0 for IPv4, 1024 for IPv6.
    pub priority: Option<u32>,
    /// Routing table.
    pub table: u32,
    /// `RT_SCOPE_*`: 0 universe, 253 link, 254 host. `None`: link without a gateway (IPv4), else universe.
    pub scope: Option<u8>,
    /// Path MTU of the route, in bytes.
    pub mtu: Option<u32>,
    /// TCP maximum segment size to advertise, in bytes.
    pub advmss: Option<u32>,
    /// The gateway is on the link although no address says so.
    pub onlink: bool,
    /// Who made it: `RTPROT_*`; 3 (`boot`) is what `ip route add` and the reference plugins leave.
    pub protocol: u8,
}

impl Route {
    /// A route in the main table with nothing but its destination and link.
    pub fn new(destination: IpNet, link: u32) -> Route {
        Route {
            destination,
            gateway: None,
            link,
            source: None,
            priority: None,
            table: TABLE_MAIN,
            scope: None,
            mtu: None,
            advmss: None,
            onlink: false,
            protocol: RouteProtocol::Boot.into(),
        }
    }

    fn message(&self) -> RouteMessage {
        let mut message = RouteMessage::default();
        let destination = self.destination.trunc();
        message.header.address_family = family(destination.addr());
        message.header.destination_prefix_length = destination.prefix_len();
        message.header.table = u8::try_from(self.table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
        message.header.protocol = RouteProtocol::from(self.protocol);
        message.header.kind = RouteType::Unicast;
        message.header.scope = match (self.scope, self.gateway, destination) {
            (Some(scope), ..) => RouteScope::from(scope),
            (None, None, IpNet::V4(_)) => RouteScope::Link,
            (None, ..) => RouteScope::Universe,
        };
        if self.onlink {
            message.header.flags |= RouteFlags::Onlink;
        }
        let attributes = &mut message.attributes;
        attributes.push(RouteAttribute::Destination(destination.addr().into()));
        attributes.extend(self.gateway.map(|gateway| RouteAttribute::Gateway(gateway.into())));
        attributes.extend(self.source.map(|source| RouteAttribute::PrefSource(source.into())));
        attributes.push(RouteAttribute::Oif(self.link));
        attributes.extend(self.priority.map(RouteAttribute::Priority));
        if self.table > 255 {
            attributes.push(RouteAttribute::Table(self.table));
        }
        let metrics: Vec<_> =
            self.mtu.map(RouteMetric::Mtu).into_iter().chain(self.advmss.map(RouteMetric::Advmss)).collect();
        if !metrics.is_empty() {
            attributes.push(RouteAttribute::Metrics(metrics));
        }
        message
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.destination.trunc())?;
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        write!(f, " link number {}", self.link)?;
        if self.table != TABLE_MAIN {
            write!(f, " table {}", self.table)?;
        }
        if let Some(priority) = self.priority {
            write!(f, " metric {priority}")?;
        }
        Ok(())
    }
}

/// Adds a route. Errors: [`Error::is_exists`] if one of the same destination, table and metric is there.
pub fn add(socket: &mut Socket, route: &Route) -> Result<()> {
    socket
        .execute(RouteNetlinkMessage::NewRoute(route.message()), CREATE)
        .map_err(|cause| Error::new("add route", route, cause))
}

/// Adds a route beside any other of the same destination, table and metric: an IPv4 one goes before it, IPv6 ones share the
/// load. Errors: [`Error::is_exists`] if the very same route is there.
pub fn add_beside(socket: &mut Socket, route: &Route) -> Result<()> {
    socket
        .execute(RouteNetlinkMessage::NewRoute(route.message()), NLM_F_CREATE)
        .map_err(|cause| Error::new("add route", route, cause))
}

/// Adds a route, or puts it in the place of the one of the same destination, table and metric.
pub fn replace(socket: &mut Socket, route: &Route) -> Result<()> {
    socket
        .execute(RouteNetlinkMessage::NewRoute(route.message()), REPLACE)
        .map_err(|cause| Error::new("replace route", route, cause))
}

/// Deletes a route. Errors: [`Error::is_not_found`].
pub fn delete(socket: &mut Socket, route: &Route) -> Result<()> {
    let mut message = route.message();
    // "Whatever scope it has": an exact one would have to be known (fib_table_delete, net/ipv4/fib_trie.c).
    message.header.scope = route.scope.map_or(RouteScope::NoWhere, RouteScope::from);
    message.attributes.retain(|attribute| !matches!(attribute, RouteAttribute::Metrics(_)));
    socket.execute(RouteNetlinkMessage::DelRoute(message), 0).map_err(|cause| Error::new("delete route", route, cause))
}

/// The unicast routes of a link, in all tables, both families. `link` 0: of all links.
pub fn list(socket: &mut Socket, link: u32) -> Result<Vec<Route>> {
    let mut routes = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut message = RouteMessage::default();
        message.header.address_family = family;
        message.header.kind = RouteType::Unicast;
        if link != 0 {
            message.attributes.push(RouteAttribute::Oif(link));
        }
        let messages = match socket.dump(RouteNetlinkMessage::GetRoute(message)) {
            Ok(messages) => messages,
            // A kernel booted with ipv6.disable=1 has no such table.
            Err(cause) if cause.is_not_found() => continue,
            Err(cause) => return Err(Error::new("list routes", format_args!("of link number {link}"), cause)),
        };
        routes.extend(messages.into_iter().filter_map(read).filter(|route| link == 0 || route.link == link));
    }
    Ok(routes)
}

/// The index of the link by which a packet of the node's own to this address leaves. Errors: ENETUNREACH and its like if
/// there is no way.
pub fn link_to(socket: &mut Socket, address: IpAddr) -> Result<u32> {
    let fail = |cause: Cause| Error::new("look up the way", format_args!("to {address}"), cause);
    let mut message = RouteMessage::default();
    message.header.address_family = family(address);
    message.header.destination_prefix_length = if address.is_ipv4() { 32 } else { 128 };
    message.attributes.push(RouteAttribute::Destination(address.into()));
    let answer = socket.get(RouteNetlinkMessage::GetRoute(message)).map_err(fail)?;
    let RouteNetlinkMessage::NewRoute(found) = answer else {
        return Err(fail(Cause::Unexpected("the kernel answered with something else than a route".into())));
    };
    let link = found.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    });
    link.ok_or_else(|| fail(Cause::Unexpected("the kernel's answer names no link".into())))
}

pub(crate) fn read(message: RouteNetlinkMessage) -> Option<Route> {
    let RouteNetlinkMessage::NewRoute(message) = message else { return None };
    if message.header.kind != RouteType::Unicast || message.header.flags.contains(RouteFlags::Cloned) {
        return None;
    }
    let any = match message.header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let mut route = Route::new(IpNet::new(any, 0).ok()?, 0);
    route.table = u32::from(message.header.table);
    route.scope = Some(message.header.scope.into());
    route.onlink = message.header.flags.contains(RouteFlags::Onlink);
    route.protocol = message.header.protocol.into();
    let mut destination = any;
    for attribute in message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = ip(&address)?,
            RouteAttribute::Gateway(address) => route.gateway = ip(&address),
            RouteAttribute::PrefSource(address) => route.source = ip(&address),
            RouteAttribute::Oif(index) => route.link = index,
            RouteAttribute::Priority(priority) => route.priority = Some(priority),
            RouteAttribute::Table(table) => route.table = table,
            RouteAttribute::Metrics(metrics) => {
                for metric in metrics {
                    match metric {
                        RouteMetric::Mtu(mtu) => route.mtu = Some(mtu),
                        RouteMetric::Advmss(advmss) => route.advmss = Some(advmss),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    route.destination = IpNet::new(destination, message.header.destination_prefix_length).ok()?;
    Some(route)
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}
