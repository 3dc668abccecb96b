//! The keys of `portmap`, and what they may not say.

use std::net::IpAddr;

use fairlead_kernel::nft::Conditions;
use fairlead_protocol::{CniError, Request};
use serde::Deserialize;

use super::conditions::{self, Language};

/// The bit of the packet mark that says "to be masqueraded": 0x2000. Kubernetes uses 14 and 15, Calico 20 to 31.
const MARK_BIT: u8 = 13;
/// IP protocols that have ports where nf_tables looks for them, with their numbers.
const PROTOCOLS: [(&str, u8); 3] = [("tcp", 6), ("udp", 17), ("sctp", 132)];

/// What to forward, and how. Checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Connections that would not find their way back are masqueraded.
    pub snat: bool,
    /// All connections are, if any is.
    pub masquerade_all: bool,
    /// The bit of the packet mark that the plugin speaks to itself by.
    pub mark_bit: u8,
    /// What else an IPv4 packet must be like.
    pub conditions_v4: Conditions,
    /// What else an IPv6 packet must be like.
    pub conditions_v6: Conditions,
    /// The ports, in the order of the request.
    pub mappings: Vec<Mapping>,
}

/// One port of the node, and the container's that it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// The IP protocol's number.
    pub protocol: u8,
    /// The node's address: an unspecified one stands for all of its family. `None`: all of both. `::1` is taken, as in the
    /// reference, and the kernel lets nobody be reached by it.
    pub host_ip: Option<IpAddr>,
    /// The node's port.
    pub host_port: u16,
    /// The container's port.
    pub container_port: u16,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    backend: Option<String>,
    snat: Option<bool>,
    masq_all: bool,
    mark_masq_bit: Option<i64>,
    external_set_mark_chain: Option<String>,
    conditions_v4: Option<Vec<String>>,
    conditions_v6: Option<Vec<String>>,
    runtime_config: Runtime,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Runtime {
    port_mappings: Vec<MappingKeys>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct MappingKeys {
    host_port: i64,
    container_port: i64,
    protocol: String,
    #[serde(rename = "hostIP")]
    host_ip: String,
}

impl Config {
    /// Reads and checks. Errors: code 6 for what cannot be decoded, 7 for what makes no sense.
    ///
    /// `externalSetMarkChain` names a chain of iptables that marks what is to be masqueraded, so that one rule of somebody
    /// else's does it for everybody: `KUBE-MARK-MASQ`. A connection is masqueraded or not, whoever does it: this plugin does
    /// it itself, whether that chain is there (kube-proxy in iptables mode) or not (any other), where the reference fails.
    pub fn load(request: &Request) -> Result<Config, CniError> {
        let keys: Keys = request.config()?;
        if keys.mark_masq_bit.is_some() && keys.external_set_mark_chain.is_some() {
            return Err(CniError::config("Cannot specify externalSetMarkChain and markMasqBit"));
        }
        let mark_bit = match keys.mark_masq_bit {
            None => MARK_BIT,
            Some(bit) => u8::try_from(bit).ok().filter(|bit| *bit < 32).ok_or_else(|| {
                CniError::config("MasqMarkBit must be between 0 and 31").with_details(format!("markMasqBit is {bit}"))
            })?,
        };
        let conditions_v4 = keys.conditions_v4.clone().unwrap_or_default();
        let conditions_v6 = keys.conditions_v6.clone().unwrap_or_default();
        check_backend(&keys, &conditions_v4, &conditions_v6)?;
        let mappings = keys.runtime_config.port_mappings.iter().enumerate();
        let mappings = mappings.map(|(index, one)| Mapping::check(index, one)).collect::<Result<_, _>>()?;
        Ok(Config {
            snat: keys.snat.unwrap_or(true),
            masquerade_all: keys.masq_all,
            mark_bit,
            conditions_v4: conditions::parse("conditionsV4", &conditions_v4, true)?,
            conditions_v6: conditions::parse("conditionsV6", &conditions_v6, false)?,
            mappings,
        })
    }
}

/// Every backend is nf_tables here. Where one is asked for by name, the words of the other are a mistake as in the reference;
/// where none is, both languages are understood.
fn check_backend(keys: &Keys, v4: &[String], v6: &[String]) -> Result<(), CniError> {
    let backend = keys.backend.as_deref().unwrap_or_default();
    let (other, wrong) = match backend {
        "" => return Ok(()),
        "iptables" => ("nftables", Language::Nftables),
        _ => ("iptables", Language::Iptables),
    };
    let mut options = Vec::new();
    if wrong == Language::Iptables && keys.external_set_mark_chain.is_some() {
        options.push("externalSetMarkChain");
    }
    let of_other =
        |(field, words): (&'static str, &[String])| (conditions::language(words) == Some(wrong)).then_some(field);
    options.extend([("conditionsV4", v4), ("conditionsV6", v6)].into_iter().filter_map(of_other));
    if !options.is_empty() {
        let options = options.join(" ");
        return Err(CniError::config(format!(
            "{backend} backend was requested but configuration contains {other}-specific options [{options}]"
        )));
    }
    if !["iptables", "nftables"].contains(&backend) {
        let text = format!("unrecognized backend {backend:?}");
        return Err(CniError::config(text).with_details("it must be \"iptables\" or \"nftables\", or be left out"));
    }
    Ok(())
}

impl Mapping {
    /// `index` counts the mappings of the request.
    fn check(index: usize, keys: &MappingKeys) -> Result<Mapping, CniError> {
        let place = format!("runtimeConfig.portMappings[{index}]");
        let port = |kind: &str, number: i64| {
            u16::try_from(number).ok().filter(|port| *port > 0).ok_or_else(|| {
                CniError::config(format!("Invalid {kind} port number: {number}"))
                    .with_details(format!("{place}: a port is 1 to 65535"))
            })
        };
        let container_port = port("container", keys.container_port)?;
        let host_port = port("host", keys.host_port)?;
        let known = PROTOCOLS.iter().find(|(name, _)| name.eq_ignore_ascii_case(&keys.protocol));
        let (_, protocol) = known.ok_or_else(|| {
            CniError::config(format!("{place}: protocol is {:?}, it must be tcp, udp or sctp", keys.protocol))
        })?;
        let host_ip = match keys.host_ip.as_str() {
            "" => None,
            // An IPv4 address written as an IPv6 one is an IPv4 address.
            text => Some(
                text.parse::<IpAddr>()
                    .map(|address| address.to_canonical())
                    .map_err(|_| CniError::config(format!("{place}: hostIP is {text:?}, which is no IP address")))?,
            ),
        };
        Ok(Mapping { protocol: *protocol, host_ip, host_port, container_port })
    }
}

#[cfg(test)]
mod tests;
