//! The MTU of the tunnel device, from that of the interface beneath it.
//!
//! Counted against the underlay's MTU are the outer IP, UDP and VXLAN headers and the inner Ethernet header, which the
//! underlay carries as payload. Flannel subtracts 50 whatever the outer family is; with IPv6 outside that is 20 too few and
//! every full packet is lost or fragmented.

use std::fmt;
use std::net::IpAddr;

/// Bytes of an IPv4 header without options (RFC 791, 3.1).
pub const IPV4_HEADER: u32 = 20;
/// Bytes of an IPv6 header without extensions (RFC 8200, 3).
pub const IPV6_HEADER: u32 = 40;
/// Bytes of a UDP header (RFC 768).
pub const UDP_HEADER: u32 = 8;
/// Bytes of a VXLAN header (RFC 7348, 5).
pub const VXLAN_HEADER: u32 = 8;
/// Bytes of the inner Ethernet header, without a VLAN tag.
pub const ETHERNET_HEADER: u32 = 14;

/// The least MTU a link must have to carry IPv6 (RFC 8200, 5): the kernel turns IPv6 off on a device below it.
pub const IPV6_MIN_MTU: u32 = 1280;
/// The least MTU of IPv4 (RFC 791, 3.2), and the kernel's `ETH_MIN_MTU`.
pub const IPV4_MIN_MTU: u32 = 68;

/// Bytes that the tunnel takes from the underlay's MTU, by the family of the *outer* address.
pub const fn overhead(outer: &IpAddr) -> u32 {
    let ip = match outer {
        IpAddr::V4(_) => IPV4_HEADER,
        IpAddr::V6(_) => IPV6_HEADER,
    };
    ip + UDP_HEADER + VXLAN_HEADER + ETHERNET_HEADER
}

/// The underlay's MTU leaves too little for the inner packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooSmall {
    underlay: u32,
    overhead: u32,
    needed: u32,
}

impl fmt::Display for TooSmall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TooSmall { underlay, overhead, needed } = self;
        let why = if *needed == IPV6_MIN_MTU { "IPv6" } else { "IPv4" };
        write!(
            f,
            "the underlay's MTU {underlay} leaves {} bytes for inner packets after {overhead} bytes of tunnel headers, {why} \
             needs {needed}: raise the underlay's MTU to at least {}",
            underlay.saturating_sub(*overhead),
            needed + overhead
        )
    }
}

impl std::error::Error for TooSmall {}

/// The MTU for inner packets over an underlay with the MTU `underlay`. `ipv6_inside` says whether the overlay carries IPv6.
pub fn inner(underlay: u32, outer: &IpAddr, ipv6_inside: bool) -> Result<u32, TooSmall> {
    let overhead = overhead(outer);
    let needed = if ipv6_inside { IPV6_MIN_MTU } else { IPV4_MIN_MTU };
    match underlay.checked_sub(overhead) {
        Some(mtu) if mtu >= needed => Ok(mtu),
        _ => Err(TooSmall { underlay, overhead, needed }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

    #[test]
    fn the_outer_family_decides_the_overhead() {
        assert_eq!(inner(1500, &V4, false), Ok(1450));
        assert_eq!(inner(1500, &V6, false), Ok(1430));
        assert_eq!(inner(9000, &V6, true), Ok(8930));
        assert_eq!(inner(1330, &V4, true), Ok(1280));
    }

    #[test]
    fn too_small_an_underlay_says_what_it_would_take() {
        assert_eq!(
            inner(1329, &V4, true).unwrap_err().to_string(),
            "the underlay's MTU 1329 leaves 1279 bytes for inner packets after 50 bytes of tunnel headers, IPv6 needs 1280: \
             raise the underlay's MTU to at least 1330"
        );
        assert!(inner(40, &V6, false).is_err());
    }
}
