//! Who asks: the network namespace of the socket, the address it sends from, and whether a service's source ranges admit it.
//!
//! When a socket connects it has no address yet, unless it was bound to one. The addresses of whole namespaces are told by
//! user space (`CLIENTS`); a client of which nothing is known is not admitted.

use core::ptr;

use aya_ebpf::EbpfContext;
use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::helpers::generated::bpf_get_netns_cookie;
use aya_ebpf::programs::SockAddrContext;
use fairlead_ebpf_shared::RangeKey;

use crate::ip::Ip;
use crate::{CLIENTS, RANGES};

/// What source ranges say of a client.
pub enum Admission {
    /// It is inside.
    Admitted,
    /// It is outside.
    Outside,
    /// Nobody knows its address, or its entry was recycled this moment.
    Unknown,
}

/// `bpf_get_netns_cookie`: a number no other network namespace of this boot has.
#[inline(always)]
pub fn netns(ctx: &SockAddrContext) -> u64 {
    // SAFETY: the helper takes the program's context.
    unsafe { bpf_get_netns_cookie(ctx.as_ptr()) }
}

/// Whether the frontend in `slot`, whose tag is `tag`, admits a socket that is bound to `bound` (unspecified: to nothing) and
/// asks for an address of `vip`'s family.
#[inline(always)]
pub fn admission(ctx: &SockAddrContext, slot: u32, tag: u32, bound: Ip, vip: Ip) -> Admission {
    let source = if bound.is_unspecified() {
        let netns = netns(ctx);
        let Some(known) = CLIENTS.get_ptr(&netns) else { return Admission::Unknown };
        // SAFETY: the map returned a pointer to a value; RCU keeps the memory mapped while the program runs. It may be
        // recycled meanwhile, which its check shows.
        let known = unsafe { *known };
        if !known.is_of(netns) {
            return Admission::Unknown;
        }
        // SAFETY: `known` is on the stack with the alignment of its 64-bit word; both addresses are whole words away.
        unsafe { Ip::read(if vip.is_v4() { &raw const known.v4 } else { &raw const known.v6 }) }
    } else {
        bound
    };
    if source.is_unspecified() {
        return Admission::Unknown;
    }
    let RangeKey { prefix_bits, data } = RangeKey::of_client(slot, *source.as_bytes());
    match RANGES.get(&Key::new(prefix_bits, data)) {
        None => Admission::Outside,
        // SAFETY: the map returned a pointer to an aligned value of four bytes; RCU keeps it mapped while the program runs.
        Some(found) if unsafe { ptr::read_volatile(found) } == tag => Admission::Admitted,
        // A range of whoever had the slot before.
        Some(_) => Admission::Outside,
    }
}
