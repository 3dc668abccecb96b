//! What changes in a namespace, as it changes: a socket in the multicast groups of rtnetlink.
//!
//! An event says *look there*, never what is there: IPv4 routes go without a word when their device goes down, and events
//! are lost when the queue overflows. Who uses this dumps and compares.

use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, setsockopt, socket, sockopt,
};

use crate::error::{Cause, Errno, Error, Result};
use crate::netlink::{attributes_of, frames};

/// Groups of include/uapi/linux/rtnetlink.h: RTMGRP_LINK, _NEIGH (FDB too), _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR,
/// _IPV6_ROUTE.
const GROUPS: u32 = 0x1 | 0x4 | ADDRESS_GROUPS | 0x40 | 0x400;
/// Those of addresses alone.
const ADDRESS_GROUPS: u32 = 0x10 | 0x100;

/// Bytes of queue: some ten thousand events before any is lost.
const QUEUE: usize = 4 << 20;

/// Larger than any notification: a link with its attributes takes about 2 KiB.
const DATAGRAM: usize = 64 << 10;

/// Something changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A link of this index appeared, changed or went.
    Link(u32),
    /// An address came to a link or left it.
    Address {
        /// Index of the link.
        link: u32,
        /// The address.
        address: Option<IpAddr>,
    },
    /// A route changed; its link, unless it has several next hops.
    Route(Option<u32>),
    /// A neighbour or FDB entry on a link changed.
    Neighbour(u32),
    /// Events were lost, or one could not be read: everything may have changed.
    Lost,
}

/// A socket that tells of links, addresses, routes, neighbours and FDB entries in the namespace it was opened in.
#[derive(Debug)]
pub struct Events {
    fd: OwnedFd,
    buffer: Vec<u8>,
}

impl Events {
    /// A socket in the calling thread's namespace. Readable (`poll`) when there is something to `drain`.
    pub fn open() -> Result<Events> {
        Self::open_for(GROUPS)
    }

    /// The same for [`Event::Address`] and [`Event::Lost`] alone.
    pub fn open_for_addresses() -> Result<Events> {
        Self::open_for(ADDRESS_GROUPS)
    }

    fn open_for(groups: u32) -> Result<Events> {
        let open = || {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
            // Beyond net.core.rmem_max with CAP_NET_ADMIN, else as much as that allows; less only means more resyncs.
            setsockopt(&fd, sockopt::RcvBufForce, &QUEUE).or_else(|_| setsockopt(&fd, sockopt::RcvBuf, &QUEUE))?;
            bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
            Ok(fd)
        };
        let fd = open().map_err(|errno: Errno| Error::new("open", "netlink event socket", errno))?;
        Ok(Events { fd, buffer: vec![0; DATAGRAM] })
    }

    /// Takes everything that is queued, without waiting.
    pub fn drain(&mut self, mut take: impl FnMut(Event)) -> Result<()> {
        loop {
            match recvfrom::<NetlinkAddr>(self.fd.as_raw_fd(), &mut self.buffer) {
                // Any process may send to our port; the kernel's own is 0.
                Ok((_, sender)) if sender.is_none_or(|sender| sender.pid() != 0) => {}
                // A full buffer may hold half a datagram; its last message then does not fit, and counts as lost.
                Ok((length, _)) => read(&self.buffer[..length], &mut take),
                Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(Errno::ENOBUFS) => take(Event::Lost),
                Err(errno) => return Err(Error::new("receive", "netlink events", Cause::from(errno))),
            }
        }
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

pub(crate) fn read(datagram: &[u8], take: &mut impl FnMut(Event)) {
    for frame in frames(datagram) {
        match frame {
            Ok(frame) => take(event(frame.kind, frame.payload).unwrap_or(Event::Lost)),
            Err(_) => return take(Event::Lost),
        }
    }
}

/// The event in a message: `None` if it is shorter than its header or of a kind no group of ours has.
fn event(kind: u16, payload: &[u8]) -> Option<Event> {
    match kind {
        // struct ifinfomsg: family, pad, type (2), index (4)
        libc::RTM_NEWLINK | libc::RTM_DELLINK => number(payload.get(4..8)?).map(Event::Link),
        // struct ifaddrmsg: family, prefix length, flags, scope, index (4)
        libc::RTM_NEWADDR | libc::RTM_DELADDR => {
            let link = number(payload.get(4..8)?)?;
            let value =
                |wanted: u16| attributes_of(payload.get(8..)?).find(|(kind, _)| *kind == wanted).map(|(_, v)| v);
            let address = value(libc::IFA_LOCAL).or_else(|| value(libc::IFA_ADDRESS)).and_then(ip);
            Some(Event::Address { link, address })
        }
        // struct rtmsg: 12 bytes
        libc::RTM_NEWROUTE | libc::RTM_DELROUTE => {
            let oif = attributes_of(payload.get(12..)?).find(|(kind, _)| *kind == libc::RTA_OIF);
            Some(Event::Route(oif.and_then(|(_, value)| number(value))))
        }
        // struct ndmsg: family, pad (3), index (4)
        libc::RTM_NEWNEIGH | libc::RTM_DELNEIGH => number(payload.get(4..8)?).map(Event::Neighbour),
        _ => None,
    }
}

fn number(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.first_chunk()?))
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_event_names_link_and_address() {
        let mut payload = vec![2, 24, 0, 0];
        payload.extend(7u32.to_ne_bytes());
        payload.extend(8u16.to_ne_bytes());
        payload.extend(libc::IFA_LOCAL.to_ne_bytes());
        payload.extend([192, 0, 2, 1]);
        let expected = Event::Address { link: 7, address: Some("192.0.2.1".parse().unwrap()) };
        assert_eq!(event(libc::RTM_NEWADDR, &payload), Some(expected));
    }

    #[test]
    fn what_cannot_be_read_is_a_loss_and_never_a_panic() {
        for kind in 0..200 {
            for length in 0..16 {
                let _ = event(kind, &vec![0xff; length]);
            }
        }
        let mut seen = Vec::new();
        read(&[1, 2, 3], &mut |event| seen.push(event));
        assert_eq!(seen, [Event::Lost]);
    }
}
