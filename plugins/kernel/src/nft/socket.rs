//! The nf_tables client: batches, and how questions are asked.

use nix::sys::socket::SockProtocol;

use super::table::Family;
use super::transaction::{Transaction, kind};
use crate::error::{Cause, Errno, Error, Result};
use crate::netlink::{Answers, Frame, NLMSG_ERROR, NLMSG_HEADER_LEN, Reply, Transport, attributes_of, frames};
use crate::netns::Netns;

pub(crate) const NLM_F_REQUEST: u16 = 1;
pub(crate) const NLM_F_ACK: u16 = 4;
pub(crate) const NLM_F_DUMP: u16 = 0x300;
/// `NFNL_SUBSYS_NFTABLES`.
const SUBSYSTEM: u16 = 10;
/// `NFNL_MSG_BATCH_BEGIN`, `NFNL_MSG_BATCH_END`.
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
/// Length of `struct nfgenmsg`: family, version, resource id.
const NFGENMSG_LEN: usize = 4;

/// An nf_tables socket. It acts on the namespace it was opened in, wherever the thread goes afterwards.
///
/// The methods that take tables and sets give a [`Cause`]; the caller adds deed and object (`Error::new`).
#[derive(Debug)]
pub struct Nftables {
    pub(crate) transport: Transport,
    /// A dump was begun whose end was not read.
    pub(super) unread: bool,
}

impl Nftables {
    /// A socket in the calling thread's namespace.
    pub fn open() -> Result<Nftables> {
        Ok(Nftables { transport: Transport::open(SockProtocol::NetlinkNetFilter, None)?, unread: false })
    }

    /// A socket in `netns`.
    pub fn open_in(netns: &Netns) -> Result<Nftables> {
        Ok(Nftables { transport: Transport::open(SockProtocol::NetlinkNetFilter, Some(netns))?, unread: false })
    }

    /// Whether the kernel speaks nf_tables: the number of the ruleset's generation is asked for.
    pub fn probe(&mut self) -> Result<()> {
        self.generation().map(drop).map_err(|cause| Error::new("talk to", "nf_tables", cause))
    }

    /// All of the transaction, or nothing: then the first error that the kernel gave.
    pub fn commit(&mut self, transaction: &Transaction) -> std::result::Result<(), Cause> {
        let mut batch = Vec::new();
        let first = self.transport.next_sequence();
        let generation = transaction.generation.map(u32::to_be_bytes);
        let begin = generation.map(|id| super::attributes::Attributes::default().bytes(1, &id)).unwrap_or_default();
        message(&mut batch, BATCH_BEGIN, NLM_F_REQUEST, first, (0, SUBSYSTEM), &begin.0);
        let mut last = first;
        for (index, operation) in transaction.operations.iter().enumerate() {
            last = self.transport.next_sequence();
            // Every error is told; success only of the last, which is enough to know that all were looked at.
            let ack = if index + 1 == transaction.operations.len() { NLM_F_ACK } else { 0 };
            let (kind, flags) = (operation_of(operation.kind), NLM_F_REQUEST | ack | operation.flags);
            message(&mut batch, kind, flags, last, (operation.family as u8, 0), &operation.attributes.0);
        }
        let end = self.transport.next_sequence();
        message(&mut batch, BATCH_END, NLM_F_REQUEST, end, (0, SUBSYSTEM), &[]);
        if last == first {
            return Ok(());
        }
        self.transport.send(&batch)?;

        let mut failed = None;
        loop {
            for frame in frames(self.transport.receive(true)?) {
                let frame = frame?;
                if frame.kind != NLMSG_ERROR || !(first..=end).contains(&frame.sequence) {
                    continue;
                }
                let answer = frame.acknowledgement();
                // Refused as a whole (EPERM, a foreign commit in between): nothing else comes. When the kernel had to load a module
                // it begins again, and if somebody committed meanwhile says so of the operation that it had come to
                // (nfnetlink_rcv_batch, net/netfilter/nfnetlink.c).
                let whole = |cause: &Cause| frame.sequence == first || is_stale(cause);
                let over = frame.sequence == last || answer.as_ref().is_err_and(whole);
                failed = failed.or(answer.err());
                if over {
                    return failed.map_or(Ok(()), Err);
                }
            }
        }
    }

