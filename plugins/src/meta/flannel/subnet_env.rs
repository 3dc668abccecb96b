//! `/run/flannel/subnet.env`: what the overlay's agent, ours or flannel's, lets this node give to its pods.
//!
//! The overlay's own reader (`fairlead-overlay-model`) is stricter: it reads one network of each family and knows which subnet
//! belongs to which. Here everything that any flannel ever wrote is taken, lists of networks included; and a process that
//! is started for every pod does not bring a YAML reader along.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use fairlead_protocol::{CniError, Code, address};
use ipnet::IpNet;

/// The most that is read, in bytes; real files have a few hundred.
const LIMIT: u64 = 64 << 10;

/// The file's content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubnetEnv {
    /// Networks of the cluster, IPv4 before IPv6.
    pub networks: Vec<IpNet>,
    /// This node's part of them, host bits cleared.
    pub subnets: Vec<IpNet>,
    /// Bytes of the largest packet.
    pub mtu: u32,
    /// The agent masquerades.
    pub ip_masq: bool,
}

impl SubnetEnv {
    /// Reads the file. Errors: code 11, because whoever writes it may just not have come so far; in the reference's words.
    pub fn load(path: &Path) -> Result<SubnetEnv, CniError> {
        let read = || {
            let file = OpenOptions::new().read(true).custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits()).open(path)?;
            if !file.metadata()?.is_file() {
                return Err(io::Error::other("not a plain file"));
            }
            let mut text = Vec::new();
            file.take(LIMIT).read_to_end(&mut text)?;
            Ok(String::from_utf8_lossy(&text).into_owned())
        };
        let refuse = |reason: String| {
            let text = format!("loadFlannelSubnetEnv failed: {reason}. Check the flannel pod log for this node.");
            CniError::new(Code::TryAgainLater, text)
                .with_details("flanneld or fairlead-overlay writes this file when it has a subnet for the node")
        };
        let text = read().map_err(|error| refuse(format!("open {}: {error}", path.display())))?;
        SubnetEnv::parse(&text).map_err(|reason| refuse(format!("{} {reason}", path.display())))
    }

    /// Reads the text. Keys of others and comments are passed over. Errors: the line, or the keys that are missing.
    pub fn parse(text: &str) -> Result<SubnetEnv, String> {
        let (mut networks, mut networks6) = (Vec::new(), Vec::new());
        let (mut subnet, mut subnet6, mut mtu, mut ip_masq) = (None, None, None, None);
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |what: &str| format!("line {}: {line:?} {what}", number + 1);
            let (key, value) = line.split_once('=').ok_or_else(|| wrong("is not KEY=value"))?;
            let value = value.trim().trim_matches('"');
            let net = |text: &str| {
                address::parse_cidr(text.trim()).map_err(|_| wrong("is no address with its prefix length"))
            };
            match key.trim() {
                "FLANNEL_NETWORK" => networks = value.split(',').map(net).collect::<Result<_, _>>()?,
                "FLANNEL_IPV6_NETWORK" => networks6 = value.split(',').map(net).collect::<Result<_, _>>()?,
                "FLANNEL_SUBNET" => subnet = Some(net(value)?),
                "FLANNEL_IPV6_SUBNET" => subnet6 = Some(net(value)?),
                "FLANNEL_MTU" => mtu = Some(value.parse().map_err(|_| wrong("is no number of bytes"))?),
                "FLANNEL_IPMASQ" => ip_masq = Some(value == "true"),
                _ => {}
            }
        }
        networks.extend(networks6);
        let networks: Vec<IpNet> = networks.iter().map(IpNet::trunc).collect();
        let subnets: Vec<IpNet> = subnet.into_iter().chain(subnet6).map(|net| net.trunc()).collect();
        let missing: Vec<&str> = [
            (networks.is_empty(), "FLANNEL_NETWORK, FLANNEL_IPV6_NETWORK"),
            (subnets.is_empty(), "FLANNEL_SUBNET, FLANNEL_IPV6_SUBNET"),
            (mtu.is_none(), "FLANNEL_MTU"),
            (ip_masq.is_none(), "FLANNEL_IPMASQ"),
        ]
        .into_iter()
        .filter_map(|(is_missing, keys)| is_missing.then_some(keys))
        .collect();
        match (mtu, ip_masq) {
            (Some(mtu), Some(ip_masq)) if missing.is_empty() => Ok(SubnetEnv { networks, subnets, mtu, ip_masq }),
            _ => Err(format!("is missing {}", missing.join(", "))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn both_families_lists_and_other_peoples_lines_are_read() {
        let text = "# by hand\nFLANNEL_NETWORK=10.244.0.0/16,10.245.0.0/16\r\nFLANNEL_SUBNET=10.244.3.1/24\n\nOTHER=x=y\n\
                    FLANNEL_IPV6_NETWORK=2001:cafe:42::/56\nFLANNEL_IPV6_SUBNET=2001:cafe:42:3::1/64\nFLANNEL_MTU=1450\n\
                    FLANNEL_IPMASQ=true";
        let env = SubnetEnv::parse(text).unwrap();
        assert_eq!(env.networks, nets(&["10.244.0.0/16", "10.245.0.0/16", "2001:cafe:42::/56"]));
        assert_eq!(env.subnets, nets(&["10.244.3.0/24", "2001:cafe:42:3::/64"]));
        assert_eq!((env.mtu, env.ip_masq), (1450, true));
        let only6 = "FLANNEL_IPV6_NETWORK=fd00::/48\nFLANNEL_IPV6_SUBNET=fd00:0:0:1::/64\nFLANNEL_MTU=\"1400\"\nFLANNEL_IPMASQ=no";
        assert!(!SubnetEnv::parse(only6).unwrap().ip_masq);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let refused = |text: &str| SubnetEnv::parse(text).unwrap_err();
        let all =
            "FLANNEL_NETWORK, FLANNEL_IPV6_NETWORK, FLANNEL_SUBNET, FLANNEL_IPV6_SUBNET, FLANNEL_MTU, FLANNEL_IPMASQ";
        assert_eq!(refused(""), format!("is missing {all}"));
        assert_eq!(
            refused("FLANNEL_NETWORK=10.0.0.0/8\nFLANNEL_SUBNET=10.1.2.1/24\nFLANNEL_IPMASQ=true\n"),
            "is missing FLANNEL_MTU"
        );
        // The reference ends with a panic.
        assert_eq!(refused("FLANNEL_MTU=1\nFLANNEL_SUBNET\n"), "line 2: \"FLANNEL_SUBNET\" is not KEY=value");
        assert_eq!(refused("FLANNEL_MTU=big"), "line 1: \"FLANNEL_MTU=big\" is no number of bytes");
        assert!(refused("FLANNEL_NETWORK=10.0.0.0/8,").contains("is no address with its prefix length"));
        assert!(refused("FLANNEL_SUBNET=").contains("line 1"));
    }

    #[test]
    fn a_file_that_is_not_there_says_where_to_look() {
        let error = SubnetEnv::load(Path::new("/nowhere/subnet.env")).unwrap_err();
        assert_eq!(error.code, Code::TryAgainLater);
        assert!(
            error.msg.starts_with("loadFlannelSubnetEnv failed: open /nowhere/subnet.env: No such file"),
            "{error}"
        );
        assert!(error.msg.ends_with("Check the flannel pod log for this node."), "{error}");
        assert!(SubnetEnv::load(Path::new("/dev")).unwrap_err().msg.contains("not a plain file"));
    }
}
