//! The subnet file: the one word between the agent and the CNI side, in flannel's format (`/run/flannel/subnet.env`,
//! flannel v0.28 `pkg/subnet/subnet.go`, `WriteSubnetFile`), so that flannel's plugin and ours read either agent's file.

use std::fmt::{self, Write as _};
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// What a node may give to its pods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetFile {
    /// The IPv4 network of the cluster and this node's part of it; the address is the pods' gateway, S.1.
    pub ipv4: Option<(Ipv4Net, Ipv4Net)>,
    /// The same for IPv6.
    pub ipv6: Option<(Ipv6Net, Ipv6Net)>,
    /// Bytes of the largest packet a pod may send.
    pub mtu: u32,
    /// True if the agent masquerades what leaves the cluster; the plugin does it when the agent does not.
    pub ip_masq: bool,
}

/// The first host address of a subnet with the subnet's length: what the bridge of the node gets.
pub fn gateway(subnet: IpNet) -> IpNet {
    let first = match subnet.network() {
        IpAddr::V4(base) => IpAddr::V4((u32::from(base) + 1).into()),
        IpAddr::V6(base) => IpAddr::V6((u128::from(base) + 1).into()),
    };
    IpNet::new_assert(first, subnet.prefix_len())
}

/// The text is not a subnet file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubnetFileError(String);

impl fmt::Display for SubnetFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SubnetFileError {}

impl SubnetFile {
    /// The text of the file, keys in flannel's order.
    pub fn format(&self) -> String {
        let SubnetFile { ipv4, ipv6, mtu, ip_masq } = self;
        let mut text = String::new();
        if let Some((network, subnet)) = ipv4 {
            let _ = write!(text, "FLANNEL_NETWORK={network}\nFLANNEL_SUBNET={subnet}\n");
        }
        if let Some((network, subnet)) = ipv6 {
            let _ = write!(text, "FLANNEL_IPV6_NETWORK={network}\nFLANNEL_IPV6_SUBNET={subnet}\n");
        }
        let _ = write!(text, "FLANNEL_MTU={mtu}\nFLANNEL_IPMASQ={ip_masq}\n");
        text
    }

    /// Reads the file's text. Keys may come in any order; blank lines, comments and keys of others are passed over.
    /// A network without its subnet, no network at all, no MTU: an error that names the key or the line.
    pub fn parse(text: &str) -> Result<SubnetFile, SubnetFileError> {
        let mut values = Values::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) = line
                .split_once('=')
                .ok_or_else(|| SubnetFileError(format!("line {}: {line:?} is not KEY=value", number + 1)))?;
            let value = value.trim().trim_matches('"');
            match key.trim() {
                "FLANNEL_NETWORK" => values.network = Some(read(number, key, value)?),
                "FLANNEL_SUBNET" => values.subnet = Some(read(number, key, value)?),
                "FLANNEL_IPV6_NETWORK" => values.network6 = Some(read(number, key, value)?),
                "FLANNEL_IPV6_SUBNET" => values.subnet6 = Some(read(number, key, value)?),
                "FLANNEL_MTU" => values.mtu = Some(read(number, key, value)?),
                "FLANNEL_IPMASQ" => values.ip_masq = Some(read(number, key, value)?),
                _ => {}
            }
        }
        values.into_file()
    }
}

#[derive(Default)]
struct Values {
    network: Option<Ipv4Net>,
    subnet: Option<Ipv4Net>,
    network6: Option<Ipv6Net>,
    subnet6: Option<Ipv6Net>,
    mtu: Option<u32>,
    ip_masq: Option<bool>,
}

impl Values {
    fn into_file(self) -> Result<SubnetFile, SubnetFileError> {
        let ipv4 = pair(self.network, self.subnet, "FLANNEL_NETWORK", "FLANNEL_SUBNET")?;
        let ipv6 = pair(self.network6, self.subnet6, "FLANNEL_IPV6_NETWORK", "FLANNEL_IPV6_SUBNET")?;
        if ipv4.is_none() && ipv6.is_none() {
            return Err(SubnetFileError("neither FLANNEL_NETWORK nor FLANNEL_IPV6_NETWORK is set".into()));
        }
        let mtu = self.mtu.ok_or_else(|| SubnetFileError("FLANNEL_MTU is not set".into()))?;
        Ok(SubnetFile { ipv4, ipv6, mtu, ip_masq: self.ip_masq.unwrap_or(false) })
    }
}