    /// The generation of the whole ruleset of the namespace: it changes with every commit of anybody.
    pub fn generation(&mut self) -> std::result::Result<u32, Cause> {
        let mut generation = None;
        let question = (kind::GET_GENERATION, Family::Inet);
        self.ask(question, NLM_F_ACK, Answers::Acknowledged, &[], |frame| {
            generation = generation_in(&frame);
            Ok(())
        })?;
        generation.ok_or_else(no_generation)
    }

    /// Begins a dump that is handed on by the caller's reading.
    pub(super) fn request(
        &mut self,
        (kind, family): (u16, Family),
        flags: u16,
        attributes: &[u8],
    ) -> std::result::Result<u32, Cause> {
        let sequence = self.transport.next_sequence();
        let mut bytes = Vec::new();
        message(&mut bytes, operation_of(kind), NLM_F_REQUEST | flags, sequence, (family as u8, 0), attributes);
        self.transport.send(&bytes)?;
        Ok(sequence)
    }

    pub(super) fn ask(
        &mut self,
        question: (u16, Family),
        flags: u16,
        answers: Answers,
        attributes: &[u8],
        take: impl FnMut(Frame<'_>) -> std::result::Result<(), Cause>,
    ) -> std::result::Result<Reply, Cause> {
        if answers == Answers::Dumped {
            self.finish_dump()?;
        }
        let sequence = self.request(question, flags, attributes)?;
        self.transport.collect(sequence, answers, take)
    }

    /// The kernel refuses a dump (EBUSY) while another of the same socket is not at its end. Every read makes it go on
    /// (netlink_recvmsg, net/netlink/af_netlink.c), so it is over when nothing is left to read.
    pub(super) fn finish_dump(&mut self) -> std::result::Result<(), Cause> {
        while self.unread {
            match self.transport.receive(false) {
                Ok(_) => {}
                Err(cause) if cause.errno() == Some(Errno::EAGAIN) => self.unread = false,
                Err(cause) => return Err(cause),
            }
        }
        Ok(())
    }
}

/// `NFT_MSG_*` as the type of a netlink message.
pub(super) fn operation_of(kind: u16) -> u16 {
    SUBSYSTEM << 8 | kind
}

/// `nlmsghdr`, `nfgenmsg` (family, version 0, resource id in network order), attributes.
pub(crate) fn message(
    out: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    sequence: u32,
    (family, resource): (u8, u16),
    attributes: &[u8],
) {
    let length = NLMSG_HEADER_LEN + NFGENMSG_LEN + attributes.len();
    out.extend((length as u32).to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    out.extend(sequence.to_ne_bytes());
    out.extend(0u32.to_ne_bytes());
    out.extend([family, 0]);
    out.extend(resource.to_be_bytes());
    out.extend(attributes);
}

/// What follows the `nfgenmsg`.
pub(crate) fn body<'a>(frame: &Frame<'a>) -> &'a [u8] {
    frame.payload.get(NFGENMSG_LEN..).unwrap_or_default()
}

/// The generation in an `NFT_MSG_NEWGEN`.
pub(super) fn generation_in(frame: &Frame<'_>) -> Option<u32> {
    let id = attributes_of(body(frame)).find(|(kind, _)| *kind == 1);
    id.and_then(|(_, id)| super::attributes::number_of(id))
}

pub(super) fn no_generation() -> Cause {
    Cause::Unexpected("the kernel did not say which generation its ruleset has".into())
}

/// Whether a transaction failed because somebody else committed in between.
pub fn is_stale(cause: &Cause) -> bool {
    // nfnetlink_rcv_batch (net/netfilter/nfnetlink.c) answers a batch of an old generation with ERESTART.
    cause.errno() == Some(Errno::ERESTART)
}
