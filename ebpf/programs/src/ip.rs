//! An address as two 64-bit words.
//!
//! The maps hold sixteen bytes without an alignment; BPF has no unaligned access, and the compiler would copy and compare
//! them byte by byte.

/// IPv6, or IPv4 mapped into it (RFC 4291, 2.5.5.2). The bytes in memory are in network order.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Ip([u64; 2]);

/// `::ffff:0.0.0.0`, its second half.
const MAPPED: u64 = u64::from_ne_bytes([0, 0, 0xff, 0xff, 0, 0, 0, 0]);
/// The bits of that half which are the same in all mapped addresses.
const MAPPED_MASK: u64 = u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);

impl Ip {
    /// `::`.
    pub const NONE: Self = Self([0, 0]);
    /// `::1`.
    pub const LOOPBACK: Self = Self([0, u64::from_ne_bytes([0, 0, 0, 0, 0, 0, 0, 1])]);
    /// `127.0.0.1`, mapped.
    pub const LOOPBACK_V4: Self = Self::v4(u32::from_ne_bytes([127, 0, 0, 1]));

    /// From the word of a socket address, in network order.
    #[inline(always)]
    pub const fn v4(word: u32) -> Self {
        Self([0, MAPPED | (word as u64) << 32])
    }

    /// From the words of a socket address, in network order.
    #[inline(always)]
    pub const fn v6(words: [u32; 4]) -> Self {
        let [a, b, c, d] = words;
        Self([a as u64 | (b as u64) << 32, c as u64 | (d as u64) << 32])
    }

    /// Reads an address that a map holds, or a copy of it.
    ///
    /// # Safety
    ///
    /// `place` is valid for reads, and aligned to eight bytes.
    #[inline(always)]
    pub unsafe fn read(place: *const [u8; 16]) -> Self {
        // SAFETY: vouched for by the caller.
        Self(unsafe { core::ptr::read(place.cast()) })
    }

    /// The word of a mapped address, in network order.
    #[inline(always)]
    pub const fn to_v4(self) -> Option<u32> {
        if self.is_v4() { Some((self.0[1] >> 32) as u32) } else { None }
    }

    /// The four words, in network order.
    #[inline(always)]
    pub const fn to_v6(self) -> [u32; 4] {
        let [high, low] = self.0;
        [high as u32, (high >> 32) as u32, low as u32, (low >> 32) as u32]
    }

    /// Whether it is a mapped one.
    #[inline(always)]
    pub const fn is_v4(self) -> bool {
        self.0[0] == 0 && self.0[1] & MAPPED_MASK == MAPPED
    }

    /// `::`, or `0.0.0.0`, mapped.
    #[inline(always)]
    pub const fn is_unspecified(self) -> bool {
        self.0[0] == 0 && (self.0[1] == 0 || self.0[1] == MAPPED)
    }

    /// `::1`, or 127.0.0.0/8, mapped.
    #[inline(always)]
    pub fn is_loopback(self) -> bool {
        match self.to_v4() {
            Some(word) => word.to_ne_bytes()[0] == 127,
            None => self == Self::LOOPBACK,
        }
    }

    /// The unspecified address of the same family.
    #[inline(always)]
    pub const fn unspecified(self) -> Self {
        Self([0, if self.is_v4() { MAPPED } else { 0 }])
    }

    /// The two halves as numbers: their order is that of the addresses.
    #[inline(always)]
    pub const fn halves(self) -> (u64, u64) {
        (u64::from_be(self.0[0]), u64::from_be(self.0[1]))
    }

    /// As the maps hold it.
    #[inline(always)]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        // SAFETY: two words are sixteen bytes, and bytes may be anywhere.
        unsafe { &*core::ptr::from_ref(self).cast() }
    }
}
