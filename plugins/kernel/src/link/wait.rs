//! Waiting for a bridge port to carry data.

use std::time::{Duration, Instant};

use netlink_packet_route::link::{BridgePortState, State};

use super::read::{Link, get_by_index};
use crate::error::{Error, Result};
use crate::netlink::{Bell, Socket};

/// `RTMGRP_LINK`, include/uapi/linux/rtnetlink.h.
const RTMGRP_LINK: u32 = 1;

/// Waits until the link is operationally up and, as a bridge port, no longer disabled, for at most `limit`; gives the
/// link as it was last seen, ready or not. The thread must be in the namespace of `socket`.
///
/// The kernel takes a veth's carrier to the bridge by a work item (linkwatch), usually in well under a millisecond. A
/// port that spanning tree holds back (listening, learning) is not waited for: that takes half a minute by design.
pub fn wait_until_forwarding(socket: &mut Socket, index: u32, limit: Duration) -> Result<Link> {
    let link = get_by_index(socket, index)?;
    if is_ready(&link) {
        return Ok(link);
    }
    let bell = Bell::open(RTMGRP_LINK).map_err(|errno| Error::new("wait for link", &link.name, errno))?;
    let deadline = Instant::now() + limit;
    loop {
        let link = get_by_index(socket, index)?;
        let left = deadline.saturating_duration_since(Instant::now());
        if is_ready(&link) || left.is_zero() {
            return Ok(link);
        }
        bell.wait(left).map_err(|errno| Error::new("wait for link", &link.name, errno))?;
    }
}

fn is_ready(link: &Link) -> bool {
    let forwards = link.port.is_none_or(|port| port.state != BridgePortState::Disabled);
    link.oper_state == State::Up && forwards
}
