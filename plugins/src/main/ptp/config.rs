//! The keys of `ptp`, and what they may not say.

use fairlead_protocol::{CniError, Dns, Request};
use serde::Deserialize;

use crate::veth::keys::{self, DnsKeys};

/// A network of this plugin, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What the container sends beyond its network gets the node's address.
    pub ip_masq: bool,
    /// Bytes, of both ends; `None`: the kernel's.
    pub mtu: Option<u32>,
    /// Name of the IPAM plugin; it cannot do without.
    pub ipam: String,
    /// Given instead of IPAM's when it says anything, an explicit empty list included.
    pub dns: Option<Dns>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    ip_masq: bool,
    ip_masq_backend: Option<String>,
    mtu: i64,
    dns: DnsKeys,
}

impl Config {
    /// Reads and checks the configuration of a request. Errors: code 6 and 7.
    pub fn load(request: &Request) -> Result<Config, CniError> {
        let keys: Keys = request.config()?;
        keys::masquerade_backend(keys.ip_masq_backend.as_deref())?;
        Ok(Config {
            ip_masq: keys.ip_masq,
            mtu: keys::mtu(keys.mtu)?,
            ipam: request.ipam_type()?,
            dns: keys.dns.given(),
        })
    }
}
