//! From what the application asked for to a backend, in three reads: frontend, set word, backend.
//!
//! A value of a hash map is not a snapshot: the element may be freed and reused for another key while it is read, whatever
//! the map's flags (measured: a foreign backend once in some 100,000 connects while 1,000 other services were rewritten).
//! So nothing is believed that does not carry the tag of the key that was asked for, a miss is believed the second time
//! only, and everything that changes is one aligned 64-bit word, read by one load.

use aya_ebpf::helpers::bpf_get_prandom_u32;
use core::ptr;
use fairlead_ebpf_shared::{Backend, Frontend, FrontendKey, Reason, SetWord, frontend_tag};

use crate::counters::{count, count_slot};
use crate::{BACKENDS, FRONTENDS, SETS};

/// Looks before giving up. Each look meets a recycled element only if the daemon freed one within the same few hundred
/// nanoseconds; 1 retry in 353,000 connects was ever needed on real hardware.
const LOOKS: u32 = 8;

/// How one backend of a set is picked.
#[derive(Clone, Copy)]
pub enum Pick {
    /// Anew each time: a connection.
    Random,
    /// The same as long as the set is the same: the datagrams of the socket with this cookie.
    Socket(u64),
}

/// What to do with the connection or the datagram.
pub enum Verdict {
    /// Not a service: leave it as it is.
    Pass,
    /// A service without a backend for it: ECONNREFUSED.
    Refuse,
    /// Send it to this backend.
    To(Backend),
}

/// Finds the backend for `key`, and counts.
#[inline(always)]
pub fn choose(key: &FrontendKey, pick: Pick) -> Verdict {
    let mut missed = false;
    for _ in 0..LOOKS {
        let Some(frontend) = frontend(key) else {
            if missed {
                return Verdict::Pass;
            }
            missed = true;
            continue;
        };
        let tag = frontend_tag(key, frontend.slot);
        if frontend.tag != tag {
            count(Reason::Recycled);
            continue;
        }
        let word = set_word(frontend.slot);
        if word.tag() != tag {
            count(Reason::Recycled);
            continue;
        }
        if word.count() == 0 {
            count(Reason::NoBackend);
            return Verdict::Refuse;
        }
        match BACKENDS.get(word.base().wrapping_add(offset(pick, frontend.slot, word.count()))) {
            Some(backend) if backend.tag == tag => {
                count(Reason::Translated);
                count_slot(frontend.slot);
                return Verdict::To(*backend);
            }
            _ => count(Reason::Recycled),
        }
    }
    count(Reason::GaveUp);
    Verdict::Refuse
}

/// One 64-bit load of the eight-byte value (a hash element's value is eight-byte aligned when the key's size, rounded up,
/// is: kernel/bpf/hashtab.c, `htab_elem`), taken apart afterwards: `slot` is the low half on a little-endian machine.
#[inline(always)]
fn frontend(key: &FrontendKey) -> Option<Frontend> {
    let value = FRONTENDS.get_ptr(key)?;
    // SAFETY: the map returned a pointer to the eight bytes of a value; RCU keeps the memory mapped while the program runs.
    let word = unsafe { ptr::read_volatile(value.cast::<u64>()) };
    Some(Frontend { slot: word as u32, tag: (word >> 32) as u32 })
}

/// One 64-bit load. A slot beyond the map reads as a free one.
#[inline(always)]
fn set_word(slot: u32) -> SetWord {
    match SETS.get_ptr(slot) {
        // SAFETY: the map returned a pointer to an aligned 64-bit element of an array, which lives as long as the map.
        Some(word) => unsafe { ptr::read_volatile(word) },
        None => SetWord(0),
    }
}

#[inline(always)]
fn offset(pick: Pick, slot: u32, count: u32) -> u32 {
    let number = match pick {
        // SAFETY: a helper without arguments.
        Pick::Random => unsafe { bpf_get_prandom_u32() },
        Pick::Socket(cookie) => mix(cookie ^ (slot as u64) << 40),
    };
    number % count
}

/// The finalizer of splitmix64 (Steele, Lea, Flood 2014): cookies are consecutive numbers, backends must not be.
#[inline(always)]
fn mix(value: u64) -> u32 {
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (value ^ value >> 31) as u32
}
