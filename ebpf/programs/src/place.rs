//! What an address is at which no frontend is known for the port that was asked for.

use core::ptr;

use aya_ebpf::programs::SockAddrContext;
use fairlead_ebpf_shared::{AddressClass, ConfigWord, Reason};

use crate::client::netns;
use crate::counters::count;
use crate::ip::Ip;
use crate::lookup::LOOKS;
use crate::{ADDRESSES, CONFIG};

/// What an address is to this node.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Nothing of ours.
    Elsewhere,
    /// NodePorts are served there.
    OwnNode,
    /// NodePorts are served there, but for those that the other node decides about.
    OtherNode,
    /// A cluster IP: no port is served there but those that are known.
    ClusterIp,
    /// Nothing but entries of others was met.
    Recycled,
}

/// Looks it up.
#[inline(always)]
pub fn place(ctx: &SockAddrContext, ip: Ip) -> Place {
    if ip.is_loopback() {
        return if serves_loopback(ctx) { Place::OwnNode } else { Place::Elsewhere };
    }
    // What a helper was shown is read anew each time: it gets a copy.
    let key = ip;
    for _ in 0..LOOKS {
        let Some(word) = ADDRESSES.get_ptr(key.as_bytes()) else { return Place::Elsewhere };
        // SAFETY: the map returned a pointer to an aligned 64-bit value; RCU keeps it mapped while the program runs.
        let word = unsafe { ptr::read_volatile(word) };
        match word.class(ip.as_bytes()) {
            Some(AddressClass::OwnNode) => return Place::OwnNode,
            Some(AddressClass::OtherNode) => return Place::OtherNode,
            Some(AddressClass::ClusterIp) => return Place::ClusterIp,
            None => count(Reason::Recycled),
        }
    }
    Place::Recycled
}

/// What is meant by an address. The kernel takes `0.0.0.0` and `::` for the host itself: so do we, since frontends of that
/// address are the NodePorts, which are at every address of a node.
#[inline(always)]
pub fn meant(ip: Ip) -> Ip {
    match (ip.is_unspecified(), ip.is_v4()) {
        (false, _) => ip,
        (true, true) => Ip::LOOPBACK_V4,
        (true, false) => Ip::LOOPBACK,
    }
}

/// 127.0.0.0/8 and ::1 are the node only to the node's own processes; to a pod they are the pod.
#[inline(always)]
fn serves_loopback(ctx: &SockAddrContext) -> bool {
    let host = config(ConfigWord::HostNetns);
    host != 0 && config(ConfigWord::LocalhostNodePorts) == 1 && host == netns(ctx)
}

#[inline(always)]
fn config(word: ConfigWord) -> u64 {
    match CONFIG.get_ptr(word as u32) {
        // SAFETY: the map returned a pointer to an aligned 64-bit element of an array, which lives as long as the map.
        Some(word) => unsafe { ptr::read_volatile(word) },
        None => 0,
    }
}
