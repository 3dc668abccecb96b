//! `connect4`, `connect6`: TCP, and UDP that connects. The address is translated once; no packet costs anything later.
//!
//! The socket remembers what was asked for (`ORIGINS`), for `getpeername` and, connected UDP, for `recvfrom`: storage that
//! lives and dies with the socket, and that no other socket's traffic can evict.
//!
//! `connect()` of an IPv6 socket to `::ffff:a.b.c.d` comes to `connect6`; the maps hold IPv4 in this form anyway.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::bpf_get_socket_cookie;
use aya_ebpf::programs::SockAddrContext;
use fairlead_ebpf_shared::{IPPROTO_TCP, IPPROTO_UDP, Origin, Reason};

use crate::ORIGINS;
use crate::address::{Address, Family, V4, V6, protocol};
use crate::counters::count;
use crate::lookup::{Answer, Asked, Pick, Verdict, choose};
use crate::place::meant;

/// The hook's answers: the kernel lets 1 pass; 0 is EPERM, or what `bpf_set_retval` said.
pub const PASS: i32 = 1;
const DENY: i32 = 0;
const ECONNREFUSED: i32 = 111;
const ETIMEDOUT: i32 = 110;

pub fn v4(ctx: &SockAddrContext) -> i32 {
    connect::<V4>(ctx)
}

pub fn v6(ctx: &SockAddrContext) -> i32 {
    connect::<V6>(ctx)
}

#[inline(always)]
fn connect<F: Family>(ctx: &SockAddrContext) -> i32 {
    let protocol = protocol(ctx);
    let pick = match protocol {
        IPPROTO_TCP => Pick::Random,
        IPPROTO_UDP => Pick::Socket(cookie(ctx)),
        _ => return PASS,
    };
    let Address { ip, port } = F::read(ctx);
    let vip = Address { ip: meant(ip), port };
    let Answer { verdict, backend } = choose(ctx, &Asked { vip, protocol, bound: F::bound(ctx), pick });
    match verdict {
        Verdict::Pass => {
            forget(ctx);
            PASS
        }
        Verdict::Refuse => refuse(),
        Verdict::Drop => time_out(),
        Verdict::To => {
            if !F::write(ctx, &backend) {
                count(Reason::NoBackend);
                return refuse();
            }
            remember(ctx, &origin(&vip, &backend));
            PASS
        }
    }
}

/// What the socket asked for, and what it got.
#[inline(always)]
pub fn origin(vip: &Address, backend: &Address) -> Origin {
    Origin { vip: *vip.ip.as_bytes(), backend: *backend.ip.as_bytes(), vip_port: vip.port, backend_port: backend.port }
}

/// `bpf_get_socket_cookie`: a number no other socket of this boot has.
#[inline(always)]
pub fn cookie(ctx: &SockAddrContext) -> u64 {
    // SAFETY: the helper takes the program's context.
    unsafe { bpf_get_socket_cookie(ctx.as_ptr()) }
}

/// The application sees ECONNREFUSED, as from a host whose port is closed.
#[inline(always)]
pub fn refuse() -> i32 {
    deny(ECONNREFUSED)
}

/// A dropped connection attempt ends in ETIMEDOUT, minutes later: here it does at once. A hook cannot lose a datagram either;
/// its sender is told what it would have found out by waiting, and what nobody takes for an answer of the service.
#[inline(always)]
pub fn time_out() -> i32 {
    deny(ETIMEDOUT)
}

#[inline(always)]
fn deny(errno: i32) -> i32 {
    // SAFETY: the helper takes a number.
    unsafe { aya_ebpf::helpers::generated::bpf_set_retval(-errno) };
    DENY
}

/// Without memory for it the connection works, and `getpeername` shows the backend.
#[inline(always)]
fn remember(ctx: &SockAddrContext, origin: &Origin) {
    let mut value = *origin;
    // SAFETY: ctx holds a socket in every sock_addr hook; a non-null result points to this socket's value.
    unsafe {
        let stored = ORIGINS.get_or_insert_ptr_mut(ctx, Some(&mut value));
        if stored.is_null() {
            count(Reason::ReplyLost);
        } else {
            *stored = *origin;
        }
    }
}

/// A socket may be used again for an address that is no service.
#[inline(always)]
fn forget(ctx: &SockAddrContext) {
    // SAFETY: ctx holds a socket in every sock_addr hook. Nothing to delete is an error nobody has to know.
    unsafe {
        let _ = ORIGINS.delete((*ctx.sock_addr).__bindgen_anon_1.sk);
    }
}
