//! Waiting until something of one kind changed.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket};

/// A socket in one multicast group of the namespace it was opened in. It says that something happened, never what.
///
/// Open it, look, then wait: nothing can happen unseen.
#[derive(Debug)]
pub(crate) struct Bell(OwnedFd);

impl Bell {
    /// Listens to `group`, an `RTMGRP_*` of include/uapi/linux/rtnetlink.h, in the calling thread's namespace.
    pub(crate) fn open(group: u32) -> Result<Bell, Errno> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, group))?;
        Ok(Bell(fd))
    }

    /// Returns when something happened since the last time, at the latest after `limit`.
    pub(crate) fn wait(&self, limit: Duration) -> Result<(), Errno> {
        let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
        // Only that something happened matters, also when more happened than the queue holds (ENOBUFS).
        while recv(self.0.as_raw_fd(), &mut [0; 64], MsgFlags::MSG_DONTWAIT).is_ok() {}
        Ok(())
    }
}
