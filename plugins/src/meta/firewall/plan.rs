//! What an attachment needs of the node's firewall, decided before anything is done.

use std::net::IpAddr;

use fairlead_protocol::{CniError, CniResult};

use super::config::{Config, Ingress};

/// An attachment with its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The container's addresses, each once.
    pub addresses: Vec<IpAddr>,
    /// Whom its bridge is shut to.
    pub isolation: Option<Isolation>,
}

/// A bridge that is shut to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Isolation {
    /// The bridge: the first interface of the result, as the reference has it.
    pub bridge: String,
    /// The container's port of the bridge, if it may not be reached from other ports either. `None`: it may, or the result
    /// names none.
    pub port: Option<String>,
    /// Whether other ports of the bridge are others.
    pub strict: bool,
}

impl Plan {
    /// The plan of what the plugins before made. Errors: code 7 when the policy needs a bridge and the result names none.
    pub fn new(config: &Config, previous: &CniResult) -> Result<Plan, CniError> {
        let mut addresses = Vec::new();
        for ip in &previous.ips {
            if !addresses.contains(&ip.address.addr()) {
                addresses.push(ip.address.addr());
            }
        }
        let strict = match config.ingress {
            Ingress::Open => return Ok(Plan { addresses, isolation: None }),
            Ingress::SameBridge => false,
            Ingress::Isolated => true,
        };
        let policy = if strict { "isolated" } else { "same-bridge" };
        let Some(bridge) = previous.interfaces.first() else {
            return Err(CniError::config(format!(
                "interface needs to be set for ingress policy {policy:?}, make sure to chain \"firewall\" plugin with \
                 \"bridge\""
            )));
        };
        if bridge.name.is_empty() || !bridge.sandbox.is_empty() {
            let text = format!("got empty bridge name for ingress policy {policy:?}");
            let text = if bridge.name.is_empty() { text } else { format!("{} is no bridge of the node", bridge.name) };
            return Err(CniError::config(text).with_details(
                "the first interface of prevResult is taken for the bridge: chain \"firewall\" right behind \"bridge\"",
            ));
        }
        let on_node = previous.interfaces.iter().skip(1).find(|one| one.sandbox.is_empty() && !one.name.is_empty());
        let port = on_node.filter(|_| strict).map(|one| one.name.clone());
        // Without an address the reference shuts nothing: it goes by the families of the addresses.
        let isolation = (!addresses.is_empty()).then(|| Isolation { bridge: bridge.name.clone(), port, strict });
        Ok(Plan { addresses, isolation })
    }
}
