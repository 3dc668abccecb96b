//! `getpeername4`, `getpeername6`: the application is told the VIP it connected to, as long as its peer is the backend that
//! was chosen then.

use aya_ebpf::programs::SockAddrContext;
use fairlead_ebpf_shared::Origin;

use crate::ORIGINS;
use crate::address::{Address, Family, V4, V6};
use crate::connect::PASS;

pub fn v4(ctx: &SockAddrContext) -> i32 {
    getpeername::<V4>(ctx)
}

pub fn v6(ctx: &SockAddrContext) -> i32 {
    getpeername::<V6>(ctx)
}

#[inline(always)]
fn getpeername<F: Family>(ctx: &SockAddrContext) -> i32 {
    if let Some(origin) = stored_origin(ctx, &F::read(ctx)) {
        F::write(ctx, &Address { ip: origin.vip, port: origin.vip_port });
    }
    PASS
}

/// What the socket asked for, if `peer` is what it got.
#[inline(always)]
pub fn stored_origin(ctx: &SockAddrContext, peer: &Address) -> Option<Origin> {
    // SAFETY: ctx holds a socket in every sock_addr hook; a non-null result points to this socket's value.
    let origin = unsafe { ORIGINS.get_ptr_mut(ctx).as_ref()? };
    (origin.backend == peer.ip && origin.backend_port == peer.port).then_some(*origin)
}
