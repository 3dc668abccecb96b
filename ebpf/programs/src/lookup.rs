//! From what the application asked for to a backend: frontend, options, set word, backend.
//!
//! A value of a hash map is not a snapshot: the element may be freed and reused for another key while it is read, whatever
//! the map's flags (measured: a foreign backend once in some 100,000 connects while 1,000 other services were rewritten).
//! So nothing is believed that does not carry the tag of the key that was asked for, a miss is believed the second time
//! only, and everything that changes is one aligned 64-bit word, read by one load. What a frontend leads to is not recycled
//! before the programs that found it have ended: words or backends of another tag mean that somebody else writes the maps.
//!
//! Exact frontends are looked up first: a cluster IP costs one look into a hash. What is no frontend may be an address of
//! ours: a node's, where NodePorts are served, or a cluster IP with other ports.

use aya_ebpf::helpers::bpf_get_prandom_u32;
use aya_ebpf::programs::SockAddrContext;
use core::ptr;
use fairlead_ebpf_shared::{Be16, Frontend, FrontendKey, OptionsWord, Reason, SCOPE_NODE, SetWord, key_hash, tag_of};

use crate::address::Address;
use crate::affinity;
use crate::client::{self, Admission, admission};
use crate::counters::{count, count_slot};
use crate::ip::Ip;
use crate::place::{Place, place};
use crate::{BACKENDS, FRONTENDS, OPTIONS, SETS};

/// Looks before giving up, also of `place`. Each look meets a recycled element only if the daemon freed one within the same few hundred
/// nanoseconds; 1 retry in 353,000 connects was ever needed on real hardware.
pub const LOOKS: u32 = 8;

/// How one backend of a set is picked.
#[derive(Clone, Copy)]
pub enum Pick {
    /// Anew each time: a connection.
    Random,
    /// The same as long as the set is the same: the datagrams of the socket with this cookie.
    Socket(u64),
}

/// What the application asked for.
pub struct Asked {
    /// Where it wants to go.
    pub vip: Address,
    /// IPPROTO_TCP or IPPROTO_UDP.
    pub protocol: u8,
    /// The address its socket is bound to; unspecified: none.
    pub bound: Ip,
    /// How it wants a backend.
    pub pick: Pick,
}

/// What to do with the connection or the datagram.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Not a service: leave it as it is.
    Pass,
    /// A service without a backend for it: ECONNREFUSED.
    Refuse,
    /// A service that has nothing for this client and does not tell it: ETIMEDOUT.
    Drop,
    /// Send it to the backend.
    To,
}

/// A verdict, with the backend for [`Verdict::To`] and the unspecified address for the others. (Not an enum with a backend
/// in it: the compiler leaves the parts of a variant that has none unwritten and copies them all the same, which the verifier
/// refuses.)
pub struct Answer {
    pub verdict: Verdict,
    pub backend: Address,
}

impl Answer {
    #[inline(always)]
    const fn no(verdict: Verdict) -> Self {
        Self { verdict, backend: Address { ip: Ip::NONE, port: Be16::new(0) } }
    }
}

/// A frontend, all parts with one tag.
#[derive(Clone, Copy)]
struct Known {
    slot: u32,
    tag: u32,
    options: OptionsWord,
    set: SetWord,
    /// At another node's address.
    elsewhere: bool,
}

/// Finds the backend, and counts.
///
/// Nothing is repeated but the looks into hashes: their results are all that the verifier has to tell apart.
#[inline(always)]
pub fn choose(ctx: &SockAddrContext, asked: &Asked) -> Answer {
    let Address { ip, port } = asked.vip;
    let key = FrontendKey { addr: *ip.as_bytes(), port, protocol: asked.protocol, scope: SCOPE_NODE };
    let mut elsewhere = false;
    let mut found = find(&key);
    if found == NOTHING {
        match place(ctx, ip) {
            Place::Elsewhere => return Answer::no(Verdict::Pass),
            Place::ClusterIp => {
                count(Reason::UndefinedPort);
                return Answer::no(Verdict::Refuse);
            }
            Place::OwnNode => {}
            Place::OtherNode => elsewhere = true,
            Place::Recycled => return gave_up(),
        }
        found = find(&FrontendKey { addr: *ip.unspecified().as_bytes(), ..key });
    }
    match found {
        NOTHING => return Answer::no(Verdict::Pass),
        RECYCLED => return gave_up(),
        _ => {}
    }
    let Frontend { slot, tag } = parts(found);
    let known = Known { slot, tag, options: options(slot), set: set(slot), elsewhere };
    if known.options.tag() != tag || known.set.tag() != tag {
        return gave_up();
    }
    match admit(ctx, asked, &known) {
        Some(verdict) => Answer::no(verdict),
        None => select(ctx, asked.pick, &known),
    }
}

#[inline(always)]
fn gave_up() -> Answer {
    count(Reason::GaveUp);
    Answer::no(Verdict::Refuse)
}

/// What looks under a key find, if no frontend: words that no frontend is, since tags are not 0 and have 20 bits.
const NOTHING: u64 = 0;
/// Nothing but elements of others.
const RECYCLED: u64 = u64::MAX;

