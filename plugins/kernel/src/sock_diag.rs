//! Connected UDP sockets: finding them by peer, and ending them.
//!
//! A socket that is ended (`SOCK_DESTROY`, a kernel with CONFIG_INET_DIAG_DESTROY) is not closed: who waits for a datagram, or
//! does so next, gets ECONNABORTED once, who sends EDESTADDRREQ; it has no peer any more, and a port that the kernel chose
//! for it is given back. It can connect again. (`udp_abort`, net/ipv4/udp.c.)

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::sys::socket::SockProtocol;

use crate::error::{Cause, Errno, Error, Result};
use crate::netlink::{Answers, Frame, NLMSG_HEADER_LEN, Reply, Transport};
use crate::netns::Netns;
use crate::nft::attributes::Attributes;
use crate::nft::socket::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST};

/// include/uapi/linux/sock_diag.h.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;

/// include/uapi/linux/inet_diag.h.
const REQ_BYTECODE: u16 = 1;
const BC_JMP: u8 = 1;
const BC_D_COND: u8 = 8;

const IPPROTO_UDP: u8 = 17;
/// `TCPF_ESTABLISHED`: what a connected UDP socket is.
const ESTABLISHED: u32 = 1 << 1;

/// `struct inet_diag_sockid`: ports and addresses in network byte order, interface, cookie.
const ID_LEN: usize = 48;
/// Where the id is in `struct inet_diag_msg`.
const MESSAGE_ID: usize = 4;

/// The kernel goes through so many peers for each socket; more are told apart by the caller.
const PEERS: usize = 128;

/// Finds and ends sockets in the namespace it was opened in, wherever the thread goes afterwards.
#[derive(Debug)]
pub struct SockDiag(Transport);

/// A connected UDP socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectedUdp {
    /// What it is bound to; an IPv4 address also if it is an IPv6 socket's.
    pub local: SocketAddr,
    /// What it is connected to, likewise.
    pub peer: SocketAddr,
    /// A number that no other socket has until the next boot: what BPF programs get from `bpf_get_socket_cookie`.
    pub cookie: u64,
    family: u8,
    id: [u8; ID_LEN],
}

impl SockDiag {
    /// In the calling thread's namespace.
    pub fn open() -> Result<SockDiag> {
        Ok(SockDiag(Transport::open(SockProtocol::NetlinkSockDiag, None)?))
    }

    /// In `netns`.
    pub fn open_in(netns: &Netns) -> Result<SockDiag> {
        Ok(SockDiag(Transport::open(SockProtocol::NetlinkSockDiag, Some(netns))?))
    }

    /// The connected UDP sockets, of both families, that have one of `peers`; without any, all. The list may have more than
    /// these.
    ///
    /// Errors: ENOENT, the kernel cannot list UDP sockets (CONFIG_INET_UDP_DIAG, module `udp_diag`).
    pub fn connected_udp(&mut self, peers: &[SocketAddr], mut take: impl FnMut(ConnectedUdp)) -> Result<()> {
        let mut attributes = Attributes::default();
        if !peers.is_empty() && peers.len() <= PEERS {
            attributes = attributes.bytes(REQ_BYTECODE, &bytecode(peers));
        }
        // IPv4 peers are those of IPv6 sockets too.
        for family in [libc::AF_INET as u8, libc::AF_INET6 as u8] {
            let request = request(family, ESTABLISHED, &[0; ID_LEN], &attributes);
            // A list that changed under the kernel's hands has what was there all the time, which is what matters.
            let listed: std::result::Result<Reply, Cause> = self.ask(SOCK_DIAG_BY_FAMILY, &request, |frame| {
                ConnectedUdp::read(frame.payload).into_iter().for_each(&mut take);
                Ok(())
            });
            listed.map_err(|cause| Error::new("list", "connected UDP sockets", cause))?;
        }
        Ok(())
    }

    /// Ends the socket; see the head of the file. `false`: it was gone, or connected anew.
    ///
    /// Errors: EOPNOTSUPP, the kernel has no CONFIG_INET_DIAG_DESTROY.
    pub fn destroy(&mut self, socket: &ConnectedUdp) -> Result<bool> {
        let request = request(socket.family, ESTABLISHED, &socket.id, &Attributes::default());
        match self.ask(SOCK_DESTROY, &request, |_| Ok(())) {
            Ok(_) => Ok(true),
            Err(cause) if cause.is_not_found() => Ok(false),
            Err(cause) => Err(Error::new("end UDP socket", format_args!("{} → {}", socket.local, socket.peer), cause)),
        }
    }

