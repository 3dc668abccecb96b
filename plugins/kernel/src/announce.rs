//! Telling the neighbours who has an address now: gratuitous ARP (RFC 5227, 3) and unsolicited neighbour advertisements
//! (RFC 4861, 7.2.6), sent by the kernel itself.
//!
//! A link with `arp_notify` and `ndisc_notify` announces its addresses when its hardware address is set, also to what it
//! was (NETDEV_CHANGEADDR in inetdev_event, net/ipv4/devinet.c, and ndisc_netdev_event, net/ipv6/ndisc.c). Frames of our own
//! through a packet socket were the way before: closing such a socket waits for an RCU grace period
//! (packet_release, net/packet/af_packet.c), 8 ms of an ADD that takes 3.

use crate::error::Result;
use crate::link;
use crate::mac::Mac;
use crate::netlink::Socket;

/// The sysctls of an interface that make it announce, IPv4's and IPv6's; see also [`link::set_up_announcing`].
pub fn sysctls(ifname: &str) -> [String; 2] {
    [format!("net/ipv4/conf/{ifname}/arp_notify"), format!("net/ipv6/conf/{ifname}/ndisc_notify")]
}

/// Announces every address of the link that is not tentative. The link must be up and have [`sysctls`] at 1; `mac` is its
/// own hardware address.
pub fn announce(socket: &mut Socket, index: u32, mac: Mac) -> Result<()> {
    link::set_mac(socket, index, mac)
}
