//! What an attachment's forwards are, decided before anything is done: ADD makes it true, CHECK compares it with the kernel.

use std::net::{IpAddr, SocketAddr};

use fairlead_kernel::nft::{Forward, Group, Masquerade};
use fairlead_protocol::{CniError, CniResult};
use ipnet::IpNet;

use super::config::{Config, Mapping};

/// The forwards of an attachment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// One for each family that has a forward.
    pub groups: Vec<Group>,
    /// The container's IPv4 address, if connections from the node's 127.0.0.1 are to reach it.
    pub loopback_to: Option<IpAddr>,
}

impl Plan {
    /// The plan for the container that `result` tells of. Errors: code 7, two mappings ask for the same port and lead to
    /// different ones.
    pub fn new(config: &Config, result: &CniResult, ifname: &str) -> Result<Plan, CniError> {
        let mut plan = Plan::default();
        for v4 in [true, false] {
            let Some(container) = address_of(result, ifname, v4) else { continue };
            let forwards = forwards(&config.mappings, container.addr())?;
            if forwards.is_empty() {
                continue;
            }
            let masquerade = match (config.snat, config.masquerade_all) {
                (false, _) => Masquerade::Nothing,
                (true, false) => Masquerade::From(container.trunc()),
                (true, true) => Masquerade::Everything,
            };
            let conditions = if v4 { &config.conditions_v4 } else { &config.conditions_v6 }.clone();
            plan.groups.push(Group { forwards, conditions, masquerade, bit: config.mark_bit });
            if v4 && config.snat {
                plan.loopback_to = Some(container.addr());
            }
        }
        Ok(plan)
    }

    /// All of them.
    pub fn forwards(&self) -> impl Iterator<Item = &Forward> {
        self.groups.iter().flat_map(|group| &group.forwards)
    }
}

/// The container's first address of a family: one that is said to be of the interface in the container, or of none that is
/// known.
fn address_of(result: &CniResult, ifname: &str, v4: bool) -> Option<IpNet> {
    let of_container = |ip: &&fairlead_protocol::IpConfig| {
        result.interface_of(ip).is_none_or(|interface| interface.name == ifname && !interface.sandbox.is_empty())
    };
    let found = result.ips.iter().filter(of_container).map(|ip| ip.address);
    found.into_iter().find(|address| address.addr().is_ipv4() == v4)
}

/// The mappings that concern this address's family.
fn forwards(mappings: &[Mapping], to: IpAddr) -> Result<Vec<Forward>, CniError> {
    let mut all: Vec<Forward> = Vec::new();
    for mapping in mappings {
        if mapping.host_ip.is_some_and(|host| host.is_ipv4() != to.is_ipv4()) {
            continue;
        }
        let forward = Forward {
            protocol: mapping.protocol,
            host: mapping.host_ip.filter(|host| !host.is_unspecified()),
            port: mapping.host_port,
            to: SocketAddr::new(to, mapping.container_port),
        };
        match all.iter().find(|other| other.asks_for_the_same(&forward)) {
            None => all.push(forward),
            // Said twice, or once for all addresses and once for 0.0.0.0.
            Some(other) if *other == forward => {}
            Some(other) => {
                let text = format!("runtimeConfig.portMappings: {other} and {forward} are both asked for: keep one");
                return Err(CniError::config(text));
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