    fn ask(
        &mut self,
        kind: u16,
        request: &[u8],
        take: impl FnMut(Frame<'_>) -> std::result::Result<(), Cause>,
    ) -> std::result::Result<Reply, Cause> {
        let (flags, answers) = match kind {
            SOCK_DESTROY => (NLM_F_ACK, Answers::Acknowledged),
            _ => (NLM_F_DUMP, Answers::Dumped),
        };
        let sequence = self.0.next_sequence();
        let mut bytes = Vec::new();
        bytes.extend(((NLMSG_HEADER_LEN + request.len()) as u32).to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((NLM_F_REQUEST | flags).to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend(0_u32.to_ne_bytes());
        bytes.extend(request);
        self.0.send(&bytes)?;
        self.0.collect(sequence, answers, take)
    }
}

impl ConnectedUdp {
    /// `struct inet_diag_msg`; `None`: it is not whole.
    pub(crate) fn read(message: &[u8]) -> Option<ConnectedUdp> {
        let family = *message.first()?;
        let id: [u8; ID_LEN] = message.get(MESSAGE_ID..MESSAGE_ID + ID_LEN)?.try_into().ok()?;
        let end = |port: usize, address: usize| {
            let port = u16::from_be_bytes([id[port], id[port + 1]]);
            let address = match i32::from(family) {
                libc::AF_INET => IpAddr::V4(Ipv4Addr::from(*id[address..].first_chunk::<4>()?)),
                libc::AF_INET6 => IpAddr::V6(Ipv6Addr::from(*id[address..].first_chunk::<16>()?)).to_canonical(),
                _ => return None,
            };
            Some(SocketAddr::new(address, port))
        };
        let [low, high] = [40, 44].map(|at| id[at..].first_chunk().map_or(0, |half| u32::from_ne_bytes(*half)));
        let cookie = u64::from(high) << 32 | u64::from(low);
        Some(ConnectedUdp { local: end(0, 4)?, peer: end(2, 20)?, cookie, family, id })
    }
}

/// `struct inet_diag_req_v2`, attributes.
fn request(family: u8, states: u32, id: &[u8; ID_LEN], attributes: &Attributes) -> Vec<u8> {
    let mut bytes = vec![family, IPPROTO_UDP, 0, 0];
    bytes.extend(states.to_ne_bytes());
    bytes.extend(id);
    bytes.extend(&attributes.0);
    bytes
}

/// A program for `inet_diag_bc_run` (net/ipv4/inet_diag.c) that is true of a socket with one of the peers: for each a
/// condition and, if it holds, a jump to the end; then a jump beyond it, which means no.
fn bytecode(peers: &[SocketAddr]) -> Vec<u8> {
    /// `struct inet_diag_bc_op`.
    const OP: u16 = 4;
    let mut conditions: Vec<Vec<u8>> = Vec::new();
    for peer in peers {
        let (family, prefix_len, address) = match peer.ip() {
            IpAddr::V4(address) => (libc::AF_INET as u8, 32, address.octets().to_vec()),
            IpAddr::V6(address) => (libc::AF_INET6 as u8, 128, address.octets().to_vec()),
        };
        // `struct inet_diag_hostcond`: the port is an int in the host's byte order.
        let mut condition = vec![family, prefix_len, 0, 0];
        condition.extend(i32::from(peer.port()).to_ne_bytes());
        condition.extend(address);
        conditions.push(condition);
    }
    let length = |condition: &Vec<u8>| OP + condition.len() as u16;
    let mut left: u16 = conditions.iter().map(|condition| length(condition) + OP).sum::<u16>() + OP;
    let mut program = Vec::with_capacity(usize::from(left));
    let mut op = |code: u8, yes: u16, no: u16, operand: &[u8]| {
        program.extend([code, yes as u8]);
        program.extend(no.to_ne_bytes());
        program.extend(operand);
    };
    for condition in &conditions {
        let own = length(condition);
        op(BC_D_COND, own, own + OP, condition);
        left -= own;
        // A jump's way is in `no`; its `yes` is where the kernel's check goes on.
        op(BC_JMP, OP, left, &[]);
        left -= OP;
    }
    op(BC_JMP, OP, 2 * OP, &[]);
    program
}

/// Whether the kernel has no means to end sockets, or to list them.
#[must_use]
pub fn is_unsupported(error: &Error) -> bool {
    matches!(error.errno(), Some(Errno::EOPNOTSUPP | Errno::ENOENT | Errno::EPROTONOSUPPORT))
}
