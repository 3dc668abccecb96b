//! `sendmsg4`, `sendmsg6`: a datagram with an address, `sendto(VIP)`.
//!
//! The backend is chosen per datagram, by the socket's cookie: one socket keeps one backend while the set is the same, and
//! leaves a backend that died with the next datagram, without any state that could be evicted or go stale. With session
//! affinity all sockets of a client keep one.
//! An IPv6 socket that sends to `::ffff:a.b.c.d` comes to `sendmsg4`, while its answer comes to `recvmsg6`.

use aya_ebpf::programs::SockAddrContext;
use fairlead_ebpf_shared::{IPPROTO_UDP, Origin, Reason, ReplyKey};

use crate::REPLIES;
use crate::address::{Address, Family, V4, V6, protocol};
use crate::connect::{PASS, cookie, origin, refuse, time_out};
use crate::counters::count;
use crate::ip::Ip;
use crate::lookup::{Answer, Asked, Pick, Verdict, choose};
use crate::place::meant;

/// `BPF_ANY`: create or replace.
const ANY: u64 = 0;

pub fn v4(ctx: &SockAddrContext) -> i32 {
    sendmsg::<V4>(ctx, |_| true)
}

/// The kernel cannot send to a mapped address from here (ENOTSUPP, net/ipv6/udp.c): a set that holds one has no backend for
/// this hook.
pub fn v6(ctx: &SockAddrContext) -> i32 {
    sendmsg::<V6>(ctx, |ip| !ip.is_v4())
}

#[inline(always)]
fn sendmsg<F: Family>(ctx: &SockAddrContext, can_send: impl Fn(Ip) -> bool) -> i32 {
    if protocol(ctx) != IPPROTO_UDP {
        return PASS;
    }
    let cookie = cookie(ctx);
    let Address { ip, port } = F::read(ctx);
    let vip = Address { ip: meant(ip), port };
    let asked = Asked { vip, protocol: IPPROTO_UDP, bound: F::source(ctx), pick: Pick::Socket(cookie) };
    let Answer { verdict, backend } = choose(ctx, &asked);
    match verdict {
        Verdict::Pass => PASS,
        Verdict::Refuse => refuse(),
        Verdict::Drop => time_out(),
        Verdict::To => {
            if !can_send(backend.ip) || !F::write(ctx, &backend) {
                count(Reason::NoBackend);
                return refuse();
            }
            expect_reply(&reply_key(cookie, &backend), &origin(&vip, &backend));
            PASS
        }
    }
}

/// Where a datagram from `backend` to the socket is looked up.
#[inline(always)]
pub fn reply_key(cookie: u64, backend: &Address) -> ReplyKey {
    ReplyKey { cookie, backend: *backend.ip.as_bytes(), port: backend.port, reserved: [0; 6] }
}

/// Written only when it is news; the lookup alone keeps the entry young. Two VIPs with one backend on one socket: the
/// datagrams that come back do not tell which was asked, the last one asked is shown.
#[inline(always)]
fn expect_reply(key: &ReplyKey, origin: &Origin) {
    if let Some(known) = REPLIES.get_ptr(key) {
        // SAFETY: the map returned a pointer to a value. It may be recycled while it is compared: then it differs, or this
        // socket's entry was evicted at this moment, as it could be at the next.
        let known = unsafe { &*known };
        if known.vip == origin.vip && known.vip_port == origin.vip_port && known.backend == origin.backend {
            return;
        }
    }
    if REPLIES.insert(key, origin, ANY).is_err() {
        count(Reason::ReplyLost);
    }
}