/// A frontend's eight bytes, or one of the words above.
#[inline(always)]
fn find(key: &FrontendKey) -> u64 {
    let hash = key_hash(key);
    let mut missed = false;
    for _ in 0..LOOKS {
        match frontend(key) {
            NOTHING if missed => return NOTHING,
            NOTHING => missed = true,
            found => {
                let Frontend { slot, tag } = parts(found);
                if tag == tag_of(hash, slot) {
                    return found;
                }
                count(Reason::Recycled);
            }
        }
    }
    RECYCLED
}

/// What is decided before a backend is picked; `None`: one is to be picked.
#[inline(always)]
fn admit(ctx: &SockAddrContext, asked: &Asked, known: &Known) -> Option<Verdict> {
    let Known { slot, tag, options, set, elsewhere } = *known;
    if elsewhere && options.has(OptionsWord::FLAG_LOCAL_ONLY) {
        return Some(Verdict::Pass);
    }
    if options.has(OptionsWord::FLAG_RANGES) {
        let denied = match admission(ctx, slot, tag, asked.bound, asked.vip.ip) {
            Admission::Admitted => None,
            Admission::Outside => Some(Reason::DroppedSourceRange),
            Admission::Unknown => Some(Reason::ClientUnknown),
        };
        if let Some(reason) = denied {
            count(reason);
            return Some(Verdict::Drop);
        }
    }
    if set.count() > 0 {
        return None;
    }
    if options.has(OptionsWord::FLAG_DROP) {
        count(Reason::DroppedNoLocal);
        return Some(Verdict::Drop);
    }
    count(Reason::NoBackend);
    Some(Verdict::Refuse)
}

/// One backend of the set; a backend of another tag, which a grace period excludes, is never sent to.
#[inline(always)]
fn select(ctx: &SockAddrContext, pick: Pick, known: &Known) -> Answer {
    let Known { slot, tag, options, set, .. } = *known;
    let sticky = options.affinity_s() > 0;
    let netns = if sticky { client::netns(ctx) } else { 0 };
    let kept = if sticky { affinity::kept(netns, options, set) } else { None };
    let picked = match kept {
        Some(backend) => Some(backend),
        None => backend(set.base().wrapping_add(offset(pick, slot, set.count()))),
    };
    let Some(Backend { address, .. }) = picked.filter(|backend| backend.tag == tag) else { return gave_up() };
    if kept.is_some() {
        count(Reason::AffinityKept);
    } else if sticky {
        affinity::keep(netns, options, &address);
    }
    count(Reason::Translated);
    count_slot(slot);
    Answer { verdict: Verdict::To, backend: address }
}

/// An element of `BACKENDS`.
#[derive(Clone, Copy)]
pub struct Backend {
    /// Where it is.
    pub address: Address,
    /// The tag of the slot it is of.
    pub tag: u32,
}

/// Reads one; beyond the map there is none.
#[inline(always)]
pub fn backend(index: u32) -> Option<Backend> {
    let backend = BACKENDS.get(index)?;
    // SAFETY: the address begins an element of an array, which is aligned to eight bytes (kernel/bpf/arraymap.c rounds the
    // elements' size up to that).
    let ip = unsafe { Ip::read(&raw const backend.addr) };
    Some(Backend { address: Address { ip, port: backend.port }, tag: backend.tag })
}

/// One 64-bit load of the eight-byte value (a hash element's value is eight-byte aligned when the key's size, rounded up,
/// is: kernel/bpf/hashtab.c, `htab_elem`).
#[inline(always)]
fn frontend(key: &FrontendKey) -> u64 {
    match FRONTENDS.get_ptr(key) {
        // SAFETY: the map returned a pointer to the eight bytes of a value; RCU keeps the memory mapped while the program
        // runs.
        Some(value) => unsafe { ptr::read_volatile(value.cast::<u64>()) },
        None => NOTHING,
    }
}

/// `slot` is the low half on a little-endian machine.
#[inline(always)]
fn parts(word: u64) -> Frontend {
    Frontend { slot: word as u32, tag: (word >> 32) as u32 }
}

/// One 64-bit load. A slot beyond the map reads as a free one.
#[inline(always)]
fn options(slot: u32) -> OptionsWord {
    match OPTIONS.get_ptr(slot) {
        // SAFETY: the map returned a pointer to an aligned 64-bit element of an array, which lives as long as the map.
        Some(word) => unsafe { ptr::read_volatile(word) },
        None => OptionsWord(0),
    }
}

/// One 64-bit load. A slot beyond the map reads as a free one.
#[inline(always)]
fn set(slot: u32) -> SetWord {
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
    // A set that is picked from is not empty.
    number.checked_rem(count).unwrap_or(0)
}

/// The finalizer of splitmix64 (Steele, Lea, Flood 2014): cookies are consecutive numbers, backends must not be.
#[inline(always)]
fn mix(value: u64) -> u32 {
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (value ^ value >> 31) as u32
}
