//! A link as the kernel describes it.

use netlink_packet_route::AddressFamily;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    BridgePortState, InfoBridge, InfoBridgePort, InfoData, InfoKind, InfoPortData, LinkAttribute, LinkExtentMask,
    LinkFlags, LinkInfo, LinkMessage, Prop, State,
};

use crate::error::{Cause, Error, Result};
use crate::mac::Mac;
use crate::netlink::Socket;

/// `IFNAMSIZ` without the terminating zero.
const NAME_LIMIT: usize = 15;

/// A network device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// `ifindex`, unique in its namespace.
    pub index: u32,
    /// The name, at most 15 bytes.
    pub name: String,
    /// `IFLA_INFO_KIND`: `veth`, `bridge`, `vxlan`; `None` for hardware and `lo`.
    pub kind: Option<String>,
    /// Hardware address, where it is an Ethernet one.
    pub mac: Option<Mac>,
    /// Bytes.
    pub mtu: u32,
    /// Length of the transmit queue, in packets.
    pub tx_queue: u32,
    /// `IFF_*`.
    pub flags: LinkFlags,
    /// RFC 2863 operational state.
    pub oper_state: State,
    /// Index of the bridge or other master.
    pub master: Option<u32>,
    /// `IFLA_LINK`: index of the veth's peer, in the peer's namespace.
    pub peer: Option<u32>,
    /// `IFLA_LINK_NETNSID`: the peer's namespace as seen from here; `None` if it is this one.
    pub peer_namespace: Option<i32>,
    /// `IFLA_IFALIAS`: free text, at most 255 bytes.
    pub alias: Option<String>,
    /// Settings as a bridge port.
    pub port: Option<Port>,
    /// Of a bridge: whether it keeps VLANs apart. `None`: no bridge, or a kernel without `CONFIG_BRIDGE_VLAN_FILTERING`.
    pub filters_vlans: Option<bool>,
}

/// A link as a port of its bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    /// Frames may leave by the port they came in.
    pub hairpin: bool,
    /// No frames from or to other isolated ports.
    pub isolated: bool,
    /// Spanning-tree state; `Forwarding` is the only one that carries data.
    pub state: BridgePortState,
}

impl Link {
    /// Administratively up.
    pub fn is_up(&self) -> bool {
        self.flags.contains(LinkFlags::Up)
    }

    /// Whether it is of this kind.
    pub fn is(&self, kind: &str) -> bool {
        self.kind.as_deref() == Some(kind)
    }

    /// From a message of the kernel.
    pub fn from_message(message: LinkMessage) -> Link {
        let mut link = Link {
            index: message.header.index,
            name: String::new(),
            kind: None,
            mac: None,
            mtu: 0,
            tx_queue: 0,
            flags: message.header.flags,
            oper_state: State::Unknown,
            master: None,
            peer: None,
            peer_namespace: None,
            alias: None,
            port: None,
            filters_vlans: None,
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::Address(bytes) => link.mac = Mac::from_slice(&bytes),
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                LinkAttribute::TxQueueLen(packets) => link.tx_queue = packets,
                LinkAttribute::OperState(state) => link.oper_state = state,
                LinkAttribute::Controller(index) => link.master = Some(index),
                LinkAttribute::Link(index) => link.peer = Some(index),
                LinkAttribute::LinkNetNsId(id) => link.peer_namespace = Some(id),
                LinkAttribute::IfAlias(alias) => link.alias = Some(alias),
                LinkAttribute::LinkInfo(infos) => {
                    for info in infos {
                        match info {
                            LinkInfo::Kind(kind) => link.kind = Some(kind_name(&kind)),
                            LinkInfo::Data(InfoData::Bridge(data)) => link.filters_vlans = filters_vlans(&data),
                            LinkInfo::PortData(InfoPortData::BridgePort(data)) => link.port = Some(port(&data)),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        link
    }
}

fn kind_name(kind: &InfoKind) -> String {
    match kind {
        InfoKind::Other(name) => name.clone(),
        known => known.to_string(),
    }
}

/// Every kernel says whether a bridge filters; one that could not says nothing of the VLAN of untagged frames
/// (br_fill_info, net/bridge/br_netlink.c).
fn filters_vlans(data: &[InfoBridge]) -> Option<bool> {
    data.iter().find(|attribute| matches!(attribute, InfoBridge::VlanDefaultPvid(_)))?;
    data.iter().find_map(|attribute| match attribute {
        InfoBridge::VlanFiltering(on) => Some(*on),
        _ => None,
    })
}

fn port(data: &[InfoBridgePort]) -> Port {
    let mut port = Port { hairpin: false, isolated: false, state: BridgePortState::Disabled };
    for attribute in data {
        match attribute {
            InfoBridgePort::HairpinMode(on) => port.hairpin = *on,
            InfoBridgePort::Isolated(on) => port.isolated = *on,
            InfoBridgePort::State(state) => port.state = *state,
            _ => {}
        }
    }
    port
}

/// The link of this name. A name over 15 bytes is looked up among the alternative names.
/// Errors: [`Error::is_not_found`] if there is none.
pub fn get_by_name(socket: &mut Socket, name: &str) -> Result<Link> {
    let mut message = LinkMessage::default();
    message.attributes.push(if name.len() <= NAME_LIMIT {
        LinkAttribute::IfName(name.to_owned())
    } else {
        LinkAttribute::PropList(vec![Prop::AltIfName(name.to_owned())])
    });
    get(socket, message).map_err(|cause| Error::new("get link", name, cause))
}

/// The link of this index. Errors: [`Error::is_not_found`] if there is none.
pub fn get_by_index(socket: &mut Socket, index: u32) -> Result<Link> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    get(socket, message).map_err(|cause| Error::new("get link", format_args!("number {index}"), cause))
}

fn get(socket: &mut Socket, mut message: LinkMessage) -> std::result::Result<Link, Cause> {
    message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    match socket.get(RouteNetlinkMessage::GetLink(message))? {
        RouteNetlinkMessage::NewLink(message) => Ok(Link::from_message(message)),
        other => Err(Cause::Unexpected(format!("the kernel answered RTM_GETLINK with {other:?}"))),
    }
}

/// All links of the namespace.
pub fn list(socket: &mut Socket) -> Result<Vec<Link>> {
    let mut message = LinkMessage::default();
    message.header.interface_family = AddressFamily::Unspec;
    message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    let messages =
        socket.dump(RouteNetlinkMessage::GetLink(message)).map_err(|cause| Error::new("list", "links", cause))?;
    Ok(messages
        .into_iter()
        .filter_map(|message| match message {
            RouteNetlinkMessage::NewLink(message) => Some(Link::from_message(message)),
            _ => None,
        })
        .collect())
}
