//! Addresses and networks as Go's old parsers took them, which Kubernetes keeps (`ParseIPSloppy`, `ParseCIDRSloppy` of
//! k8s.io/utils/net): decimal with leading zeros.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;

/// An address; leading zeros of IPv4 are decimal.
pub fn ip(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    let octets: Vec<u8> = text.split('.').map(octet).collect::<Option<_>>()?;
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?).into())
}

fn octet(text: &str) -> Option<u8> {
    if text.is_empty() || text.len() > 10 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse::<u64>().ok()?.try_into().ok()
}

/// A network; host bits are cut off.
pub fn network(text: &str) -> Option<IpNet> {
    let (address, prefix) = text.split_once('/')?;
    let is_number = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
    let prefix = is_number.then(|| prefix.parse().ok()).flatten()?;
    Some(IpNet::new(ip(address)?, prefix).ok()?.trunc())
}

/// `address:port` or `[address]:port`; `default_port` where there is none. `None`: no address with a port from 1.
pub fn bind(text: &str, default_port: u16) -> Option<SocketAddr> {
    if let Some(alone) = ip(text) {
        return Some(SocketAddr::new(alone, default_port));
    }
    let (address, port) = text.rsplit_once(':')?;
    let address = match address.strip_prefix('[') {
        Some(rest) => ip(rest.strip_suffix(']')?)?,
        None if address.contains(':') => return None,
        None => ip(address)?,
    };
    let port = port.parse().ok().filter(|port| *port > 0)?;
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_kubernetes_reads_them() {
        for (text, expected) in [
            ("10.0.0.1", Some("10.0.0.1")),
            ("010.000.0.09", Some("10.0.0.9")),
            ("fd00::1", Some("fd00::1")),
            ("::ffff:10.0.0.1", Some("10.0.0.1")),
            ("10.0.0", None),
            ("10.0.0.256", None),
            ("10.0.0.-1", None),
            ("", None),
            ("fe80::1%eth0", None),
        ] {
            assert_eq!(ip(text), expected.map(|ip| ip.parse().unwrap()), "{text}");
        }
        assert_eq!(network("10.1.2.3/08"), Some("10.0.0.0/8".parse().unwrap()));
        for wrong in ["10.0.0.0", "10.0.0.0/33", "10.0.0.0/", "fd00::/+8", "/8"] {
            assert_eq!(network(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_port_may_be_left_out_of_an_address_to_bind() {
        for (text, expected) in [
            ("0.0.0.0:10256", Some("0.0.0.0:10256")),
            ("127.0.0.1", Some("127.0.0.1:7")),
            ("::1", Some("[::1]:7")),
            ("[::]:10249", Some("[::]:10249")),
            ("[::1]", None),
            (":10256", None),
            ("fd00::1:0:10256:5:6:7:8:9", None),
            ("0.0.0.0:0", None),
            ("0.0.0.0:65536", None),
            ("localhost:10256", None),
        ] {
            assert_eq!(bind(text, 7), expected.map(|address| address.parse().unwrap()), "{text}");
        }
    }
}
