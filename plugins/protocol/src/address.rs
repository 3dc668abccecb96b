//! Addresses as Go reads them: IPv4 mapped into IPv6 is IPv4, `""` is no address, host bits of a network stay.
//!
//! The functions are for `#[serde(deserialize_with = "…")]`.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;
use serde::de::{Deserializer, Error};

/// Reads an address; IPv4 mapped into IPv6 becomes IPv4. Errors in the reference's words.
pub fn parse_ip(text: &str) -> Result<IpAddr, String> {
    text.parse::<IpAddr>().map(|ip| ip.to_canonical()).map_err(|_| format!("invalid IP address: {text}"))
}

/// Reads `address/prefix` and keeps the host bits; IPv4 mapped into IPv6 becomes IPv4. Errors in the reference's words.
pub fn parse_cidr(text: &str) -> Result<IpNet, String> {
    let invalid = || format!("invalid CIDR address: {text}");
    let (address, prefix) = text.split_once('/').ok_or_else(invalid)?;
    let written: IpAddr = address.parse().map_err(|_| invalid())?;
    if prefix.is_empty() || prefix.len() > 3 || !prefix.bytes().all(|b| b.is_ascii_digit()) {
        return Err(invalid());
    }
    let mut prefix: u8 = prefix.parse().map_err(|_| invalid())?;
    let ip = written.to_canonical();
    if ip.is_ipv4() && written.is_ipv6() {
        prefix = prefix.checked_sub(96).ok_or_else(invalid)?;
    }
    IpNet::new(ip, prefix).map_err(|_| invalid())
}

/// `"10.0.0.1"` → an address; `""` and `null` → none.
pub fn ip_or_absent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IpAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() { Ok(None) } else { parse_ip(&text).map(Some).map_err(Error::custom) }
}

/// `"10.0.0.1/24"` → a network with its host bits.
pub fn cidr<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IpNet, D::Error> {
    parse_cidr(&String::deserialize(deserializer)?).map_err(Error::custom)
}

/// As [`cidr`]; `null` and a missing key → none. An empty text is an error, as in the reference.
pub fn cidr_or_absent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IpNet>, D::Error> {
    match Option::<String>::deserialize(deserializer)? {
        None => Ok(None),
        Some(text) => parse_cidr(&text).map(Some).map_err(Error::custom),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_bits_stay() {
        assert_eq!(parse_cidr("10.1.2.5/24").unwrap().to_string(), "10.1.2.5/24");
        assert_eq!(parse_cidr("fd00::5/64").unwrap().to_string(), "fd00::5/64");
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        assert_eq!(parse_ip("::ffff:10.0.0.1").unwrap().to_string(), "10.0.0.1");
        assert_eq!(parse_cidr("::ffff:10.0.0.1/120").unwrap().to_string(), "10.0.0.1/24");
        assert!(parse_cidr("::ffff:10.0.0.1/24").is_err());
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for bad in [
            "10.0.0.1",
            "10.0.0.01/24",
            "10.0.0.1/33",
            "10.0.0.1/-1",
            "10.0.0.1/+8",
            "fd00::1/129",
            "",
            "/8",
            "10.0.0/8",
            "10.0.0.1/",
        ] {
            assert_eq!(parse_cidr(bad), Err(format!("invalid CIDR address: {bad}")));
        }
        for bad in ["", "10.0.0", "010.0.0.1", "fe80::1%eth0", "10.0.0.1/8", " 10.0.0.1"] {
            assert!(parse_ip(bad).is_err(), "{bad:?}");
        }
    }
}
