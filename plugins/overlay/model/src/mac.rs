//! MAC addresses of the tunnel devices. Without an exchange between nodes every node must know the MAC of every other:
//! it is derived from the node's name and the VNI, or stands in the peers file.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// An Ethernet address, in the order it goes over the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The MAC a node's tunnel device has when the peers file names none: the first six bytes of
    /// SHA-256("fairlead-overlay mac" 0x00, VNI in network order, node name) with the locally administered bit set and
    /// the group bit clear (IEEE 802, 48-bit addresses). The same on every node, after every restart and reboot.
    pub fn derived(node: &str, vni: u32) -> Mac {
        let digest = Sha256::new()
            .chain_update(b"fairlead-overlay mac\0")
            .chain_update(vni.to_be_bytes())
            .chain_update(node.as_bytes())
            .finalize();
        let mut bytes = [0; 6];
        bytes.copy_from_slice(&digest[..6]);
        bytes[0] = (bytes[0] | 0x02) & 0xfe;
        Mac(bytes)
    }

    /// Whether frames can be sent to it as to one station: group bit clear and not all zero.
    pub fn is_unicast(self) -> bool {
        self.0[0] & 1 == 0 && self.0 != [0; 6]
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not six colon-separated pairs of hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAMac;

impl fmt::Display for NotAMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a MAC address of the form 0a:1b:2c:3d:4e:5f")
    }
}

impl std::error::Error for NotAMac {}

impl FromStr for Mac {
    type Err = NotAMac;

    fn from_str(text: &str) -> Result<Mac, NotAMac> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2 && part.bytes().all(|c| c.is_ascii_hexdigit()));
            *byte = part.and_then(|part| u8::from_str_radix(part, 16).ok()).ok_or(NotAMac)?;
        }
        if parts.next().is_some() { Err(NotAMac) } else { Ok(Mac(bytes)) }
    }
}

impl Serialize for Mac {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Mac, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change here changes the MAC of every node of every cluster: nodes of two versions would not hear each other.
    #[test]
    fn the_derived_mac_is_the_same_for_ever() {
        assert_eq!(Mac::derived("node-a", 1).to_string(), "82:b3:93:9e:85:b5");
        assert_eq!(Mac::derived("node-a", 2).to_string(), "6e:00:17:55:e2:6d");
        assert_eq!(Mac::derived("node-b", 1).to_string(), "b2:cf:fe:a9:7b:ae");
    }

    #[test]
    fn a_derived_mac_is_local_and_unicast() {
        for n in 0..1000 {
            let mac = Mac::derived(&format!("node-{n}"), 1);
            assert!(mac.is_unicast() && mac.0[0] & 2 == 2, "{mac}");
        }
    }

    #[test]
    fn text_round_trips_and_near_misses_are_refused() {
        let mac: Mac = "0a:1B:2c:3d:4e:5f".parse().expect("a MAC");
        assert_eq!(mac.to_string(), "0a:1b:2c:3d:4e:5f");
        for bad in
            ["", "0a:1b:2c:3d:4e", "0a:1b:2c:3d:4e:5f:60", "0a-1b-2c-3d-4e-5f", "+a:1b:2c:3d:4e:5f", "a:1b:2c:3d:4e:5f"]
        {
            assert_eq!(bad.parse::<Mac>(), Err(NotAMac), "{bad}");
        }
    }
}
