//! `getpeername4`, `getpeername6`: the application is told the VIP it connected to, as long as its peer is the backend that
//! was chosen then.

use aya_ebpf::programs::SockAddrContext;
use fairlead_ebpf_shared::Origin;

use crate::ORIGINS;
use crate::address::{Address, Family, V4, V6};
use crate::connect::PASS;
use crate::ip::Ip;

pub fn v4(ctx: &SockAddrContext) -> i32 {
    getpeername::<V4>(ctx)
}

pub fn v6(ctx: &SockAddrContext) -> i32 {
    getpeername::<V6>(ctx)
}

#[inline(always)]
fn getpeername<F: Family>(ctx: &SockAddrContext) -> i32 {
    if let Some(vip) = asked_for(ctx, &F::read(ctx)) {
        F::write(ctx, &vip);
    }
    PASS
}

/// What the socket asked for, if `peer` is what it got.
#[inline(always)]
pub fn asked_for(ctx: &SockAddrContext, peer: &Address) -> Option<Address> {
    // SAFETY: ctx holds a socket in every sock_addr hook; a non-null result points to this socket's value, which is aligned
    // to eight bytes (include/linux/bpf_local_storage.h).
    unsafe { vip_if_from(ORIGINS.get_ptr_mut(ctx).as_ref()?, peer) }
}

/// The VIP, if `peer` is the backend that was chosen for it.
///
/// # Safety
///
/// `origin` is aligned to eight bytes.
#[inline(always)]
pub unsafe fn vip_if_from(origin: &Origin, peer: &Address) -> Option<Address> {
    // SAFETY: vouched for by the caller; both addresses are whole words away from the beginning.
    let (vip, backend) = unsafe { (Ip::read(&raw const origin.vip), Ip::read(&raw const origin.backend)) };
    (backend == peer.ip && origin.backend_port == peer.port).then_some(Address { ip: vip, port: origin.vip_port })
}
