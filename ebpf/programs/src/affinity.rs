//! Session affinity: a client, which is a network namespace, goes where it went before, as long as it comes again within
//! the time-out and the backend is in the set in use.
//!
//! An entry of `AFFINITY` may be another's: the element is recycled while it is read, or the group has gone to another
//! service. Whatever it says, only a backend of the set in use counts; the set is ascending, so that finding it costs at
//! most 20 reads.

use core::cmp::Ordering;
use core::ptr;

use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;
use fairlead_ebpf_shared::{Affinity, AffinityKey, Be16, OptionsWord, Reason, SetWord};

use crate::AFFINITY;
use crate::address::Address;
use crate::counters::count;
use crate::ip::Ip;
use crate::lookup::{Backend, backend};

/// Halvings that make one of any set: sets have fewer than 2^20 backends.
const HALVINGS: u32 = SetWord::COUNT_LIMIT.ilog2();
const NANOSECONDS: u64 = 1_000_000_000;
/// `BPF_ANY`: create or replace.
const ANY: u64 = 0;

/// Where the client went before, if it may go there again; its time begins anew.
#[inline(always)]
pub fn kept(netns: u64, options: OptionsWord, set: SetWord) -> Option<Backend> {
    let entry = AFFINITY.get_ptr_mut(&key(netns, options))?;
    // SAFETY: the map returned a pointer to a value; RCU keeps the memory mapped while the program runs. What is read may
    // be recycled: see the head of the file.
    let known = unsafe { ptr::read_volatile(entry) };
    let now = now();
    if now.wrapping_sub(known.used_ns) >= options.affinity_s() as u64 * NANOSECONDS {
        return None;
    }
    let backend = find(set, &known)?;
    // SAFETY: as above; eight bytes, aligned, stored as one. A recycled entry is another client's, which keeps its backend
    // for longer by this.
    unsafe { ptr::write_volatile(&raw mut (*entry).used_ns, now) };
    Some(backend)
}

/// The client is to come back to `backend`.
#[inline(always)]
pub fn keep(netns: u64, options: OptionsWord, backend: &Address) {
    let value = Affinity { used_ns: now(), backend: *backend.ip.as_bytes(), port: backend.port, reserved: [0; 6] };
    if AFFINITY.insert(&key(netns, options), &value, ANY).is_err() {
        count(Reason::AffinityLost);
    }
}

#[inline(always)]
fn key(netns: u64, options: OptionsWord) -> AffinityKey {
    AffinityKey { netns, group: options.group(), reserved: 0 }
}

/// Time since the machine started, time asleep included.
#[inline(always)]
fn now() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// The backend of the set that is the one remembered.
#[inline(always)]
fn find(set: SetWord, known: &Affinity) -> Option<Backend> {
    // SAFETY: the second word of a copy on the stack that is aligned to its first.
    let wanted = place(unsafe { Ip::read(&raw const known.backend) }, known.port);
    let (mut low, mut high) = (0, set.count());
    for _ in 0..=HALVINGS {
        if low >= high {
            return None;
        }
        let middle = low + (high - low) / 2;
        let found = backend(set.base().wrapping_add(middle))?;
        match place(found.address.ip, found.address.port).cmp(&wanted) {
            Ordering::Less => low = middle + 1,
            Ordering::Greater => high = middle,
            Ordering::Equal => return Some(found),
        }
    }
    None
}

/// The order that sets are in: by address, then by port.
#[inline(always)]
fn place(ip: Ip, port: Be16) -> (u64, u64, u16) {
    let (high, low) = ip.halves();
    (high, low, port.get())
}
