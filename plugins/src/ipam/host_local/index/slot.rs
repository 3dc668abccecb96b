//! Sixty-four bytes: what an index remembers of one lease, or of 256 neighbouring addresses. Integers are little-endian.
//!
//! ```text
//!  0 kind: 0 nothing, 1 lease, 2 block     lease:  1 flags   8 boot  12 nanoseconds  16 key  32 address  48 inode  56 seconds
//!  4 check: FNV-1a of the other bytes      block:  1 level                           16 first address  32 bits
//! ```

use std::net::{IpAddr, Ipv6Addr};

use super::super::lease::{Key, Stamp};

/// Bytes of a slot.
pub const SIZE: usize = 64;

/// The bytes of a slot.
pub type Slot = [u8; SIZE];

/// An address as 16 bytes; IPv4 is mapped into IPv6.
pub type Address = [u8; 16];

const LEASE: u8 = 1;
const BLOCK: u8 = 2;

/// What is remembered of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Of the file's text.
    pub key: Key,
    pub ip: IpAddr,
    pub stamp: Stamp,
    /// Under which boot it was seen first; see [`super::super::boot::Boot::tag`].
    pub boot: u32,
    /// The file names no interface.
    pub is_old_format: bool,
}

/// 256 neighbours. On level 1 they are addresses, and a bit says that one is taken; above they are blocks of the level
/// below, and a bit says that all of one is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// 1 to 16: how many of the last bytes of an address it covers.
    pub level: u8,
    /// Its first address: those bytes are 0.
    pub first: Address,
    pub bits: [u8; 32],
}

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    Nothing,
    Entry(Entry),
    Block(Block),
}

impl Entry {
    pub fn to_slot(self) -> Slot {
        let mut slot = [0; SIZE];
        slot[0] = LEASE;
        slot[1] = u8::from(self.is_old_format);
        slot[8..12].copy_from_slice(&self.boot.to_le_bytes());
        slot[12..16].copy_from_slice(&self.stamp.nanoseconds.to_le_bytes());
        slot[16..32].copy_from_slice(&self.key);
        slot[32..48].copy_from_slice(&bytes_of(self.ip));
        slot[48..56].copy_from_slice(&self.stamp.inode.to_le_bytes());
        slot[56..].copy_from_slice(&self.stamp.seconds.to_le_bytes());
        sealed(slot)
    }
}

impl Block {
    pub fn to_slot(self) -> Slot {
        let mut slot = [0; SIZE];
        slot[0] = BLOCK;
        slot[1] = self.level;
        slot[16..32].copy_from_slice(&self.first);
        slot[32..].copy_from_slice(&self.bits);
        sealed(slot)
    }

    /// True for one that says nothing.
    pub fn is_empty(&self) -> bool {
        self.bits == [0; 32]
    }

    /// True when every bit is set.
    pub fn is_full(&self) -> bool {
        self.bits == [0xff; 32]
    }

    pub fn has(&self, number: u8) -> bool {
        self.bits[usize::from(number / 8)] & (1 << (number % 8)) != 0
    }

    pub fn set(&mut self, number: u8, value: bool) {
        let (byte, bit) = (usize::from(number / 8), 1 << (number % 8));
        if value { self.bits[byte] |= bit } else { self.bits[byte] &= !bit }
    }

    /// The first neighbour from `number` on whose bit is not set.
    pub fn free_from(&self, number: u8) -> Option<u8> {
        (number..=u8::MAX).find(|number| !self.has(*number))
    }
}

/// True for what looks like an entry with this key: cheap, for a whole page of slots.
pub fn is_entry(slot: &Slot, key: &Key) -> bool {
    slot[0] == LEASE && slot[16..32] == *key
}

/// True for what looks like this block.
pub fn is_block(slot: &Slot, level: u8, first: &Address) -> bool {
    slot[0] == BLOCK && slot[1] == level && slot[16..32] == *first
}

/// What a slot holds. `None`: bytes that nobody of ours wrote.
pub fn read(slot: &Slot) -> Option<Held> {
    let four = |at: usize| u32::from_le_bytes([slot[at], slot[at + 1], slot[at + 2], slot[at + 3]]);
    let eight = |at: usize| u64::from(four(at)) | u64::from(four(at + 4)) << 32;
    let sixteen = |at: usize| {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&slot[at..at + 16]);
        bytes
    };
    if slot[0] == 0 {
        return (*slot == [0; SIZE]).then_some(Held::Nothing);
    }
    if four(4) != check(slot) {
        return None;
    }
    match slot[0] {
        LEASE => Some(Held::Entry(Entry {
            key: sixteen(16),
            ip: ip_of(sixteen(32)),
            stamp: Stamp { inode: eight(48), seconds: eight(56).cast_signed(), nanoseconds: four(12) },
            boot: four(8),
            is_old_format: slot[1] == 1,
        })),
        BLOCK if (1..=16).contains(&slot[1]) => {
            let mut bits = [0; 32];
            bits.copy_from_slice(&slot[32..]);
            Some(Held::Block(Block { level: slot[1], first: sixteen(16), bits }))
        }
        _ => None,
    }
}

/// An address as 16 bytes.
pub fn bytes_of(ip: IpAddr) -> Address {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The address that these 16 bytes are.
pub fn ip_of(bytes: Address) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
}

/// 32 bits that change with each of the bytes (FNV-1a). Against chance, not against people: who may write here is root.
pub fn fnv(parts: &[&[u8]]) -> u32 {
    parts
        .iter()
        .flat_map(|part| part.iter())
        .fold(0x811c_9dc5, |sum: u32, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

fn check(slot: &Slot) -> u32 {
    fnv(&[&slot[..4], &slot[8..]])
}

fn sealed(mut slot: Slot) -> Slot {
    let sum = check(&slot);
    slot[4..8].copy_from_slice(&sum.to_le_bytes());
    slot
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else_is() {
        let entry = Entry {
            key: [7; 16],
            ip: "10.1.2.3".parse().unwrap(),
            stamp: Stamp { inode: 12, seconds: -3, nanoseconds: 999_999_999 },
            boot: 5,
            is_old_format: true,
        };
        let block = Block { level: 2, first: bytes_of("fd00::".parse().unwrap()), bits: [0xf0; 32] };
        assert_eq!(read(&entry.to_slot()), Some(Held::Entry(entry)));
        assert_eq!(read(&block.to_slot()), Some(Held::Block(block)));
        assert_eq!(read(&[0; SIZE]), Some(Held::Nothing));
        for at in 0..SIZE {
            for good in [entry.to_slot(), block.to_slot(), [0; SIZE]] {
                let mut bad = good;
                bad[at] ^= 0x10;
                assert_eq!(read(&bad), None, "byte {at}");
            }
        }
    }

    #[test]
    fn the_first_free_neighbour_is_found() {
        let mut block = Block { level: 1, first: [0; 16], bits: [0xff; 32] };
        assert_eq!((block.is_full(), block.free_from(0)), (true, None));
        block.set(200, false);
        assert_eq!((block.free_from(0), block.free_from(200), block.free_from(201)), (Some(200), Some(200), None));
    }
}
