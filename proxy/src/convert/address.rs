//! Addresses and networks as the API has always accepted them.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

/// An address of a service or an endpoint. Blanks around it and leading zeros (decimal, as Go's ParseIPSloppy in
/// k8s.io/utils/net has it) are accepted, an IPv4-mapped address is the IPv4 address.
pub fn address(text: &str) -> Result<IpAddr, String> {
    let trimmed = text.trim();
    trimmed
        .parse()
        .ok()
        .or_else(|| leading_zeros(trimmed).map(IpAddr::V4))
        .map(|addr: IpAddr| addr.to_canonical())
        .ok_or_else(|| format!("{text:?} is not an IP address"))
}

/// A network, with the same leniency; bits behind the prefix are dropped.
pub fn network(text: &str) -> Result<IpNet, String> {
    let wrong = || format!("{text:?} is not a network like 10.0.0.0/8 or fd00::/8");
    let (base, length) = text.trim().split_once('/').ok_or_else(wrong)?;
    let written: IpAddr = base.parse().ok().or_else(|| leading_zeros(base).map(IpAddr::V4)).ok_or_else(wrong)?;
    // Only digits: `parse` would take a sign.
    let length = Some(length).filter(|length| length.bytes().all(|byte| byte.is_ascii_digit())).ok_or_else(wrong)?;
    let network = IpNet::new(written, length.parse().map_err(|_| wrong())?).map_err(|_| wrong())?;
    Ok(network.trunc())
}

/// Why neither a service nor an endpoint can have this address. An API server refuses nearly the same
/// (k8s.io/kubernetes, pkg/apis/core/validation, ValidateNonSpecialIP).
pub fn special(addr: IpAddr) -> Option<&'static str> {
    let (loopback, link_local) = match addr {
        IpAddr::V4(addr) => (addr.is_loopback(), addr.is_link_local()),
        IpAddr::V6(addr) => (addr.is_loopback(), addr.is_unicast_link_local()),
    };
    match () {
        () if addr.is_unspecified() => Some("unspecified"),
        () if loopback => Some("loopback"),
        () if link_local => Some("link-local"),
        () if addr.is_multicast() => Some("multicast"),
        () if addr == IpAddr::V4(Ipv4Addr::BROADCAST) => Some("broadcast"),
        () => None,
    }
}

fn leading_zeros(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        let digits = part.trim_start_matches('0');
        if part.is_empty() || digits.len() > 3 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *octet = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    }
    parts.next().is_none().then(|| Ipv4Addr::from(octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_the_api_may_hold_them() {
        for (text, expected) in [
            ("10.0.0.1", Some("10.0.0.1")),
            (" 10.0.0.1\t", Some("10.0.0.1")),
            ("010.000.00.09", Some("10.0.0.9")),
            ("0000010.0.0.1", Some("10.0.0.1")),
            ("::ffff:10.0.0.1", Some("10.0.0.1")),
            ("fd00:0:0::1", Some("fd00::1")),
            ("10.0.0.256", None),
            ("10.0.0", None),
            ("10.0.0.1.2", None),
            ("10.0.0.+1", None),
            ("10..0.1", None),
            ("", None),
            ("fe80::1%eth0", None),
        ] {
            assert_eq!(address(text).ok(), expected.map(|text| text.parse().unwrap()), "{text:?}");
        }
    }

    #[test]
    fn networks_are_read_with_blanks_zeros_and_host_bits() {
        for (text, expected) in [
            (" 10.1.2.3/8 ", Some("10.0.0.0/8")),
            ("010.0.0.0/08", Some("10.0.0.0/8")),
            ("fd00::1/64", Some("fd00::/64")),
            ("0.0.0.0/0", Some("0.0.0.0/0")),
            ("10.0.0.0/33", None),
            ("10.0.0.0/+8", None),
            ("10.0.0.0/", None),
            ("10.0.0.0", None),
        ] {
            assert_eq!(network(text).ok(), expected.map(|text| text.parse().unwrap()), "{text:?}");
        }
    }

    #[test]
    fn addresses_that_mean_something_else_are_special() {
        for text in
            ["0.0.0.0", "127.9.9.9", "169.254.20.10", "224.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "ff02::1"]
        {
            assert!(special(text.parse().unwrap()).is_some(), "{text}");
        }
        for text in ["10.0.0.1", "192.0.2.1", "fd00::1", "2001:db8::1", "128.0.0.1"] {
            assert!(special(text.parse().unwrap()).is_none(), "{text}");
        }
    }
}