fn read<T: std::str::FromStr>(number: usize, key: &str, value: &str) -> Result<T, SubnetFileError> {
    value.parse().map_err(|_| SubnetFileError(format!("line {}: {key} cannot be {value:?}", number + 1)))
}

fn pair<T>(
    network: Option<T>,
    subnet: Option<T>,
    names: &str,
    subnets: &str,
) -> Result<Option<(T, T)>, SubnetFileError> {
    match (network, subnet) {
        (Some(network), Some(subnet)) => Ok(Some((network, subnet))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(SubnetFileError(format!("{names} is set and {subnets} is not"))),
        (None, Some(_)) => Err(SubnetFileError(format!("{subnets} is set and {names} is not"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The example of flannel's own documentation, dual stack.
    const FLANNEL: &str = "FLANNEL_NETWORK=10.42.0.0/16\nFLANNEL_SUBNET=10.42.3.1/24\nFLANNEL_IPV6_NETWORK=2001:cafe:42::/56\n\
                           FLANNEL_IPV6_SUBNET=2001:cafe:42:3::1/64\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";

    #[test]
    fn flannels_own_file_is_read_and_written_back_byte_for_byte() {
        let file = SubnetFile::parse(FLANNEL).expect("flannel's file");
        assert_eq!(file.ipv4.unwrap().1.to_string(), "10.42.3.1/24");
        assert!(file.ip_masq);
        assert_eq!(file.format(), FLANNEL);
    }

    #[test]
    fn a_file_cut_short_is_refused_with_what_is_missing() {
        let refused = |text: &str| SubnetFile::parse(text).unwrap_err().to_string();
        assert_eq!(refused(""), "neither FLANNEL_NETWORK nor FLANNEL_IPV6_NETWORK is set");
        assert_eq!(refused("FLANNEL_NETWORK=10.0.0.0/8\n"), "FLANNEL_NETWORK is set and FLANNEL_SUBNET is not");
        assert_eq!(refused("FLANNEL_NETWORK=10.0.0.0/8\nFLANNEL_SUBNET=10.1.2.1/24\n"), "FLANNEL_MTU is not set");
        assert_eq!(refused("\nFLANNEL_MTU=big\n"), "line 2: FLANNEL_MTU cannot be \"big\"");
        assert_eq!(refused("FLANNEL_SUBNET=\n"), "line 1: FLANNEL_SUBNET cannot be \"\"");
        assert_eq!(refused("hello"), "line 1: \"hello\" is not KEY=value");
    }

    #[test]
    fn the_gateway_is_the_first_host_address() {
        for (subnet, expected) in [("10.244.1.0/24", "10.244.1.1/24"), ("fd00:244:1::/64", "fd00:244:1::1/64")] {
            assert_eq!(gateway(subnet.parse().unwrap()).to_string(), expected);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            v4 in proptest::option::of((any::<u32>(), 0u8..=32, any::<u32>(), 0u8..=32)),
            v6 in (any::<u128>(), 0u8..=128, any::<u128>(), 0u8..=128),
            mtu in any::<u32>(),
            ip_masq in any::<bool>(),
        ) {
            let ipv4 = v4.map(|(n, nl, s, sl)| (Ipv4Net::new_assert(n.into(), nl), Ipv4Net::new_assert(s.into(), sl)));
            let (n, nl, s, sl) = v6;
            let ipv6 = Some((Ipv6Net::new_assert(n.into(), nl), Ipv6Net::new_assert(s.into(), sl)));
            let file = SubnetFile { ipv4, ipv6, mtu, ip_masq };
            prop_assert_eq!(SubnetFile::parse(&file.format()), Ok(file));
        }
    }
}
