//! Values that both languages write alike.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use fairlead_kernel::nft::{ADDRESS_TYPES, Name};
use ipnet::{IpNet, IpSubnets, Ipv4Subnets, Ipv6Subnets};

/// Names of protocols, as /etc/protocols has them, with their numbers.
const PROTOCOLS: [(&str, u8); 10] = [
    ("icmp", 1),
    ("tcp", 6),
    ("udp", 17),
    ("dccp", 33),
    ("esp", 50),
    ("ah", 51),
    ("ipv6-icmp", 58),
    ("icmpv6", 58),
    ("sctp", 132),
    ("udplite", 136),
];

/// An address, or a network by prefix or mask, of the family.
pub fn net(text: &str, v4: bool) -> Result<IpNet, String> {
    let family = if v4 { "IPv4" } else { "IPv6" };
    let wrong = || format!("{text:?} is no {family} address or network");
    let found = match text.split_once('/') {
        None => text.parse::<IpAddr>().map(IpNet::from).map_err(|_| wrong())?,
        Some((address, mask)) => {
            let address: IpAddr = address.parse().map_err(|_| wrong())?;
            match mask.parse::<u8>() {
                Ok(prefix) => IpNet::new(address, prefix).map_err(|_| wrong())?,
                Err(_) => {
                    let mask: IpAddr = mask.parse().map_err(|_| wrong())?;
                    IpNet::with_netmask(address, mask).map_err(|_| wrong())?
                }
            }
        }
    };
    if found.addr().is_ipv4() == v4 { Ok(found.trunc()) } else { Err(wrong()) }
}

/// `FIRST-LAST`, or what [`net`] reads: the networks that are just that.
pub fn nets(text: &str, v4: bool) -> Result<Vec<IpNet>, String> {
    let Some((first, last)) = text.split_once('-') else { return net(text, v4).map(|net| vec![net]) };
    let (first, last) = (net(first, v4)?.addr(), net(last, v4)?.addr());
    match (first, last) {
        _ if first > last => Err(format!("the range {text} ends before it begins")),
        (IpAddr::V4(first), IpAddr::V4(last)) => Ok(IpSubnets::V4(Ipv4Subnets::new(first, last, 0)).collect()),
        (IpAddr::V6(first), IpAddr::V6(last)) => Ok(IpSubnets::V6(Ipv6Subnets::new(first, last, 0)).collect()),
        _ => Err(format!("the range {text} has two families")),
    }
}

/// `PORT` or `FIRST<between>LAST`; an end that is left out is the least or the greatest.
pub fn ports(text: &str, between: char) -> Result<RangeInclusive<u16>, String> {
    let port = |word: &str, missing: u16| match word {
        "" => Ok(missing),
        word => word.parse::<u16>().map_err(|_| format!("{word:?} is no port: 0 to 65535, no names")),
    };
    let range = match text.split_once(between) {
        Some((first, last)) => port(first, 0)?..=port(last, u16::MAX)?,
        None if text.is_empty() => return Err("a port is missing".to_owned()),
        None => port(text, 0)?..=port(text, 0)?,
    };
    if range.is_empty() { Err(format!("the range {text} ends before it begins")) } else { Ok(range) }
}

/// A protocol by name or number.
pub fn protocol(text: &str) -> Result<u8, String> {
    let known = PROTOCOLS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, number)| *number);
    known.or_else(|| text.parse().ok()).ok_or_else(|| format!("{text:?} is no protocol: use its number"))
}

/// What an address is to the node.
pub fn address_type(text: &str) -> Result<u8, String> {
    let known = ADDRESS_TYPES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, number)| *number);
    known.ok_or_else(|| {
        let all: Vec<&str> = ADDRESS_TYPES.iter().map(|(name, _)| *name).collect();
        format!("{text:?} is no type of address: it must be one of {}", all.join(", "))
    })
}

/// An interface, or with `wildcard` at its end all whose names begin so.
pub fn name(text: &str, wildcard: char) -> Result<Name, String> {
    let (text, prefix) = match text.strip_suffix(wildcard) {
        Some(beginning) => (beginning, true),
        None => (text, false),
    };
    if text.len() > 15 || text.contains(['/', ':']) || text.contains(char::is_whitespace) || text.is_empty() && !prefix
    {
        return Err(format!("{text:?} is no interface name: 1 to 15 bytes, no slash, colon or blank"));
    }
    Ok(Name { text: text.to_owned(), prefix })
}

/// 32 bits, decimal or with `0x`.
pub fn bits(text: &str) -> Result<u32, String> {
    let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.map_err(|_| format!("{text:?} is no number of 32 bits"))
}
