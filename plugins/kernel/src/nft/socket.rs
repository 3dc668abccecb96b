//! The nf_tables client: batches, and questions about elements.

use std::net::IpAddr;

use nix::sys::socket::SockProtocol;

use super::encode::Attributes;
use super::transaction::{FAMILY, SUBSYSTEM, Transaction, comment_of, elements, kind};
use crate::error::{Cause, Errno, Error, Result};
use crate::netlink::{
    Answers, Frame, NLMSG_DONE, NLMSG_ERROR, NLMSG_HEADER_LEN, Reply, Transport, attributes_of, frames,
};
use crate::netns::Netns;

const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
/// `NFNL_MSG_BATCH_BEGIN`, `NFNL_MSG_BATCH_END`.
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
/// Length of `struct nfgenmsg`: family, version, resource id.
const NFGENMSG_LEN: usize = 4;

/// An nf_tables socket. It acts on the namespace it was opened in, wherever the thread goes afterwards.
#[derive(Debug)]
pub struct Nftables {
    transport: Transport,
    /// A dump was begun whose end was not read.
    unread: bool,
}

/// An element of a map with an address as its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) key: IpAddr,
    /// Empty where there is none.
    pub(super) comment: String,
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
    pub(super) fn commit(&mut self, transaction: &Transaction) -> std::result::Result<(), Cause> {
        let mut batch = Vec::new();
        let first = self.transport.next_sequence();
        let begin = match transaction.generation {
            Some(generation) => Attributes::default().number(1, generation),
            None => Attributes::default(),
        };
        message(&mut batch, BATCH_BEGIN, NLM_F_REQUEST, first, (0, SUBSYSTEM), &begin.0);
        let mut last = first;
        for (index, (operation, flags, attributes)) in transaction.operations.iter().enumerate() {
            last = self.transport.next_sequence();
            // Every error is told; success only of the last, which is enough to know that all were looked at.
            let ack = if index + 1 == transaction.operations.len() { NLM_F_ACK } else { 0 };
            message(&mut batch, SUBSYSTEM << 8 | operation, NLM_F_REQUEST | ack | flags, last, (FAMILY, 0), attributes);
        }
        let end = self.transport.next_sequence();
        message(&mut batch, BATCH_END, NLM_F_REQUEST, end, (0, SUBSYSTEM), &[]);
        self.transport.send(&batch)?;

        let mut failed = None;
        loop {
            for frame in frames(self.transport.receive(true)?) {
                let frame = frame?;
                if frame.kind != NLMSG_ERROR || !(first..=end).contains(&frame.sequence) {
                    continue;
                }
                let answer = frame.acknowledgement();
                // Refused as a whole (EPERM, a foreign commit in between): nothing else comes.
                let over = frame.sequence == last || (frame.sequence == first && answer.is_err());
                failed = failed.or(answer.err());
                if over {
                    return failed.map_or(Ok(()), Err);
                }
            }
        }
    }

    /// The generation of the whole ruleset of the namespace: it changes with every commit of anybody.
    pub(super) fn generation(&mut self) -> std::result::Result<u32, Cause> {
        let mut generation = None;
        self.ask(kind::GET_GENERATION, NLM_F_ACK, Answers::Acknowledged, &[], |frame| {
            let id = attributes_of(body(&frame)).find(|(kind, _)| *kind == 1).and_then(|(_, id)| id.first_chunk::<4>());
            generation = id.map(|id| u32::from_be_bytes(*id));
            Ok(())
        })?;
        generation.ok_or_else(|| Cause::Unexpected("the kernel did not say which generation its ruleset has".into()))
    }

    /// The element with this key; `None` if there is no such element, map or table.
    pub(super) fn element(
        &mut self,
        table: &str,
        map: &str,
        key: IpAddr,
    ) -> std::result::Result<Option<Element>, Cause> {
        let question = elements(table, map, Attributes::default().key(1, key));
        let mut found = Vec::new();
        let asked = self.ask(kind::GET_ELEMENT, NLM_F_ACK, Answers::Acknowledged, &question.0, |frame| {
            found.extend(elements_in(&frame));
            Ok(())
        });
        match asked {
            Ok(_) => Ok(found.pop()),
            Err(cause) if cause.is_not_found() => Ok(None),
            Err(cause) => Err(cause),
        }
    }

    /// Every element; none if there is no such map or table. An interrupted dump is asked for again.
    pub(super) fn elements(&mut self, table: &str, map: &str) -> std::result::Result<Vec<Element>, Cause> {
        let question = Attributes::default().text(1, table).text(2, map);
        for _ in 0..crate::netlink::DUMP_ATTEMPTS {
            let mut found = Vec::new();
            let reply = self.ask(kind::GET_ELEMENT, NLM_F_DUMP, Answers::Dumped, &question.0, |frame| {
                found.extend(elements_in(&frame));
                Ok(())
            });
            match reply {
                Ok(Reply::Complete) => return Ok(found),
                Ok(Reply::Interrupted) => {}
                Err(cause) if cause.is_not_found() => return Ok(Vec::new()),
                Err(cause) => return Err(cause),
            }
        }
        Err(Cause::DumpInterrupted { attempts: crate::netlink::DUMP_ATTEMPTS })
    }

    /// Whether the map holds an element besides `these`. Reads no further than to the first one, so that the cost does not
    /// grow with the map; no such map: no.
    pub(super) fn holds_others(
        &mut self,
        table: &str,
        map: &str,
        these: &[IpAddr],
    ) -> std::result::Result<bool, Cause> {
        self.finish_dump()?;
        let question = Attributes::default().text(1, table).text(2, map);
        let sequence = self.request(kind::GET_ELEMENT, NLM_F_DUMP, &question.0)?;
        loop {
            for frame in frames(self.transport.receive(true)?) {
                let frame = frame?;
                if frame.sequence != sequence {
                    continue;
                }
                match frame.kind {
                    NLMSG_ERROR => {
                        let answer = frame.acknowledgement();
                        return answer.map_or_else(
                            |cause| if cause.is_not_found() { Ok(false) } else { Err(cause) },
                            |()| Ok(false),
                        );
                    }
                    NLMSG_DONE => return Ok(false),
                    _ if elements_in(&frame).iter().any(|element| !these.contains(&element.key)) => {
                        self.unread = true;
                        return Ok(true);
                    }
                    _ => {}
                }
            }
        }
    }

    /// Whether the table is there, or the chain in it.
    pub(super) fn exists(&mut self, table: &str, chain: Option<&str>) -> std::result::Result<bool, Cause> {
        let question = Attributes::default().text(1, table);
        let (operation, question) = match chain {
            None => (kind::GET_TABLE, question),
            Some(chain) => (kind::GET_CHAIN, question.text(3, chain)),
        };
        match self.ask(operation, NLM_F_ACK, Answers::Acknowledged, &question.0, |_| Ok(())) {
            Ok(_) => Ok(true),
            Err(cause) if cause.is_not_found() => Ok(false),
            Err(cause) => Err(cause),
        }
    }

    /// The kernel refuses a dump (EBUSY) while another of the same socket is not at its end. Every read makes it go on
    /// (netlink_recvmsg, net/netlink/af_netlink.c), so it is over when nothing is left to read.
    fn finish_dump(&mut self) -> std::result::Result<(), Cause> {
        while self.unread {
            match self.transport.receive(false) {
                Ok(_) => {}
                Err(cause) if cause.errno() == Some(Errno::EAGAIN) => self.unread = false,
                Err(cause) => return Err(cause),
            }
        }
        Ok(())
    }

    fn request(&mut self, operation: u16, flags: u16, attributes: &[u8]) -> std::result::Result<u32, Cause> {
        let sequence = self.transport.next_sequence();
        let mut bytes = Vec::new();
        message(&mut bytes, SUBSYSTEM << 8 | operation, NLM_F_REQUEST | flags, sequence, (FAMILY, 0), attributes);
        self.transport.send(&bytes)?;
        Ok(sequence)
    }

    fn ask(
        &mut self,
        operation: u16,
        flags: u16,
        answers: Answers,
        attributes: &[u8],
        take: impl FnMut(Frame<'_>) -> std::result::Result<(), Cause>,
    ) -> std::result::Result<Reply, Cause> {
        if answers == Answers::Dumped {
            self.finish_dump()?;
        }
        let sequence = self.request(operation, flags, attributes)?;
        self.transport.collect(sequence, answers, take)
    }
}

