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

/// The tag that binds a frontend's value, its slot's words and its backends to the key: FNV-1a (64 bit) over the key's 20
/// bytes and the slot's four (little endian), folded to 20 bits. Never 0, which a free slot has.
#[inline(always)]
#[must_use]
pub fn frontend_tag(key: &FrontendKey, slot: u32) -> u32 {
    tag_of(key_hash(key), slot)
}

/// The key's part of [`frontend_tag`]: for a program that looks again it is the same.
#[inline(always)]
#[must_use]
pub fn key_hash(key: &FrontendKey) -> u64 {
    let mut hash = fnv_bytes(FNV_BASIS, &key.addr);
    let port = key.port.get();
    hash = fnv(hash, (port >> 8) as u8);
    hash = fnv(hash, port as u8);
    hash = fnv(hash, key.protocol);
    fnv(hash, key.scope)
}

/// The slot's part of [`frontend_tag`].
#[inline(always)]
#[must_use]
pub fn tag_of(key_hash: u64, slot: u32) -> u32 {
    let mut hash = key_hash;
    let slot = slot.to_le_bytes();
    let mut index = 0;
    while index < 4 {
        hash = fnv(hash, slot[index]);
        index += 1;
    }
    let folded = (hash ^ hash >> 20 ^ hash >> 40) as u32 & (SetWord::TAG_LIMIT - 1);
    if folded == 0 { 1 } else { folded }
}

/// What binds an [`AddressWord`](crate::AddressWord) to its address: FNV-1a (64 bit) over the 16 bytes, folded to 56 bits.
#[inline(always)]
#[must_use]
pub fn address_check(addr: &[u8; 16]) -> u64 {
    let hash = fnv_bytes(FNV_BASIS, addr);
    (hash ^ hash >> 56) & 0x00ff_ffff_ffff_ffff
}

/// What binds a [`ClientAddresses`](crate::ClientAddresses) to its namespace: FNV-1a (64 bit) over the cookie (little endian)
/// and the addresses.
#[inline(always)]
#[must_use]
pub fn client_check(netns: u64, v4: &[u8; 16], v6: &[u8; 16]) -> u64 {
    let mut hash = FNV_BASIS;
    for byte in netns.to_le_bytes() {
        hash = fnv(hash, byte);
    }
    fnv_bytes(fnv_bytes(hash, v4), v6)
}

const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;

#[inline(always)]
fn fnv_bytes(mut hash: u64, bytes: &[u8; 16]) -> u64 {
    let mut index = 0;
    while index < 16 {
        hash = fnv(hash, bytes[index]);
        index += 1;
    }
    hash
}

#[inline(always)]
const fn fnv(hash: u64, byte: u8) -> u64 {
    (hash ^ byte as u64).wrapping_mul(0x0000_0100_0000_01b3)
}
