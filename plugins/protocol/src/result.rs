//! The result of an ADD in its newest form. [`crate::Version`]'s older forms are made and read in `wire.rs`.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;
use serde_json::Value;

use crate::{CniError, Version, wire};

/// What an ADD made: interfaces, their addresses, routes and name servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CniResult {
    /// In the order that other plugins rely on; [`IpConfig::interface`] counts into it.
    pub interfaces: Vec<Interface>,
    /// Addresses, in the order IPAM gave them.
    pub ips: Vec<IpConfig>,
    /// Routes of the container.
    pub routes: Vec<Route>,
    /// Name servers; empty: not said.
    pub dns: Dns,
}

/// An interface that was made or used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Interface {
    /// Name in its namespace.
    pub name: String,
    /// Hardware address as text; empty: not said.
    pub mac: String,
    /// In bytes; 0: not said. Printed by 1.x only.
    pub mtu: u32,
    /// Path of the namespace the interface is in; empty: the host's.
    pub sandbox: String,
    /// Path of a device that the interface is reached by; empty: none. Printed by 1.x only.
    pub socket_path: String,
    /// PCI address; empty: none. Printed by 1.x only.
    #[serde(rename = "pciID")]
    pub pci_id: String,
}

/// An address of the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpConfig {
    /// Index into [`CniResult::interfaces`]. `None`: the interface of the request. Some old plugins send −1 or a number
    /// past the end; [`CniResult::interface_of`] treats those as unknown.
    pub interface: Option<i64>,
    /// Address and prefix, host bits kept.
    pub address: IpNet,
    /// The gateway of this address's subnet.
    pub gateway: Option<IpAddr>,
}

/// A route of the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destination, host bits kept as they were written.
    pub dst: IpNet,
    /// Next hop. `None`: the gateway of an address of the same family, if there is one, else the device.
    pub gw: Option<IpAddr>,
    /// In bytes; 0: not said.
    pub mtu: u32,
    /// TCP maximum segment size to advertise, in bytes; 0: not said.
    pub advmss: u32,
    /// Metric; 0: not said.
    pub priority: u32,
    /// Routing table; an explicit 0 is kept.
    pub table: Option<u32>,
    /// `RT_SCOPE_*`; an explicit 0 is kept.
    pub scope: Option<u8>,
}

/// What to write in a resolver's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// Addresses of name servers, in order of preference.
    pub nameservers: Vec<String>,
    /// The local domain; empty: not said.
    pub domain: String,
    /// Search domains, in order of preference.
    pub search: Vec<String>,
    /// Options of the resolver.
    pub options: Vec<String>,
}

impl CniResult {
    /// Reads a printed result, and says which version it is in: its own, or `assumed` (the text of a configuration's
    /// `cniVersion`) when it names none. For runtimes; a plugin gets its results decoded. Errors: the reason, with the
    /// key.
    pub fn from_value(value: &Value, assumed: &str) -> Result<(CniResult, Version), String> {
        wire::decode_printed(value, assumed)
    }

    /// The result as an object of `version`. Errors: 0.1.0 and 0.2.0 cannot say a result without addresses.
    pub fn to_value(&self, version: Version) -> Result<Value, CniError> {
        wire::encode(self, version)
    }

    /// [`CniResult::to_value`] as it is printed: four spaces of indent, no newline at the end.
    pub fn to_json(&self, version: Version) -> Result<String, CniError> {
        self.to_value(version).map(|value| wire::pretty(&value))
    }

    /// The interface an address belongs to; `None` when the index is missing or points nowhere.
    pub fn interface_of(&self, ip: &IpConfig) -> Option<&Interface> {
        self.interfaces.get(usize::try_from(ip.interface?).ok()?)
    }
}

impl IpConfig {
    /// An address that names no interface, as IPAM gives it.
    pub fn new(address: IpNet, gateway: Option<IpAddr>) -> Self {
        IpConfig { interface: None, address, gateway }
    }
}

impl Route {
    /// A route that says nothing but where to and through whom.
    pub fn new(dst: IpNet, gw: Option<IpAddr>) -> Self {
        Route { dst, gw, mtu: 0, advmss: 0, priority: 0, table: None, scope: None }
    }

    /// True for `0.0.0.0/0` and `::/0`.
    pub fn is_default(&self) -> bool {
        self.dst.prefix_len() == 0
    }
}

impl Dns {
    /// True when nothing is said.
    pub fn is_empty(&self) -> bool {
        self.nameservers.is_empty() && self.domain.is_empty() && self.search.is_empty() && self.options.is_empty()
    }
}
