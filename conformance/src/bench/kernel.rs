//! The kernel's own share: removing a link with one message, no process around it.

use std::io::IoSlice;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendmsg, socket};

use crate::lab::Place;

/// `RTM_DELLINK` (include/uapi/linux/rtnetlink.h).
const RTM_DELLINK: u16 = 17;
/// `NLM_F_REQUEST | NLM_F_ACK` (include/uapi/linux/netlink.h).
const REQUEST_AND_ACK: u16 = 0x1 | 0x4;

/// The index of a link. Asked before every removal that is measured, whoever does it: what the kernel still has to free of
/// the ADD is waited for by the removal, and a question later there is less of it.
pub(super) fn index_of(place: &Place, name: &str) -> Result<i32> {
    let links = place.json(&format!("ip -j link show dev {name}"))?;
    let index = links[0]["ifindex"].as_i64().and_then(|index| i32::try_from(index).ok());
    index.ok_or_else(|| anyhow!("{name} has no index in {}", place.name()))
}

/// Removes the link with this index in `place`; from the message to the kernel's acknowledgement.
pub(super) fn remove_link(place: &Place, index: i32) -> Result<Duration> {
    place.enter(|| {
        let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)
            .context("open a netlink socket")?;
        let start = Instant::now();

        let sent = sendmsg(
            socket.as_raw_fd(),
            &[IoSlice::new(&request(index))],
            &[],
            MsgFlags::empty(),
            Some(&NetlinkAddr::new(0, 0)),
        );
        sent.context("send RTM_DELLINK")?;
        let mut answer = [0u8; 4096];
        let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty()).context("receive the acknowledgement")?;
        let took = start.elapsed();
        // struct nlmsghdr is 16 bytes, struct nlmsgerr begins with the negative errno.
        match answer
            .get(16..20)
            .filter(|_| length >= 20)
            .and_then(|bytes| bytes.try_into().ok())
            .map(i32::from_ne_bytes)
        {
            Some(0) => Ok(took),
            code => bail!("RTM_DELLINK of link number {index}: the kernel answered {code:?}"),
        }
    })
}

/// `struct nlmsghdr` and `struct ifinfomsg`, both in host byte order.
fn request(index: i32) -> [u8; 32] {
    let mut message = [0u8; 32];
    message[0..4].copy_from_slice(&32u32.to_ne_bytes());
    message[4..6].copy_from_slice(&RTM_DELLINK.to_ne_bytes());
    message[6..8].copy_from_slice(&REQUEST_AND_ACK.to_ne_bytes());
    message[8..12].copy_from_slice(&1u32.to_ne_bytes());
    message[20..24].copy_from_slice(&index.to_ne_bytes());
    message
}
