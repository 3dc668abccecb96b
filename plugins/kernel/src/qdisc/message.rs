//! Messages of traffic control: `struct tcmsg` and attributes. netlink-packet-route knows neither `tbf` nor what a
//! container's interface may have besides ours, and fails on what it cannot read; here that is passed over.

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_ECHO, NLM_F_REQUEST};

use crate::error::{Cause, Errno};
use crate::netlink::{Answers, DUMP_ATTEMPTS, NLMSG_HEADER_LEN, Reply, Socket, attributes_of};

/// include/uapi/linux/rtnetlink.h.
pub(super) const RTM_NEWQDISC: u16 = 36;
pub(super) const RTM_DELQDISC: u16 = 37;
pub(super) const RTM_GETQDISC: u16 = 38;
pub(super) const RTM_NEWTFILTER: u16 = 44;
pub(super) const RTM_DELTFILTER: u16 = 45;
pub(super) const RTM_GETTFILTER: u16 = 46;

/// `TC_H_ROOT`, `TC_H_INGRESS` (include/uapi/linux/pkt_sched.h).
pub(super) const ROOT: u32 = 0xffff_ffff;
pub(super) const INGRESS: u32 = 0xffff_fff1;

/// `TCA_KIND`, `TCA_OPTIONS` (include/uapi/linux/rtnetlink.h).
pub(super) const KIND: u16 = 1;
pub(super) const OPTIONS: u16 = 2;

/// `sizeof(struct tcmsg)`.
const TCMSG_LEN: usize = 20;

/// What a message is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tcmsg {
    /// Index of the link.
    pub link: u32,
    /// `major << 16 | minor`; 0: the kernel picks one, or any.
    pub handle: u32,
    pub parent: u32,
    /// Of a filter: `priority << 16 | protocol`, the protocol in network byte order.
    pub info: u32,
}

impl Tcmsg {
    fn bytes(self) -> [u8; TCMSG_LEN] {
        let mut bytes = [0; TCMSG_LEN];
        for (slot, number) in bytes[4..].chunks_exact_mut(4).zip([self.link, self.handle, self.parent, self.info]) {
            slot.copy_from_slice(&number.to_ne_bytes());
        }
        bytes
    }
}

/// An answer: header, kind and the bytes of its options. `None`: too short to be one.
pub(super) fn read(payload: &[u8]) -> Option<(Tcmsg, String, &[u8])> {
    let (head, attributes) = payload.split_at_checked(TCMSG_LEN)?;
    let number = |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let tcmsg = Tcmsg { link: number(4), handle: number(8), parent: number(12), info: number(16) };
    let find = |wanted| attributes_of(attributes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let kind = find(KIND).unwrap_or_default();
    let kind = String::from_utf8_lossy(kind.strip_suffix(b"\0").unwrap_or(kind)).into_owned();
    Some((tcmsg, kind, find(OPTIONS).unwrap_or_default()))
}

/// Sends a change and waits for the acknowledgement.
pub(super) fn execute(
    socket: &mut Socket,
    kind: u16,
    flags: u16,
    tcmsg: Tcmsg,
    attributes: &[u8],
) -> Result<(), Cause> {
    let sequence = send(socket, kind, NLM_F_ACK | flags, tcmsg, attributes)?;
    socket.transport().collect(sequence, Answers::Acknowledged, |_| Ok(())).map(drop)
}

/// Asks for one object. Before Linux 6.3 the answer is a notification, which the asker only gets when it wants an echo
/// (qdisc_notify, net/sched/sch_api.c). `None`: the kernel has nothing to say about it.
pub(super) fn get<T>(
    socket: &mut Socket,
    kind: u16,
    tcmsg: Tcmsg,
    mut take: impl FnMut(&[u8]) -> Option<T>,
) -> Result<Option<T>, Cause> {
    let sequence = send(socket, kind, NLM_F_ACK | NLM_F_ECHO, tcmsg, &[])?;
    let mut found = None;
    let asked = socket.transport().collect(sequence, Answers::Acknowledged, |frame| {
        found = found.take().or(take(frame.payload));
        Ok(())
    });
    match asked {
        Ok(_) => Ok(found),
        // A built-in discipline, or none: EINVAL since it is not dumped.
        Err(cause) if matches!(cause.errno(), Some(Errno::ENOENT | Errno::EINVAL)) => Ok(None),
        Err(cause) => Err(cause),
    }
}

/// Everything that matches, from one consistent state.
pub(super) fn dump<T>(
    socket: &mut Socket,
    kind: u16,
    tcmsg: Tcmsg,
    mut take: impl FnMut(&[u8]) -> Option<T>,
) -> Result<Vec<T>, Cause> {
    for _ in 0..DUMP_ATTEMPTS {
        let mut found = Vec::new();
        let sequence = send(socket, kind, NLM_F_DUMP, tcmsg, &[])?;
        let reply = socket.transport().collect(sequence, Answers::Dumped, |frame| {
            found.extend(take(frame.payload));
            Ok(())
        });
        match reply {
            Ok(Reply::Complete) => return Ok(found),
            Ok(Reply::Interrupted) => {}
            Err(cause) if cause.errno() == Some(Errno::EBUSY) => {}
            Err(cause) => return Err(cause),
        }
    }
    Err(Cause::DumpInterrupted { attempts: DUMP_ATTEMPTS })
}

fn send(socket: &mut Socket, kind: u16, flags: u16, tcmsg: Tcmsg, attributes: &[u8]) -> Result<u32, Cause> {
    let transport = socket.transport();
    let sequence = transport.next_sequence();
    let length = NLMSG_HEADER_LEN + TCMSG_LEN + attributes.len();
    let mut bytes = Vec::with_capacity(length);
    bytes.extend((length as u32).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((NLM_F_REQUEST | flags).to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0u32.to_ne_bytes());
    bytes.extend(tcmsg.bytes());
    bytes.extend(attributes);
    transport.send(&bytes)?;
    Ok(sequence)
}
