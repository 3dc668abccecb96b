//! Telling the neighbours who has an address now: gratuitous ARP (RFC 5227, 3) and unsolicited neighbour advertisements
//! (RFC 4861, 7.2.6).
//!
//! Frames are built here and sent through a packet socket, so that nothing waits for an address or a route to be ready.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::error::{Error, Result};
use crate::mac::Mac;
use crate::netns::Netns;

const ETH_P_IPV6: u16 = 0x86dd;
const ETH_P_ARP: u16 = 0x0806;
const BROADCAST: [u8; 6] = [0xff; 6];
/// `ff02::1` as an Ethernet group (RFC 2464, 7).
const ALL_NODES: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];

/// Announces `addresses` as those of `mac` on the link of this index in `netns`. The link must be up.
pub fn announce(netns: &Netns, link: u32, mac: Mac, addresses: &[IpAddr]) -> Result<()> {
    let fail = |errno: Errno| Error::new("announce addresses on link", format_args!("number {link}"), errno);
    // Without a protocol the socket receives nothing; it only sends.
    let open = || socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None);
    let fd = netns.enter(open)?.map_err(fail)?;
    for address in addresses {
        let (frame, protocol) = match address {
            IpAddr::V4(address) => (gratuitous_arp(mac, *address), ETH_P_ARP),
            IpAddr::V6(address) => (neighbour_advertisement(mac, *address), ETH_P_IPV6),
        };
        send(&fd, link, protocol, &frame).map_err(fail)?;
    }
    Ok(())
}

fn send(fd: &OwnedFd, link: u32, protocol: u16, frame: &[u8]) -> std::result::Result<(), Errno> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol.to_be(),
        sll_ifindex: link as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: [0; 8],
    };
    // SAFETY: frame and address are alive for the call and their true sizes are passed; sendto(2) writes neither.
    let sent = unsafe {
        libc::sendto(
            fd.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            (&raw const address).cast(),
            size_of_val(&address) as libc::socklen_t,
        )
    };
    Errno::result(sent).map(drop)
}

fn ethernet(destination: [u8; 6], source: Mac, kind: u16) -> Vec<u8> {
    let mut frame = destination.to_vec();
    frame.extend(source.0);
    frame.extend(kind.to_be_bytes());
    frame
}

/// A request for one's own address, to everybody: all that know the address take the new owner (RFC 826).
fn gratuitous_arp(mac: Mac, address: Ipv4Addr) -> Vec<u8> {
    let mut frame = ethernet(BROADCAST, mac, ETH_P_ARP);
    // Ethernet, IPv4, lengths 6 and 4, request.
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(mac.0);
    frame.extend(address.octets());
    frame.extend([0; 6]);
    frame.extend(address.octets());
    frame
}

/// From the address itself to all nodes, with the override flag and the target's hardware address.
fn neighbour_advertisement(mac: Mac, address: Ipv6Addr) -> Vec<u8> {
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    // Type 136, code 0, checksum, override; target; option 2 (target link-layer address) of one unit of eight bytes.
    let mut message = vec![136, 0, 0, 0, 0x20, 0, 0, 0];
    message.extend(address.octets());
    message.extend([2, 1]);
    message.extend(mac.0);
    let checksum = icmpv6_checksum(address, all_nodes, &message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());

    let mut frame = ethernet(ALL_NODES, mac, ETH_P_IPV6);
    // Version 6, payload length, next header ICMPv6, hop limit 255 (required of neighbour discovery).
    frame.extend([0x60, 0, 0, 0]);
    frame.extend((message.len() as u16).to_be_bytes());
    frame.extend([58, 255]);
    frame.extend(address.octets());
    frame.extend(all_nodes.octets());
    frame.extend(message);
    frame
}

/// RFC 4443, 2.3, with the pseudo-header of RFC 8200, 8.1. `message` is of even length, its checksum zero.
fn icmpv6_checksum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> u16 {
    let pseudo =
        [&source.octets()[..], &destination.octets(), &(message.len() as u32).to_be_bytes(), &[0, 0, 0, 58], message];
    let words = pseudo.iter().flat_map(|part| part.chunks_exact(2));
    let mut sum: u32 = words.map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 9]);

    #[test]
    fn a_gratuitous_arp_asks_for_its_own_address() {
        let frame = gratuitous_arp(MAC, Ipv4Addr::new(10, 1, 0, 2));
        assert_eq!(frame.len(), 42);
        assert_eq!(frame[..6], BROADCAST);
        assert_eq!((&frame[28..32], &frame[38..42]), (&[10, 1, 0, 2][..], &[10, 1, 0, 2][..]));
    }

    #[test]
    fn an_advertisement_sums_to_all_ones() {
        let address: Ipv6Addr = "fd00:1::2".parse().unwrap();
        let frame = neighbour_advertisement(MAC, address);
        let message = &frame[14 + 40..];
        // A receiver sums the message with its checksum in it: the complement of all ones is zero.
        assert_eq!(icmpv6_checksum(address, "ff02::1".parse().unwrap(), message), 0);
        assert_eq!((message[0], frame[14 + 7]), (136, 255));
    }
}
