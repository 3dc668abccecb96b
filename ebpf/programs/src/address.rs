//! The address of a `bpf_sock_addr` (include/uapi/linux/bpf.h), read and written as the maps hold it.
//!
//! A hook of one family may not touch the fields of the other: the verifier refuses "invalid bpf_context access". Every
//! access is a volatile word at a constant offset, since the compiler would otherwise form pointers into the context, which
//! the verifier refuses too.

use aya_ebpf::programs::SockAddrContext;
use core::ptr;
use fairlead_ebpf_shared::Be16;

use crate::ip::Ip;

/// An address and a port.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// IPv6, or IPv4 mapped into it.
    pub ip: Ip,
    /// The port.
    pub port: Be16,
}

/// What differs between the hooks of the two families.
pub trait Family {
    /// The address the hook was called for.
    fn read(ctx: &SockAddrContext) -> Address;
    /// The address that the socket is bound to; unspecified: none yet.
    fn bound(ctx: &SockAddrContext) -> Ip;
    /// The same in a `sendmsg` hook, where control data of the datagram (IP_PKTINFO) may name another.
    fn source(ctx: &SockAddrContext) -> Ip;
    /// Replaces the address. `false`, and nothing written: the hook's family cannot hold it.
    fn write(ctx: &SockAddrContext, address: &Address) -> bool;
}

/// The hooks `*4`.
pub struct V4;
/// The hooks `*6`; they also see `::ffff:a.b.c.d`.
pub struct V6;

/// A word of the context.
macro_rules! read {
    ($place:expr) => {
        ptr::read_volatile(&raw const $place)
    };
}

/// The four words of an IPv6 address.
macro_rules! read_four {
    ($place:expr) => {
        [read!($place[0]), read!($place[1]), read!($place[2]), read!($place[3])]
    };
}

impl Family for V4 {
    #[inline(always)]
    fn read(ctx: &SockAddrContext) -> Address {
        // SAFETY: the kernel passes a valid context, and user_ip4 is readable in every IPv4 sock_addr hook.
        let ip = unsafe { read!((*ctx.sock_addr).user_ip4) };
        Address { ip: Ip::v4(ip), port: port(ctx) }
    }

    #[inline(always)]
    fn bound(ctx: &SockAddrContext) -> Ip {
        // SAFETY: the context of every sock_addr hook holds a socket, whose src_ip4 is readable.
        Ip::v4(unsafe { read!((*(*ctx.sock_addr).__bindgen_anon_1.sk).src_ip4) })
    }

    #[inline(always)]
    fn source(ctx: &SockAddrContext) -> Ip {
        // SAFETY: the kernel passes a valid context, and msg_src_ip4 is readable in sendmsg4, the only caller.
        Ip::v4(unsafe { read!((*ctx.sock_addr).msg_src_ip4) })
    }

    #[inline(always)]
    fn write(ctx: &SockAddrContext, address: &Address) -> bool {
        let Some(ip) = address.ip.to_v4() else { return false };
        // SAFETY: as above; user_ip4 is writable in every IPv4 sock_addr hook.
        unsafe { ptr::write_volatile(&raw mut (*ctx.sock_addr).user_ip4, ip) };
        set_port(ctx, address.port);
        true
    }
}

impl Family for V6 {
    #[inline(always)]
    fn read(ctx: &SockAddrContext) -> Address {
        // SAFETY: the kernel passes a valid context, and user_ip6 is readable, word by word, in every IPv6 sock_addr hook.
        let words = unsafe { read_four!((*ctx.sock_addr).user_ip6) };
        Address { ip: Ip::v6(words), port: port(ctx) }
    }

    #[inline(always)]
    fn bound(ctx: &SockAddrContext) -> Ip {
        // SAFETY: the context of every sock_addr hook holds a socket, whose src_ip6 is readable word by word.
        Ip::v6(unsafe { read_four!((*(*ctx.sock_addr).__bindgen_anon_1.sk).src_ip6) })
    }

    #[inline(always)]
    fn source(ctx: &SockAddrContext) -> Ip {
        // SAFETY: the kernel passes a valid context, and msg_src_ip6 is readable, word by word, in sendmsg6, the only caller.
        Ip::v6(unsafe { read_four!((*ctx.sock_addr).msg_src_ip6) })
    }

    #[inline(always)]
    fn write(ctx: &SockAddrContext, address: &Address) -> bool {
        let [a, b, c, d] = address.ip.to_v6();
        // SAFETY: as above; user_ip6 is writable, word by word, in every IPv6 sock_addr hook.
        unsafe {
            ptr::write_volatile(&raw mut (*ctx.sock_addr).user_ip6[0], a);
            ptr::write_volatile(&raw mut (*ctx.sock_addr).user_ip6[1], b);
            ptr::write_volatile(&raw mut (*ctx.sock_addr).user_ip6[2], c);
            ptr::write_volatile(&raw mut (*ctx.sock_addr).user_ip6[3], d);
        }
        set_port(ctx, address.port);
        true
    }
}

/// IP protocol number of the socket; one that does not fit a byte (IPPROTO_MPTCP, 262) is 0, which no frontend has.
#[inline(always)]
pub fn protocol(ctx: &SockAddrContext) -> u8 {
    // SAFETY: the kernel passes a valid context, and protocol is readable in every sock_addr hook.
    let protocol = unsafe { read!((*ctx.sock_addr).protocol) };
    if protocol > u8::MAX as u32 { 0 } else { protocol as u8 }
}

/// user_port is a 32-bit field with the port in network order in its low 16 bits.
#[inline(always)]
fn port(ctx: &SockAddrContext) -> Be16 {
    // SAFETY: the kernel passes a valid context, and user_port is readable in every sock_addr hook.
    let port = unsafe { read!((*ctx.sock_addr).user_port) };
    Be16::from_network(port as u16)
}

#[inline(always)]
fn set_port(ctx: &SockAddrContext, port: Be16) {
    // SAFETY: as above; user_port is writable in every sock_addr hook.
    unsafe { ptr::write_volatile(&raw mut (*ctx.sock_addr).user_port, port.to_network() as u32) };
}
