//! Keys that both plugins have, and what they may not say.

use fairlead_protocol::{CniError, Dns};
use serde::Deserialize;

/// `dns`: each member apart, because an empty list is something else than none.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct DnsKeys {
    nameservers: Option<Vec<String>>,
    domain: String,
    search: Option<Vec<String>>,
    options: Option<Vec<String>>,
}

impl DnsKeys {
    /// What stands in for IPAM's name servers; `None`: nothing was said. An explicit empty list says something.
    pub fn given(self) -> Option<Dns> {
        let said =
            self.nameservers.is_some() || !self.domain.is_empty() || self.search.is_some() || self.options.is_some();
        said.then(|| Dns {
            nameservers: self.nameservers.unwrap_or_default(),
            domain: self.domain,
            search: self.search.unwrap_or_default(),
            options: self.options.unwrap_or_default(),
        })
    }
}

/// `ipMasqBackend`: every backend of the reference is served by nf_tables. Errors: code 7, in the reference's words.
pub fn masquerade_backend(said: Option<&str>) -> Result<(), CniError> {
    match said.unwrap_or_default() {
        "" | "iptables" | "nftables" => Ok(()),
        other => Err(CniError::config(format!("unknown ipmasq backend {other:?}"))
            .with_details("ipMasqBackend is iptables or nftables; both are done by nf_tables")),
    }
}

/// `mtu` in bytes; 0 is the kernel's, `None`. Errors: code 7.
pub fn mtu(said: i64) -> Result<Option<u32>, CniError> {
    // What a veth takes: the least that IPv4 needs, and the kernel's ETH_MAX_MTU (veth_setup, drivers/net/veth.c).
    match u32::try_from(said) {
        Ok(0) => Ok(None),
        Ok(bytes) if (68..=65535).contains(&bytes) => Ok(Some(bytes)),
        _ => Err(CniError::config(format!("invalid MTU {said}: mtu is 0 (the kernel's own) or 68 to 65535 bytes"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dns(text: &str) -> Option<Dns> {
        serde_json::from_str::<DnsKeys>(text).unwrap().given()
    }

    #[test]
    fn any_member_of_dns_says_something_also_an_empty_list() {
        assert_eq!(dns("{}"), None);
        assert_eq!(dns(r#"{"domain": ""}"#), None);
        for said in [r#"{"nameservers": []}"#, r#"{"search": []}"#, r#"{"options": []}"#] {
            assert_eq!(dns(said), Some(Dns::default()), "{said}");
        }
        assert_eq!(dns(r#"{"domain": "example"}"#).unwrap().domain, "example");
    }

    #[test]
    fn an_mtu_is_what_a_veth_takes() {
        assert_eq!((mtu(0).unwrap(), mtu(68).unwrap(), mtu(65535).unwrap()), (None, Some(68), Some(65535)));
        for bad in [-1, 1, 67, 65536, i64::MAX, i64::MIN] {
            assert!(mtu(bad).unwrap_err().msg.contains(&bad.to_string()), "{bad}");
        }
    }

    #[test]
    fn only_the_references_backends_are_known() {
        for good in [None, Some(""), Some("iptables"), Some("nftables")] {
            assert!(masquerade_backend(good).is_ok(), "{good:?}");
        }
        assert_eq!(masquerade_backend(Some("ipfw")).unwrap_err().msg, "unknown ipmasq backend \"ipfw\"");
    }
}
