//! Changing a link that is there.

use netlink_packet_core::DefaultNla;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet, AfSpecUnspec, InfoBridgePort, InfoPortData, InfoPortKind, LinkAttribute, LinkFlags, LinkInfo,
    LinkMessage,
};

use crate::error::{Error, Result};
use crate::mac::Mac;
use crate::netlink::Socket;

/// Brings the link up.
pub fn set_up(socket: &mut Socket, index: u32) -> Result<()> {
    set_flags(socket, "set link up", index, LinkFlags::Up, true)
}

/// Brings the link up, and has it announce its IPv4 addresses from now on: the sysctl `arp_notify` without `/proc/sys`
/// (inet_set_link_af, net/ipv4/devinet.c).
pub fn set_up_announcing(socket: &mut Socket, index: u32) -> Result<()> {
    // IFLA_INET_CONF, and in it IPV4_DEVCONF_ARP_NOTIFY with a u32 (include/uapi/linux/ip.h).
    const CONF: u16 = 1;
    const ARP_NOTIFY: u16 = 22;
    let mut value = [8u16.to_ne_bytes(), ARP_NOTIFY.to_ne_bytes()].concat();
    value.extend(1u32.to_ne_bytes());
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.change_mask = LinkFlags::Up;
    message.header.flags = LinkFlags::Up;
    let inet = AfSpecUnspec::Inet(vec![AfSpecInet::Other(DefaultNla::new(CONF, value))]);
    message.attributes.push(LinkAttribute::AfSpecUnspec(vec![inet]));
    send(socket, "set link up", message)
}

/// Brings the link down.
pub fn set_down(socket: &mut Socket, index: u32) -> Result<()> {
    set_flags(socket, "set link down", index, LinkFlags::Up, false)
}

/// Switches promiscuous mode.
pub fn set_promiscuous(socket: &mut Socket, index: u32, on: bool) -> Result<()> {
    set_flags(socket, "set promiscuous mode of link", index, LinkFlags::Promisc, on)
}

/// Switches the reception of every multicast frame.
pub fn set_all_multicast(socket: &mut Socket, index: u32, on: bool) -> Result<()> {
    set_flags(socket, "set all-multicast mode of link", index, LinkFlags::Allmulti, on)
}

fn set_flags(socket: &mut Socket, doing: &'static str, index: u32, flag: LinkFlags, on: bool) -> Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.change_mask = flag;
    if on {
        message.header.flags = flag;
    }
    send(socket, doing, message)
}

/// Makes the link a port of the bridge `master`, or of none.
pub fn set_master(socket: &mut Socket, index: u32, master: Option<u32>) -> Result<()> {
    set_attribute(socket, "set master of link", index, LinkAttribute::Controller(master.unwrap_or(0)))
}

/// Sets the MTU, in bytes.
pub fn set_mtu(socket: &mut Socket, index: u32, mtu: u32) -> Result<()> {
    set_attribute(socket, "set MTU of link", index, LinkAttribute::Mtu(mtu))
}

/// Sets the length of the transmit queue, in packets.
pub fn set_tx_queue(socket: &mut Socket, index: u32, packets: u32) -> Result<()> {
    set_attribute(socket, "set transmit queue length of link", index, LinkAttribute::TxQueueLen(packets))
}

/// Sets the hardware address. Setting the one it has is not idle: a bridge pins it, and a link with `arp_notify`
/// announces its IPv4 addresses (NETDEV_CHANGEADDR in inetdev_event, net/ipv4/devinet.c).
pub fn set_mac(socket: &mut Socket, index: u32, mac: Mac) -> Result<()> {
    set_attribute(socket, "set hardware address of link", index, LinkAttribute::Address(mac.0.to_vec()))
}

/// Sets the alias, free text of at most 255 bytes; an empty one removes it.
pub fn set_alias(socket: &mut Socket, index: u32, alias: &str) -> Result<()> {
    set_attribute(socket, "set alias of link", index, LinkAttribute::IfAlias(alias.to_owned()))
}

/// How a bridge treats a port. Both are always written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PortSettings {
    /// Frames may leave by the port they came in.
    pub hairpin: bool,
    /// No frames from or to other isolated ports.
    pub isolated: bool,
}

/// Settings of the link as a bridge port; it must be one.
pub fn set_port(socket: &mut Socket, index: u32, settings: PortSettings) -> Result<()> {
    set_attribute(socket, "set bridge port", index, port_info(settings))
}

/// Alias and port settings in one message.
pub fn set_alias_and_port(socket: &mut Socket, index: u32, alias: &str, settings: PortSettings) -> Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.push(LinkAttribute::IfAlias(alias.to_owned()));
    message.attributes.push(port_info(settings));
    send(socket, "set alias and bridge port of link", message)
}

/// Alias and administrative state in one message.
pub fn set_alias_and_state(socket: &mut Socket, index: u32, alias: &str, up: bool) -> Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.change_mask = LinkFlags::Up;
    message.header.flags.set(LinkFlags::Up, up);
    message.attributes.push(LinkAttribute::IfAlias(alias.to_owned()));
    send(socket, "set alias and state of link", message)
}

fn port_info(settings: PortSettings) -> LinkAttribute {
    LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(InfoPortData::BridgePort(vec![
            InfoBridgePort::HairpinMode(settings.hairpin),
            InfoBridgePort::Isolated(settings.isolated),
        ])),
    ])
}

fn set_attribute(socket: &mut Socket, doing: &'static str, index: u32, attribute: LinkAttribute) -> Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.push(attribute);
    send(socket, doing, message)
}

/// RTM_NEWLINK without NLM_F_CREATE: unlike RTM_SETLINK it also takes the settings of a bridge port.
fn send(socket: &mut Socket, doing: &'static str, message: LinkMessage) -> Result<()> {
    let index = message.header.index;
    socket
        .execute(RouteNetlinkMessage::NewLink(message), 0)
        .map_err(|cause| Error::new(doing, format_args!("number {index}"), cause))
}
