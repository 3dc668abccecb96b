//! The keys of `bridge`, and what they may not say.

use fairlead_kernel::Mac;
use fairlead_protocol::args::Args;
use fairlead_protocol::{CniError, Code, Dns, Request};
use serde::Deserialize;
use serde_json::Value;

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
    vlan_trunk: Vec<Value>,
    macspoofchk: bool,
    dns: DnsKeys,
    args: ArgsKey,
}

/// Each member apart, because an empty list is something else than none.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct DnsKeys {
    nameservers: Option<Vec<String>>,
    domain: String,
    search: Option<Vec<String>>,
    options: Option<Vec<String>>,
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
    /// Reads and checks the configuration of a request. Errors: code 6 and 7; code 2 for what is not built yet.
    pub fn parse(request: &Request) -> Result<Config, CniError> {
        let keys: Keys = request.config()?;
        refuse_unsupported(&keys)?;
        if keys.hairpin_mode && keys.promisc_mode {
            return Err(CniError::config("cannot set hairpin mode and promiscuous mode at the same time"));
        }
        let ipam = request.ipam_type()?;
        if keys.disable_container_interface && !ipam.is_empty() {
            return Err(CniError::config("cannot use IPAM when DisableContainerInterface flag is set"));
        }
        if let Some(backend) = keys.ip_masq_backend.as_deref()
            && !["", "iptables", "nftables"].contains(&backend)
        {
            return Err(CniError::config(format!("unknown ipmasq backend {backend:?}")));
        }
        let bridge = if keys.bridge.is_empty() { "cni0".to_owned() } else { keys.bridge };
        if bridge.len() > 15 || bridge.contains(['/', ':']) || bridge.contains(char::is_whitespace) {
            return Err(CniError::config(format!(
                "bridge {bridge:?} is no interface name: at most 15 bytes, no slash, colon or blank"
            )));
        }
        let mtu = u32::try_from(keys.mtu)
            .map_err(|_| CniError::config(format!("invalid MTU {}: it is a number of bytes", keys.mtu)))?;
        Ok(Config {
            bridge,
            is_gateway: keys.is_gateway || keys.is_default_gateway,
            is_default_gateway: keys.is_default_gateway,
            force_address: keys.force_address,
            ip_masq: keys.ip_masq,
            mtu: (mtu > 0).then_some(mtu),
            hairpin: keys.hairpin_mode,
            promiscuous: keys.promisc_mode,
            isolated: keys.port_isolation,
            dad: keys.enabledad,
            container_end_down: keys.disable_container_interface,
            mac: mac(request, &keys.args.cni.mac)?,
            ipam,
            dns: keys.dns.given(),
        })
    }
}

impl DnsKeys {
    fn given(self) -> Option<Dns> {
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

/// A field that is not built must not look as if it worked.
fn refuse_unsupported(keys: &Keys) -> Result<(), CniError> {
    let field = match keys {
        Keys { vlan, .. } if *vlan != 0 => format!("vlan = {vlan}"),
        Keys { vlan_trunk, .. } if !vlan_trunk.is_empty() => "vlanTrunk".to_owned(),
        Keys { macspoofchk: true, .. } => "macspoofchk = true".to_owned(),
        _ => return Ok(()),
    };
    let text =
        format!("bridge: {field} is not supported by this version of fairlead-cni: remove it from the configuration");
    Err(CniError::new(Code::UnsupportedField, text))
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
