//! Ethernet addresses.

use std::fmt;
use std::str::FromStr;

/// A 48-bit Ethernet address in transmission order; printed and parsed as `0a:58:0a:f4:01:02`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// A random unicast address with the locally-administered bit set (IEEE 802, 8.2), from the kernel's generator.
    pub fn random() -> Mac {
        let mut bytes = [0u8; 6];
        // SAFETY: `bytes` is a writable buffer of exactly the length given; getrandom(2) writes nothing else.
        let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        // Up to 256 bytes are never cut short once the pool is ready (getrandom(2)); before that the call blocks.
        assert_eq!(got, 6, "getrandom(2) failed: {}", nix::errno::Errno::last());
        bytes[0] = (bytes[0] | 0x02) & !0x01;
        Mac(bytes)
    }

    /// From the bytes of a netlink attribute; `None` unless it has six of them.
    pub fn from_slice(bytes: &[u8]) -> Option<Mac> {
        bytes.try_into().ok().map(Mac)
    }

    /// Whether a single station can have it as its own: not multicast and not all zero.
    pub fn is_unicast(&self) -> bool {
        self.0[0] & 1 == 0 && self.0 != [0; 6]
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// The text was not an Ethernet address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an Ethernet address: six pairs of hex digits, as in 0a:58:0a:f4:01:02")]
pub struct ParseMacError(String);

impl FromStr for Mac {
    type Err = ParseMacError;

    /// Pairs separated by `:` or `-`, or three groups of four digits separated by `.`: what Go's `net.ParseMAC` takes for
    /// 48 bits.
    fn from_str(text: &str) -> Result<Mac, ParseMacError> {
        let wrong = || ParseMacError(text.to_owned());
        let (separator, group) = match text.len() {
            14 => (b'.', 4),
            17 => (text.as_bytes()[2], 2),
            _ => return Err(wrong()),
        };
        if group == 2 && separator != b':' && separator != b'-' {
            return Err(wrong());
        }
        let mut digits = Vec::with_capacity(12);
        for (at, byte) in text.bytes().enumerate() {
            if at % (group + 1) == group {
                if byte != separator {
                    return Err(wrong());
                }
            } else {
                digits.push((byte as char).to_digit(16).ok_or_else(wrong)? as u8);
            }
        }
        let mut bytes = [0u8; 6];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        Ok(Mac(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_spellings_of_one_address_are_read() {
        let mac = Mac([0x0a, 0x58, 0x0a, 0xf4, 0x01, 0x02]);
        for text in ["0a:58:0a:f4:01:02", "0A-58-0A-F4-01-02", "0a58.0af4.0102"] {
            assert_eq!(text.parse(), Ok(mac), "{text}");
        }
        assert_eq!(mac.to_string(), "0a:58:0a:f4:01:02");
    }

    #[test]
    fn anything_else_is_refused() {
        for text in
            ["", "0a:58:0a:f4:01", "0a:58:0a:f4:01:0g", "0a:58-0a:f4:01:02", "0a/58/0a/f4/01/02", "é:58:0a:f4:01:02"]
        {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_random_address_is_local_and_unicast() {
        let mac = Mac::random();
        assert_eq!(mac.0[0] & 0x03, 0x02);
        assert!(mac.is_unicast());
    }
}