/// `nlmsghdr`, `nfgenmsg` (family, version 0, resource id in network order), attributes.
fn message(out: &mut Vec<u8>, kind: u16, flags: u16, sequence: u32, (family, resource): (u8, u16), attributes: &[u8]) {
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

fn body<'a>(frame: &Frame<'a>) -> &'a [u8] {
    frame.payload.get(NFGENMSG_LEN..).unwrap_or_default()
}

/// The elements in an `NFT_MSG_NEWSETELEM`, those without an address as key left out.
fn elements_in(frame: &Frame<'_>) -> Vec<Element> {
    let list = attributes_of(body(frame)).find(|(kind, _)| *kind == 3).map(|(_, list)| list).unwrap_or_default();
    attributes_of(list).filter_map(|(_, element)| parse_element(element)).collect()
}

fn parse_element(element: &[u8]) -> Option<Element> {
    let find = |wanted: u16| attributes_of(element).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let (_, key) = attributes_of(find(1)?).find(|(kind, _)| *kind == 1)?;
    let key = match key.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(key).ok()?),
        16 => IpAddr::from(<[u8; 16]>::try_from(key).ok()?),
        _ => return None,
    };
    Some(Element { key, comment: find(6).and_then(comment_of).unwrap_or_default() })
}

/// Whether a transaction failed because somebody else committed in between.
pub(super) fn is_stale(cause: &Cause) -> bool {
    // nfnetlink_rcv_batch (net/netfilter/nfnetlink.c) answers a batch of an old generation with ERESTART.
    cause.errno() == Some(Errno::ERESTART)
}
