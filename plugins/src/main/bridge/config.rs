//! The keys of `bridge`, and what they may not say.

use fairlead_kernel::Mac;
use fairlead_protocol::args::Args;
use fairlead_protocol::{CniError, Code, Dns, Request};
use serde::Deserialize;

use super::vlan::{TrunkKeys, Vlans};
use crate::veth::keys::{self, DnsKeys};

/// A network of this plugin, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Name of the bridge.
    pub bridge: String,
    /// The bridge has the gateways' addresses, and the node forwards.
    pub is_gateway: bool,
    /// The container has a default route through the gateway.
    pub is_default_gateway: bool,
    /// A conflicting address of the bridge is replaced instead of refused.
    pub force_address: bool,
    /// What the container sends beyond its network gets the node's address.
    pub ip_masq: bool,
    /// Bytes; `None`: the kernel's.
    pub mtu: Option<u32>,
    /// The container may reach itself through the bridge.
    pub hairpin: bool,
    /// The bridge hears everything.
    pub promiscuous: bool,
    /// Isolated ports do not hear each other.
    pub isolated: bool,
    /// What the port is a member of.
    pub vlans: Vlans,
    /// Frames that do not come from the container's own hardware address are dropped.
    pub spoof_check: bool,
    /// IPv6 duplicate address detection in the container.
    pub dad: bool,
    /// The container's end stays down.
    pub container_end_down: bool,
    /// Hardware address of the container's end.
    pub mac: Option<Mac>,
    /// Name of the IPAM plugin; empty: layer 2 only.
    pub ipam: String,
    /// Given instead of IPAM's when it says anything, an explicit empty list included.
    pub dns: Option<Dns>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    bridge: String,
    is_gateway: bool,
    is_default_gateway: bool,
    force_address: bool,
    ip_masq: bool,
    ip_masq_backend: Option<String>,
    mtu: i64,
    hairpin_mode: bool,
    promisc_mode: bool,
    port_isolation: bool,
    enabledad: bool,
    disable_container_interface: bool,
    vlan: i64,
    vlan_trunk: Option<Vec<Option<TrunkKeys>>>,
    preserve_default_vlan: bool,
    macspoofchk: bool,
    dns: DnsKeys,
    args: ArgsKey,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ArgsKey {
    cni: CniArgs,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CniArgs {
    mac: String,
}

impl Config {
    /// Reads and checks the configuration of a request. Errors: code 6 and 7; code 4 for `CNI_ARGS`.
    pub fn load(request: &Request) -> Result<Config, CniError> {
        let keys: Keys = request.config()?;
        if keys.hairpin_mode && keys.promisc_mode {
            return Err(CniError::config("cannot set hairpin mode and promiscuous mode at the same time"));
        }
        let vlans = Vlans::new(keys.vlan, keys.vlan_trunk.as_deref(), keys.preserve_default_vlan)?;
        let ipam = request.ipam_type()?;
        if keys.disable_container_interface && !ipam.is_empty() {
            return Err(CniError::config("cannot use IPAM when DisableContainerInterface flag is set"));
        }
        keys::masquerade_backend(keys.ip_masq_backend.as_deref())?;
        let config = Config {
            bridge: if keys.bridge.is_empty() { "cni0".to_owned() } else { keys.bridge },
            is_gateway: keys.is_gateway || keys.is_default_gateway,
            is_default_gateway: keys.is_default_gateway,
            force_address: keys.force_address,
            ip_masq: keys.ip_masq,
            mtu: keys::mtu(keys.mtu)?,
            hairpin: keys.hairpin_mode,
            promiscuous: keys.promisc_mode,
            isolated: keys.port_isolation,
            vlans,
            spoof_check: keys.macspoofchk,
            dad: keys.enabledad,
            container_end_down: keys.disable_container_interface,
            mac: mac(request, &keys.args.cni.mac)?,
            ipam,
            dns: keys.dns.given(),
        };
        config.check_names()?;
        Ok(config)
    }

    /// The link that has the gateway's addresses: the bridge, or a helper in its VLAN.
    pub fn gateway_name(&self) -> String {
        gateway_name(&self.bridge, self.vlans.native.filter(|_| self.is_gateway).map(i64::from))
    }

    fn check_names(&self) -> Result<(), CniError> {
        for name in [&self.bridge, &self.gateway_name()] {
            if name.len() > 15
                || name == "."
                || name == ".."
                || name.contains(['/', ':'])
                || name.contains(char::is_whitespace)
            {
                let text = format!("bridge {name:?} is no interface name: at most 15 bytes, no slash, colon or blank");
                return Err(CniError::config(text));
            }
        }
        Ok(())
    }
}

/// The name of the link that has the gateway's addresses, asked of a configuration that may be wrong in everything else.
pub fn gateway_of(request: &Request) -> Option<String> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Keys {
        bridge: String,
        vlan: i64,
    }
    let Keys { bridge, vlan } = request.config().ok()?;
    let bridge = if bridge.is_empty() { "cni0" } else { &bridge };
    (vlan != 0).then(|| gateway_name(bridge, Some(vlan)))
}

fn gateway_name(bridge: &str, vlan: Option<i64>) -> String {
    vlan.map_or_else(|| bridge.to_owned(), |vlan| format!("{bridge}.{vlan}"))
}

/// `CNI_ARGS`, then `args.cni.mac`, then the capability: the last that says one wins.
fn mac(request: &Request, from_args: &str) -> Result<Option<Mac>, CniError> {
    let arguments = Args::parse(&request.args, &["MAC"])
        .map_err(|reason| CniError::new(Code::InvalidEnvironment, format!("CNI_ARGS: {reason}")))?;
    let from_capability = request.runtime_config::<String>("mac")?.unwrap_or_default();
    let said = [arguments.get("MAC").unwrap_or_default(), from_args, &from_capability];
    let Some(text) = said.into_iter().rev().find(|text| !text.is_empty()) else { return Ok(None) };
    text.parse().map(Some).map_err(|error| CniError::config(format!("mac: {error}")))
}
