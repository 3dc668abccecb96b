//! Queueing disciplines: what slows a link down, and what sends its incoming packets where they can be slowed down.
//!
//! A link can only shape what leaves it. What comes in is sent through an intermediate functional block (`ifb`), a device
//! that does nothing but leave its packets where they came from, and is shaped as it leaves that:
//!
//! ```text
//! veth: root tbf 1:          to the container
//!       ingress ffff: ── u32 match all, mirred egress redirect ──► ifb: root tbf 1:   from the container
//! ```

mod ifb;
mod message;
mod redirect;
mod tbf;

pub use ifb::{create_ifb, probe};
pub use redirect::{Ingress, delete_ingress, delete_redirect, ensure_ingress, ingress, redirect, redirects};
pub use tbf::{Root, Tbf, delete_root, root, set_root};

/// Whatever is read of an answer, for the fuzzer.
#[cfg(feature = "fuzz")]
pub(crate) fn read(payload: &[u8]) {
    let _ = tbf::read_root(payload);
    let _ = redirect::redirected(payload);
}
