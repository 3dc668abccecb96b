//! The rtnetlink client: one request at a time, its answers checked.

use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_ECHO, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkDeserializable,
    NetlinkHeader, NetlinkMessage,
};
use netlink_packet_route::RouteNetlinkMessage;
use nix::sys::socket::SockProtocol;

use super::transport::{Answers, DUMP_ATTEMPTS, Reply, Transport};
use crate::error::{Cause, Errno, Result};
use crate::netns::Netns;

/// An rtnetlink socket. It acts on the namespace it was opened in, wherever the thread goes afterwards.
///
/// Its methods give a [`Cause`]; the caller adds deed and object (`Error::new`).
#[derive(Debug)]
pub struct Socket {
    transport: Transport,
}

/// Flags of a request that makes something new and fails if it is there.
pub const CREATE: u16 = NLM_F_CREATE | NLM_F_EXCL;
/// Flags of a request that makes something or takes the place of what is there.
pub const REPLACE: u16 = NLM_F_CREATE | NLM_F_REPLACE;

impl Socket {
    /// A socket in the calling thread's namespace.
    pub fn open() -> Result<Socket> {
        Ok(Socket { transport: Transport::open(SockProtocol::NetlinkRoute, None)? })
    }

    /// A socket in `netns`.
    pub fn open_in(netns: &Netns) -> Result<Socket> {
        Ok(Socket { transport: Transport::open(SockProtocol::NetlinkRoute, Some(netns))? })
    }

    /// Sends a request that changes something and waits for the kernel's acknowledgement. `flags` are added to
    /// `NLM_F_REQUEST | NLM_F_ACK`: [`CREATE`], [`REPLACE`], or 0.
    pub fn execute(&mut self, message: RouteNetlinkMessage, flags: u16) -> std::result::Result<(), Cause> {
        let sequence = self.send(message, NLM_F_ACK | flags)?;
        self.transport.collect(sequence, Answers::Acknowledged, |_| Ok(())).map(drop)
    }

    /// [`Socket::execute`] that asks for what became of it: the object as it is after the change, where the kernel echoes
    /// requests of this kind (`NLM_F_ECHO`; links since 6.2). It is made, if there is no error, with an echo or without.
    pub fn execute_echoed(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> std::result::Result<Option<RouteNetlinkMessage>, Cause> {
        let sequence = self.send(message, NLM_F_ACK | NLM_F_ECHO | flags)?;
        let mut echo = None;
        self.transport.collect(sequence, Answers::Acknowledged, |frame| {
            echo = Some(parse(frame)?);
            Ok(())
        })?;
        Ok(echo)
    }

    /// Sends a request with one answer (`RTM_GETLINK` of one link, `RTM_GETROUTE` of one destination).
    pub fn get(&mut self, message: RouteNetlinkMessage) -> std::result::Result<RouteNetlinkMessage, Cause> {
        let sequence = self.send(message, 0)?;
        let mut answer = None;
        self.transport.collect(sequence, Answers::Single, |frame| {
            answer = Some(parse(frame)?);
            Ok(())
        })?;
        answer.ok_or_else(|| Cause::Unexpected("the kernel acknowledged the question without answering it".into()))
    }

    /// Everything that matches the request, from one consistent state: an interrupted dump is read to its end, thrown
    /// away and asked for again, at most [`DUMP_ATTEMPTS`] times.
    pub fn dump(&mut self, message: RouteNetlinkMessage) -> std::result::Result<Vec<RouteNetlinkMessage>, Cause> {
        for _ in 0..DUMP_ATTEMPTS {
            let mut found = Vec::new();
            let sequence = self.send(message.clone(), NLM_F_DUMP)?;
            let reply = self.transport.collect(sequence, Answers::Dumped, |frame| {
                found.push(parse(frame)?);
                Ok(())
            });
            match reply {
                Ok(Reply::Complete) => return Ok(found),
                Ok(Reply::Interrupted) => {}
                // The kernel is still busy with a dump whose end we did not see.
                Err(cause) if cause.errno() == Some(Errno::EBUSY) => {}
                Err(cause) => return Err(cause),
            }
        }
        Err(Cause::DumpInterrupted { attempts: DUMP_ATTEMPTS })
    }

    /// For messages that netlink-packet-route does not know.
    pub(crate) fn transport(&mut self) -> &mut Transport {
        &mut self.transport
    }

    fn send(&mut self, message: RouteNetlinkMessage, flags: u16) -> std::result::Result<u32, Cause> {
        let sequence = self.transport.next_sequence();
        let mut message = NetlinkMessage::from(message);
        message.header.flags = NLM_F_REQUEST | flags;
        message.header.sequence_number = sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.transport.send(&bytes)?;
        Ok(sequence)
    }
}

pub(crate) fn parse(frame: super::Frame<'_>) -> std::result::Result<RouteNetlinkMessage, Cause> {
    let mut header = NetlinkHeader::default();
    header.message_type = frame.kind;
    RouteNetlinkMessage::deserialize(&header, frame.payload)
        .map_err(|error| Cause::Unexpected(format!("an answer of the kernel could not be read: {error}")))
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.transport.as_fd()
    }
}
