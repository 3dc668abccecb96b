//! Ending a process without waiting for the kernel to free what was deleted.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd};

use nix::sys::socket::{AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair};

use super::socket::Nftables;

impl Nftables {
    /// Gives the socket up as the last deed of a process, without waiting.
    ///
    /// Closing any netfilter socket waits until what anybody deleted in its namespace is freed (nft_rcv_nl_event,
    /// net/netfilter/nf_tables_api.c): an RCU grace period, 6 to 19 ms, also when it is the end of the process that closes,
    /// and it keeps others from committing meanwhile. What is freed late harms nobody, so the kernel is made to close it in
    /// its own time: the socket is sent into the queue of a unix socket, and that one and its peer with it. Such a ring is
    /// out of everybody's reach, and is closed by the kernel's collector (net/unix/garbage.c) when anybody closes a unix
    /// socket; before Linux 6.8 by that one itself. Where sending is refused, closing is what is left.
    pub fn leave(self) {
        let pair = socketpair(AddressFamily::Unix, SockType::Datagram, None, SockFlag::SOCK_CLOEXEC);
        let Ok((there, here)) = pair else { return };
        let ring = [here.as_raw_fd(), there.as_raw_fd(), self.transport.as_fd().as_raw_fd()];
        // Refused: everything is closed below, which waits.
        let _ = sendmsg::<()>(
            there.as_raw_fd(),
            &[IoSlice::new(b"\0")],
            &[ControlMessage::ScmRights(&ring)],
            MsgFlags::empty(),
            None,
        );
        // Before the pair: should the collector be at work already, it is to have the last of it.
        drop(self);
    }
}
