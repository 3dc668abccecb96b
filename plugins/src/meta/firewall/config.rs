//! The keys of `firewall`, and what they may not say.

use fairlead_protocol::{CniError, Request};
use serde::Deserialize;

/// Longest name of a chain that iptables takes: `XT_EXTENSION_MAXNAMELEN` with its zero byte
/// (include/uapi/linux/netfilter/x_tables.h).
const CHAIN_NAME_MAX: usize = 28;

/// Names that mean something else to iptables, and the chain that leads to the admin's.
const TAKEN: [&str; 11] = [
    "ACCEPT",
    "DROP",
    "RETURN",
    "QUEUE",
    "REJECT",
    "INPUT",
    "FORWARD",
    "OUTPUT",
    "PREROUTING",
    "POSTROUTING",
    "CNI-FORWARD",
];

/// A network of this plugin, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Who is told about the container's addresses.
    pub backend: Backend,
    /// The chain in which the node's administrator overrides us.
    pub admin_chain: String,
    /// The zone of firewalld that the addresses join.
    pub zone: String,
    /// Who may open connections to the container through its bridge.
    pub ingress: Ingress,
}

/// Who is told about the container's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// firewalld if it runs, else the kernel. Also what an unknown word means: the reference takes any.
    Automatic,
    /// The kernel: nf_tables, with what `iptables` sees of it.
    Iptables,
    /// firewalld, over the system bus.
    Firewalld,
}

/// Who may open connections to the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ingress {
    /// Everybody whom the node lets through.
    Open,
    /// Not the containers of other bridges that say this or `isolated`.
    SameBridge,
    /// Not those of its own bridge either.
    Isolated,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    backend: String,
    iptables_admin_chain_name: String,
    firewalld_zone: String,
    ingress_policy: String,
}

impl Config {
    /// Reads and checks the configuration of a request. Errors: code 6 and 7.
    pub fn load(request: &Request) -> Result<Config, CniError> {
        let keys: Keys = request.config()?;
        let ingress = match &keys.ingress_policy[..] {
            "" | "open" => Ingress::Open,
            "same-bridge" => Ingress::SameBridge,
            "isolated" => Ingress::Isolated,
            other => {
                let text = format!("unknown ingress policy: {other:?}");
                return Err(CniError::config(text).with_details("ingressPolicy is open, same-bridge or isolated"));
            }
        };
        Ok(Config { ingress, ..keys.rest()? })
    }

    /// For DEL: what cannot be read is as if it were not said.
    pub fn load_lenient(request: &Request) -> Config {
        Config::load(request).unwrap_or_else(|_| {
            let keys: Keys = request.config().unwrap_or_default();
            keys.rest().unwrap_or(Config {
                backend: Backend::Automatic,
                admin_chain: or(String::new(), "CNI-ADMIN"),
                zone: or(String::new(), "trusted"),
                ingress: Ingress::Open,
            })
        })
    }
}

impl Keys {
    /// All but the ingress policy.
    fn rest(self) -> Result<Config, CniError> {
        let backend = match &self.backend[..] {
            "iptables" => Backend::Iptables,
            "firewalld" => Backend::Firewalld,
            _ => Backend::Automatic,
        };
        let admin_chain = or(self.iptables_admin_chain_name, "CNI-ADMIN");
        let printable = admin_chain.bytes().all(|byte| byte.is_ascii_graphic());
        if !printable || admin_chain.len() > CHAIN_NAME_MAX || admin_chain.starts_with(['-', '!']) {
            return Err(CniError::config(format!(
                "iptablesAdminChainName {admin_chain:?} is no name of a chain: at most {CHAIN_NAME_MAX} printable ASCII \
                 characters without a blank, the first neither - nor !"
            )));
        }
        if TAKEN.contains(&&admin_chain[..]) {
            return Err(CniError::config(format!(
                "iptablesAdminChainName {admin_chain:?} is a name with another meaning: take one of your own, CNI-ADMIN is \
                 the default"
            )));
        }
        Ok(Config { backend, admin_chain, zone: or(self.firewalld_zone, "trusted"), ingress: Ingress::Open })
    }
}

/// Empty means the default.
fn or(text: String, default: &str) -> String {
    if text.is_empty() { default.to_owned() } else { text }
}
