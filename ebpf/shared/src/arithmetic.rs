//! Arithmetic that both sides do.

use crate::{FrontendKey, SetWord};

/// An IPv4 address in network order, mapped into IPv6 (RFC 4291, 2.5.5.2: `::ffff:a.b.c.d`).
#[inline(always)]
#[must_use]
pub const fn mapped(v4: [u8; 4]) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, v4[0], v4[1], v4[2], v4[3]]
}

/// The IPv4 address inside a mapped one, or `None`.
#[inline(always)]
#[must_use]
pub const fn unmapped(addr: [u8; 16]) -> Option<[u8; 4]> {
    match addr {
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] => Some([a, b, c, d]),
        _ => None,
    }
}

/// The tag that binds a frontend's value, its slot's word and its backends to the key: FNV-1a (64 bit) over the key's 20
/// bytes and the slot's four (little endian), folded to 20 bits. Never 0, which a free slot has.
#[inline(always)]
#[must_use]
pub fn frontend_tag(key: &FrontendKey, slot: u32) -> u32 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut index = 0;
    while index < 16 {
        hash = fnv(hash, key.addr[index]);
        index += 1;
    }
    let port = key.port.get();
    hash = fnv(hash, (port >> 8) as u8);
    hash = fnv(hash, port as u8);
    hash = fnv(hash, key.protocol);
    hash = fnv(hash, key.scope);
    let slot = slot.to_le_bytes();
    index = 0;
    while index < 4 {
        hash = fnv(hash, slot[index]);
        index += 1;
    }
    let folded = (hash ^ hash >> 20 ^ hash >> 40) as u32 & (SetWord::TAG_LIMIT - 1);
    if folded == 0 { 1 } else { folded }
}

#[inline(always)]
const fn fnv(hash: u64, byte: u8) -> u64 {
    (hash ^ byte as u64).wrapping_mul(0x0000_0100_0000_01b3)
}
