//! Waiting for a bridge port to carry data.

use std::time::{Duration, Instant};

use netlink_packet_route::link::{BridgePortState, State};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket as open_socket,
};
use std::os::fd::{AsFd, AsRawFd};

use super::read::{Link, get_by_index};
use crate::error::{Error, Result};
use crate::netlink::Socket;

/// `RTMGRP_LINK`, include/uapi/linux/rtnetlink.h.
const RTMGRP_LINK: u32 = 1;

/// Waits until the link is operationally up and, as a bridge port, no longer disabled, for at most `limit`; gives the
/// link as it was last seen, ready or not.
///
/// The kernel takes a veth's carrier to the bridge by a work item (linkwatch), usually in well under a millisecond. A
/// port that spanning tree holds back (listening, learning) is not waited for: that takes half a minute by design.
pub fn wait_until_forwarding(socket: &mut Socket, index: u32, limit: Duration) -> Result<Link> {
    let link = get_by_index(socket, index)?;
    if is_ready(&link) {
        return Ok(link);
    }
    let fail = |errno: Errno| Error::new("wait for link", &link.name, errno);
    // Listen first, look again, then wait: nothing can happen unseen. Listening acts on the thread's namespace, which is
    // the host's, as that of `socket` must be.
    let events = open_socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        SockProtocol::NetlinkRoute,
    )
    .map_err(fail)?;
    bind(events.as_raw_fd(), &NetlinkAddr::new(0, RTMGRP_LINK)).map_err(fail)?;
    let deadline = Instant::now() + limit;
    loop {
        let link = get_by_index(socket, index)?;
        let left = deadline.saturating_duration_since(Instant::now());
        if is_ready(&link) || left.is_zero() {
            return Ok(link);
        }
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(events.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(fail(errno)),
        }
        // Only that something happened matters, also when more happened than the queue holds (ENOBUFS).
        while recv(events.as_raw_fd(), &mut [0; 64], MsgFlags::MSG_DONTWAIT).is_ok() {}
    }
}

fn is_ready(link: &Link) -> bool {
    let forwards = link.port.is_none_or(|port| port.state != BridgePortState::Disabled);
    link.oper_state == State::Up && forwards
}
