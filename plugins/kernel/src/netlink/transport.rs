//! The socket itself: sending once, receiving whole datagrams from the kernel and from nobody else.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recvmsg, send, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use super::frame::{Frame, NLMSG_DONE, NLMSG_ERROR, frames};
use crate::error::{Cause, Errno, Error, Result};
use crate::netns::Netns;

/// How often an interrupted dump is tried before it is an error: Cilium's number (pkg/datapath/linux/safenetlink).
pub const DUMP_ATTEMPTS: u32 = 30;

/// The kernel answers a request inside `send`; an answer that is not there after this long is lost.
const ANSWER_LIMIT_SECONDS: i64 = 20;
/// `send` fails with ENOBUFS when the kernel cannot allocate the message; nothing was done then.
const SEND_ATTEMPTS: u32 = 5;

const NLMSG_OVERRUN: u16 = 4;
const NLM_F_DUMP_INTR: u16 = 0x10;

/// A blocking netlink socket of any protocol, with sequence numbers.
#[derive(Debug)]
pub(crate) struct Transport {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

/// How the answers to a request end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answers {
    /// An acknowledgement (`NLM_F_ACK`), with or without messages before it.
    Acknowledged,
    /// One message, or an error in its place.
    Single,
    /// Messages, then `NLMSG_DONE` (`NLM_F_DUMP`).
    Dumped,
}

/// What `Transport::collect` found besides the messages it handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    /// All of it, from one consistent state.
    Complete,
    /// A dump that changed under the kernel's hands, or one of whose datagrams was dropped.
    Interrupted,
}

impl Transport {
    /// Opens a socket in `netns`, or in the thread's namespace.
    pub(crate) fn open(protocol: SockProtocol, netns: Option<&Netns>) -> Result<Transport> {
        match netns {
            Some(netns) => netns.enter(|| Transport::open(protocol, None))?,
            None => Transport::open_here(protocol).map_err(|errno| Error::new("open", "netlink socket", errno)),
        }
    }

    fn open_here(protocol: SockProtocol) -> std::result::Result<Transport, Errno> {
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::new(ANSWER_LIMIT_SECONDS, 0))?;
        // Extended acks (4.12), capped echoes (4.3) and strict checks of dump requests (4.20) are older than the floor.
        set_option(&fd, libc::NETLINK_EXT_ACK)?;
        set_option(&fd, libc::NETLINK_CAP_ACK)?;
        if protocol == SockProtocol::NetlinkRoute {
            set_option(&fd, libc::NETLINK_GET_STRICT_CHK)?;
        }
        Ok(Transport { fd, sequence: 0, buffer: vec![0; 32 << 10] })
    }

    /// The next sequence number; never 0, which is that of unsolicited messages.
    pub(crate) fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        self.sequence
    }

    /// Sends `bytes` as one datagram to the kernel.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> std::result::Result<(), Cause> {
        let mut attempts = 0;
        loop {
            match send(self.fd.as_raw_fd(), bytes, MsgFlags::empty()) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(Errno::ENOBUFS | Errno::EAGAIN) if attempts < SEND_ATTEMPTS => attempts += 1,
                // Longer than the socket's buffer (netlink_sendmsg, net/netlink/af_netlink.c): a range of a thousand ports.
                Err(Errno::EMSGSIZE) if attempts < SEND_ATTEMPTS => {
                    attempts += 1;
                    setsockopt(&self.fd, sockopt::SndBufForce, &bytes.len().saturating_add(4096))?;
                }
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Receives one datagram of the kernel. With `wait` false, EAGAIN if there is none.
    ///
    /// The kernel fits dumps into what was offered before (netlink_recvmsg, net/netlink/af_netlink.c), and single answers
    /// are far shorter. One that is longer all the same is lost, as if the queue had overflowed (ENOBUFS), and the next
    /// finds room: asking for the length first would double the system calls of everybody.
    pub(crate) fn receive(&mut self, wait: bool) -> std::result::Result<&[u8], Cause> {
        let flags = if wait { MsgFlags::MSG_TRUNC } else { MsgFlags::MSG_TRUNC | MsgFlags::MSG_DONTWAIT };
        let fd = self.fd.as_raw_fd();
        loop {
            let (length, sender) = match receive_from(fd, &mut self.buffer, flags) {
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) if wait => {
                    return Err(Cause::Unexpected(format!("no answer from the kernel in {ANSWER_LIMIT_SECONDS} s")));
                }
                other => other?,
            };
            // Any process may send to our port; the kernel's own is 0.
            if sender.is_none_or(|sender| sender.pid() != 0) {
                continue;
            }
            if length > self.buffer.len() {
                self.buffer.resize(length, 0);
                return Err(Errno::ENOBUFS.into());
            }
            return Ok(&self.buffer[..length]);
        }
    }

    /// Receives until the answers to `sequence` are complete, and hands each message to `take`.
    ///
    /// Messages of other sequence numbers (late answers to a request that failed) are passed over. After an interruption
    /// the rest is still read, so that the next request finds an empty queue.
    pub(crate) fn collect(
        &mut self,
        sequence: u32,
        answers: Answers,
        mut take: impl FnMut(Frame<'_>) -> std::result::Result<(), Cause>,
    ) -> std::result::Result<Reply, Cause> {
        let mut reply = Reply::Complete;
        let mut wrong = None;
        loop {
            let datagram = match self.receive(reply == Reply::Complete) {
                Ok(datagram) => datagram,
                // The receive queue overflowed: an answer is missing. Take what is there, without waiting for what is not.
                Err(cause) if cause.errno() == Some(Errno::ENOBUFS) => {
                    reply = Reply::Interrupted;
                    continue;
                }
                Err(cause) if reply == Reply::Interrupted && cause.errno() == Some(Errno::EAGAIN) => {
                    return match answers {
                        Answers::Dumped => Ok(reply),
                        Answers::Acknowledged | Answers::Single => {
                            Err(Cause::Unexpected("the kernel's answer was lost (ENOBUFS)".into()))
                        }
                    };
                }
                Err(cause) => return Err(cause),
            };
            for frame in frames(datagram) {
                let frame = frame?;
                if frame.sequence != sequence {
                    continue;
                }
                if frame.flags & NLM_F_DUMP_INTR != 0 {
                    reply = Reply::Interrupted;
                }
                match frame.kind {
                    NLMSG_ERROR => return frame.acknowledgement().and(wrong.map_or(Ok(reply), Err)),
                    NLMSG_DONE => return frame.done().and(wrong.map_or(Ok(reply), Err)),
                    NLMSG_OVERRUN => reply = Reply::Interrupted,
                    _ if answers == Answers::Single => return take(frame).map(|()| reply),
                    _ if wrong.is_none() => wrong = take(frame).err(),
                    _ => {}
                }
            }
        }
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// recvfrom(2) with flags, which nix's own lacks: the length of the datagram (with `MSG_TRUNC` all of it) and who sent it.
fn receive_from(
    fd: RawFd,
    buffer: &mut [u8],
    flags: MsgFlags,
) -> std::result::Result<(usize, Option<NetlinkAddr>), Errno> {
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<NetlinkAddr>(fd, &mut parts, None, flags)?;
    Ok((message.bytes, message.address))
}

fn set_option(fd: &OwnedFd, option: libc::c_int) -> std::result::Result<(), Errno> {
    let on: libc::c_int = 1;
    // SAFETY: the option's value is one c_int, alive for the call, and its size is passed.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_NETLINK,
            option,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    Errno::result(result).map(drop)
}
