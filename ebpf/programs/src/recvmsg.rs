//! `recvmsg4`, `recvmsg6`: `recvfrom` tells who sent a datagram; one from a backend is told to come from the VIP that the
//! socket asked.

use aya_ebpf::programs::SockAddrContext;
use fairlead_ebpf_shared::{Origin, Reason};

use crate::REPLIES;
use crate::address::{Address, Family, V4, V6};
use crate::connect::{PASS, cookie};
use crate::counters::count;
use crate::getpeername::{asked_for, vip_if_from};
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
    let vip = match asked_for(ctx, &sender) {
        Some(vip) => Some(vip),
        None => expected(cookie(ctx), &sender),
    };
    if let Some(vip) = vip
        && F::write(ctx, &vip)
    {
        count(Reason::ReplyTranslated);
    }
    PASS
}

/// The copy is believed only if it names the sender: an LRU element may be recycled while it is read.
#[inline(always)]
fn expected(cookie: u64, sender: &Address) -> Option<Address> {
    let origin = REPLIES.get_ptr(reply_key(cookie, sender))?;
    // SAFETY: the map returned a pointer to a value, aligned to eight bytes; RCU keeps the memory mapped while the program
    // runs. The copy, too, is given that alignment.
    unsafe {
        let origin = Aligned(*origin);
        vip_if_from(&origin.0, sender)
    }
}

#[repr(align(8))]
struct Aligned(Origin);
