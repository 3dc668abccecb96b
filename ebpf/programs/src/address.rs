//! The address of a `bpf_sock_addr` (include/uapi/linux/bpf.h), read and written as the maps hold it: 16 bytes, IPv4 mapped.
//!
//! A hook of one family may not touch the fields of the other: the verifier refuses "invalid bpf_context access". Every
//! access is a volatile word at a constant offset, since the compiler would otherwise form pointers into the context, which
//! the verifier refuses too.

use aya_ebpf::programs::SockAddrContext;
use core::ptr;
use fairlead_ebpf_shared::{Be16, mapped, unmapped};

/// An address and a port.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// IPv6, or IPv4 mapped into it.
    pub ip: [u8; 16],
    /// The port.
    pub port: Be16,
}

/// What differs between the hooks of the two families.
pub trait Family {
    /// The address the hook was called for.
    fn read(ctx: &SockAddrContext) -> Address;
    /// Replaces it. `false`, and nothing written: the hook's family cannot hold the address.
    fn write(ctx: &SockAddrContext, address: &Address) -> bool;
}

/// The hooks `*4`.
pub struct V4;
/// The hooks `*6`; they also see `::ffff:a.b.c.d`.
pub struct V6;

impl Family for V4 {
    #[inline(always)]
    fn read(ctx: &SockAddrContext) -> Address {
        // SAFETY: the kernel passes a valid context, and user_ip4 is readable in every IPv4 sock_addr hook.
        let ip = unsafe { ptr::read_volatile(&raw const (*ctx.sock_addr).user_ip4) };
        Address { ip: mapped(ip.to_ne_bytes()), port: port(ctx) }
    }

    #[inline(always)]
    fn write(ctx: &SockAddrContext, address: &Address) -> bool {
        let Some(ip) = unmapped(address.ip) else { return false };
        // SAFETY: as above; user_ip4 is writable in every IPv4 sock_addr hook.
        unsafe { ptr::write_volatile(&raw mut (*ctx.sock_addr).user_ip4, u32::from_ne_bytes(ip)) };
        set_port(ctx, address.port);
        true
    }
}

impl Family for V6 {
    #[inline(always)]
    fn read(ctx: &SockAddrContext) -> Address {
        // SAFETY: the kernel passes a valid context, and user_ip6 is readable, word by word, in every IPv6 sock_addr hook.
        let words = unsafe {
            [
                ptr::read_volatile(&raw const (*ctx.sock_addr).user_ip6[0]),
                ptr::read_volatile(&raw const (*ctx.sock_addr).user_ip6[1]),
                ptr::read_volatile(&raw const (*ctx.sock_addr).user_ip6[2]),
                ptr::read_volatile(&raw const (*ctx.sock_addr).user_ip6[3]),
            ]
        };
        let [a, b, c, d] = words.map(u32::to_ne_bytes);
        let ip = [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1], d[2], d[3]];
        Address { ip, port: port(ctx) }
    }

    #[inline(always)]
    fn write(ctx: &SockAddrContext, address: &Address) -> bool {
        let [a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3] = address.ip;
        // SAFETY: as above; user_ip6 is writable, word by word, in every IPv6 sock_addr hook.
        unsafe {
            ptr::write_volatile(&raw mut (*ctx.sock_addr).user_ip6[0], u32::from_ne_bytes([a0, a1, a2, a3]));
            ptr::write_volatile(&raw mut (*ctx.sock_addr).user_ip6[1], u32::from_ne_bytes([b0, b1, b2, b3]));
            ptr::write_volatile(&raw mut (*ctx.sock_addr).user_ip6[2], u32::from_ne_bytes([c0, c1, c2, c3]));
            ptr::write_volatile(&raw mut (*ctx.sock_addr).user_ip6[3], u32::from_ne_bytes([d0, d1, d2, d3]));
        }
        set_port(ctx, address.port);
        true
    }
}

/// IP protocol number of the socket; one that does not fit a byte (IPPROTO_MPTCP, 262) is 0, which no frontend has.
#[inline(always)]
pub fn protocol(ctx: &SockAddrContext) -> u8 {
    // SAFETY: the kernel passes a valid context, and protocol is readable in every sock_addr hook.
    let protocol = unsafe { ptr::read_volatile(&raw const (*ctx.sock_addr).protocol) };
    if protocol > u8::MAX as u32 { 0 } else { protocol as u8 }
}

/// user_port is a 32-bit field with the port in network order in its low 16 bits.
#[inline(always)]
fn port(ctx: &SockAddrContext) -> Be16 {
    // SAFETY: the kernel passes a valid context, and user_port is readable in every sock_addr hook.
    let port = unsafe { ptr::read_volatile(&raw const (*ctx.sock_addr).user_port) };
    Be16::from_network(port as u16)
}

#[inline(always)]
fn set_port(ctx: &SockAddrContext, port: Be16) {
    // SAFETY: as above; user_port is writable in every sock_addr hook.
    unsafe { ptr::write_volatile(&raw mut (*ctx.sock_addr).user_port, port.to_network() as u32) };
}
