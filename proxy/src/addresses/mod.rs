//! This node's addresses at which NodePorts are served, as they come and go: those that the kernel has and the operator's
//! `nodePortAddresses` means. kube-proxy looks at them when it writes everything anew; here an event of rtnetlink says so.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::{Context, Result};
use fairlead_kernel::addr;
use fairlead_kernel::events::Events;
use fairlead_kernel::netlink::Socket;
use fairlead_proxy_model::{Change, NodeFact};
use tokio::io::unix::AsyncFd;

use crate::config::{Config, NodePortAddresses, Primary, SourceConfig};

/// What decides which of the addresses count.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rules {
    node_ports: NodePortAddresses,
    /// The operator's word on the node's own address, before the Node's.
    bind_address: Option<IpAddr>,
    /// Whether there is an API server that knows the node. Without one nobody may say which addresses are primary.
    node_is_known: bool,
}

impl Rules {
    fn new(config: &Config) -> Self {
        Self {
            node_ports: config.node_ports.clone(),
            bind_address: config.bind_address,
            node_is_known: matches!(config.source, SourceConfig::Kubernetes(_)),
        }
    }

    /// The primary addresses (detectNodeIPs, cmd/kube-proxy/app/server.go): of each family the first of the Node's, which has
    /// internal ones before external ones, unless the operator says another.
    fn primary(&self, node: &[IpAddr]) -> Primary {
        let said: Vec<IpAddr> = self.bind_address.into_iter().chain(node.iter().copied()).collect();
        let first = |is_ipv4| said.iter().find(|address| address.is_ipv4() == is_ipv4).copied();
        let known: Vec<IpAddr> = [first(true), first(false)].into_iter().flatten().collect();
        match known.is_empty() && !self.node_is_known {
            true => Primary::Any,
            false => Primary::Known(known),
        }
    }
}

/// The addresses under watch.
#[derive(Debug)]
pub struct OwnAddresses {
    events: AsyncFd<Events>,
    socket: Socket,
    rules: Rules,
    /// What the Node says.
    node: Vec<IpAddr>,
    /// What may have changed since the last look.
    stale: bool,
    /// What was last told.
    told: Option<BTreeSet<IpAddr>>,
}

impl OwnAddresses {
    /// Starts to watch, in the network namespace of the calling thread; nothing is read yet. Needs a running tokio.
    pub fn open(config: &Config) -> Result<Self> {
        let events = Events::open_for_addresses()?;
        #[expect(
            deprecated,
            reason = "its replacement is unsafe, for types that lie about their descriptor; Events does not"
        )]
        let events = AsyncFd::new(events).context("register the netlink event socket")?;
        Ok(Self {
            events,
            socket: Socket::open()?,
            rules: Rules::new(config),
            node: Vec::new(),
            stale: true,
            told: None,
        })
    }

    /// Waits until there may be something to [`load`](Self::load). May be dropped and called again at any time.
    pub async fn changed(&mut self) -> Result<()> {
        while !self.stale {
            let mut ready = self.events.readable_mut().await.context("wait for changes of this node's addresses")?;
            let mut seen = false;
            ready.get_inner_mut().drain(|_| seen = true)?;
            ready.clear_ready();
            self.stale = seen;
        }
        Ok(())
    }

    /// What is to be told to the model; `None`: what it knows is still so. Costs nothing while nothing has changed: a node has
    /// as many addresses as pods, and this is asked with every change of a service.
    pub fn load(&mut self) -> Result<Option<Change>> {
        if !std::mem::take(&mut self.stale) {
            return Ok(None);
        }
        let addresses = match addr::list(&mut self.socket, 0) {
            Ok(addresses) => addresses,
            Err(error) => {
                self.stale = true;
                return Err(error.into());
            }
        };
        let primary = self.rules.primary(&self.node);
        let chosen = self.rules.node_ports.select(addresses.iter().map(|address| address.net.addr()), &primary);
        if self.told.as_ref() == Some(&chosen) {
            return Ok(None);
        }
        self.told = Some(chosen.clone());
        Ok(Some(Change::OwnAddresses(chosen)))
    }

    /// What this node's Node says now; `None`: there is none.
    pub fn set_node(&mut self, node: Option<&NodeFact>) {
        let addresses = node.map_or(&[][..], |node| &node.addresses);
        if self.node != addresses {
            self.node = addresses.to_vec();
            self.stale = true;
        }
    }

    /// Takes up another configuration.
    pub fn set_config(&mut self, config: &Config) {
        let rules = Rules::new(config);
        if self.rules != rules {
            self.rules = rules;
            self.stale = true;
        }
    }

    /// Looks again at the next [`load`](Self::load), whatever the events say.
    pub fn rescan(&mut self) {
        self.stale = true;
    }

    /// What an operator should know about them, after the first load.
    pub fn problem(&self) -> Option<String> {
        let told = self.told.as_ref()?;
        if !told.is_empty() || !self.rules.node_ports.needs_primary() {
            return None;
        }
        Some(match self.rules.primary(&self.node) {
            Primary::Known(known) if known.is_empty() => {
                "NodePorts are served at no address of this node: nodePortAddresses is primary, and its Node has no address \
                 (or there is no Node of this name)"
                    .to_owned()
            }
            Primary::Known(known) => {
                let known: Vec<String> = known.iter().map(ToString::to_string).collect();
                format!(
                    "NodePorts are served at no address of this node: nodePortAddresses is primary, which is {}, and no \
                     interface has it",
                    known.join(" and ")
                )
            }
            Primary::Any => "NodePorts are served at no address of this node: it has none but loopback".to_owned(),
        })
    }
}
