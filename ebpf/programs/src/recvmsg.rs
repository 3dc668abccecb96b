//! `recvmsg4`, `recvmsg6`: `recvfrom` tells who sent a datagram; one from a backend is told to come from the VIP that the
//! socket asked.

use aya_ebpf::programs::SockAddrContext;
use fairlead_ebpf_shared::{Origin, Reason};

use crate::REPLIES;
use crate::address::{Address, Family, V4, V6};
use crate::connect::{PASS, cookie};
use crate::counters::count;
use crate::getpeername::stored_origin;
use crate::sendmsg::reply_key;

pub fn v4(ctx: &SockAddrContext) -> i32 {
    recvmsg::<V4>(ctx)
}

pub fn v6(ctx: &SockAddrContext) -> i32 {
    recvmsg::<V6>(ctx)
}

#[inline(always)]
fn recvmsg<F: Family>(ctx: &SockAddrContext) -> i32 {
    let sender = F::read(ctx);
    let origin = match stored_origin(ctx, &sender) {
        Some(origin) => Some(origin),
        None => expected(cookie(ctx), &sender),
    };
    if let Some(origin) = origin
        && F::write(ctx, &Address { ip: origin.vip, port: origin.vip_port })
    {
        count(Reason::ReplyTranslated);
    }
    PASS
}

/// The copy is believed only if it names the sender: an LRU element may be recycled while it is read.
#[inline(always)]
fn expected(cookie: u64, sender: &Address) -> Option<Origin> {
    let origin = REPLIES.get_ptr(reply_key(cookie, sender))?;
    // SAFETY: the map returned a pointer to a value; RCU keeps the memory mapped while the program runs.
    let origin = unsafe { *origin };
    (origin.backend == sender.ip && origin.backend_port == sender.port).then_some(origin)
}
