//! What must hold of the nodes of an overlay, each alone and between them; the first breach is the error, and it names
//! both parties.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::mac::Mac;
use crate::peers::{At, Declared, DeclaredNode, MAX_VNI, Node, Peers, PeersError};

impl Declared {
    /// Checks everything that must hold and takes the view of the node `me`.
    pub fn validate(self, me: &str) -> Result<Peers, PeersError> {
        let vni = self.vni()?;
        let port = self.port()?;
        self.check_networks()?;
        let mut seen = Seen::default();
        let mut nodes = BTreeMap::new();
        for declared in &self.nodes {
            let mac = self.check_node(declared, vni)?;
            seen.enter(declared, mac)?;
            let node = Node {
                name: declared.name.value.clone(),
                address: declared.address.value,
                subnet: declared.subnet.as_ref().map(|at| at.value),
                ipv6_subnet: declared.ipv6_subnet.as_ref().map(|at| at.value),
                mac,
            };
            nodes.insert(node.name.clone(), node);
        }
        seen.check_overlaps()?;
        let me = nodes.remove(me).ok_or_else(|| absent(me, &self.nodes))?;
        Ok(Peers {
            network: self.network.map(|at| at.value),
            ipv6_network: self.ipv6_network.map(|at| at.value),
            vni,
            port,
            me,
            others: nodes,
        })
    }

    fn vni(&self) -> Result<u32, PeersError> {
        let At { value, line } = self.vni;
        u32::try_from(value).ok().filter(|vni| (1..=MAX_VNI).contains(vni)).ok_or_else(|| {
            PeersError::at(line, format!("vni: {value} is not in 1 to {MAX_VNI} (the device is called flannel.<vni>)"))
        })
    }

    fn port(&self) -> Result<u16, PeersError> {
        let At { value, line } = self.port;
        u16::try_from(value)
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(|| PeersError::at(line, format!("port: {value} is not a UDP port, 1 to 65535")))
    }

    fn check_networks(&self) -> Result<(), PeersError> {
        if self.network.is_none() && self.ipv6_network.is_none() {
            return Err(PeersError::at(0, "neither network nor ipv6Network is given: an overlay needs at least one"));
        }
        let v4 = self.network.iter().map(|at| ("network", At { value: IpNet::V4(at.value), line: at.line }));
        let v6 = self.ipv6_network.iter().map(|at| ("ipv6Network", At { value: IpNet::V6(at.value), line: at.line }));
        for (field, At { value, line }) in v4.chain(v6) {
            no_host_bits(field, value, line)?;
        }
        Ok(())
    }

    /// What can be said of one node alone. Returns its MAC.
    fn check_node(&self, node: &DeclaredNode, vni: u32) -> Result<Mac, PeersError> {
        check_name(&node.name)?;
        let name = &node.name.value;
        self.check_address(name, &node.address)?;
        if node.subnet.is_none() && node.ipv6_subnet.is_none() {
            return Err(PeersError::at(node.name.line, format!("node {name:?} has neither subnet nor ipv6Subnet")));
        }
        let network = self.network.as_ref().map(|at| IpNet::V4(at.value));
        let network6 = self.ipv6_network.as_ref().map(|at| IpNet::V6(at.value));
        for (field, of, subnet, network) in [
            ("subnet", "network", node.subnet.as_ref().map(|at| (IpNet::V4(at.value), at.line)), network),
            ("ipv6Subnet", "ipv6Network", node.ipv6_subnet.as_ref().map(|at| (IpNet::V6(at.value), at.line)), network6),
        ] {
            let Some((subnet, line)) = subnet else { continue };
            let fault = |message: String| Err(PeersError::at(line, format!("{field} of node {name:?}: {message}")));
            no_host_bits(&format!("{field} of node {name:?}"), subnet, line)?;
            match network {
                None => return fault(format!("{subnet} is given, but the file has no {of}")),
                Some(network) if !network.contains(&subnet) => {
                    return fault(format!("{subnet} is not inside {of} {network}"));
                }
                Some(_) => {}
            }
            if subnet.max_prefix_len() - subnet.prefix_len() < 2 {
                return fault(format!(
                    "{subnet} is too small: it holds the tunnel's address, the bridge's and then the pods'"
                ));
            }
        }
        match &node.mac {
            None => Ok(Mac::derived(name, vni)),
            Some(At { value, .. }) if value.is_unicast() => Ok(*value),
            Some(At { value, line }) => {
                Err(PeersError::at(*line, format!("mac of node {name:?}: {value} is not a unicast address")))
            }
        }
    }

    fn check_address(&self, name: &str, address: &At<IpAddr>) -> Result<(), PeersError> {
        let At { value, line } = address;
        let wrong = match value {
            _ if value.is_unspecified() || value.is_loopback() || value.is_multicast() => true,
            IpAddr::V4(v4) => v4.is_broadcast(),
            // A link-local address means nothing without an interface, and the others do not know ours.
            IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.to_ipv4_mapped().is_some(),
        };
        if wrong {
            let message = format!("address of node {name:?}: {value} is not an address other nodes can send to");
            return Err(PeersError::at(*line, message));
        }
        let v4 = self.network.iter().map(|at| IpNet::V4(at.value));
        let v6 = self.ipv6_network.iter().map(|at| IpNet::V6(at.value));
        match v4.chain(v6).find(|network| network.contains(value)) {
            Some(network) => Err(PeersError::at(
                *line,
                format!(
                    "address of node {name:?}: {value} lies inside {network}: the tunnel would carry its own packets"
                ),
            )),
            None => Ok(()),
        }
    }
}

/// What must be unique among the nodes, with who has it.
#[derive(Default)]
struct Seen<'a> {
    names: BTreeMap<&'a str, &'a DeclaredNode>,
    addresses: BTreeMap<IpAddr, &'a DeclaredNode>,
    macs: BTreeMap<Mac, &'a DeclaredNode>,
    subnets: BTreeMap<IpNet, (&'a DeclaredNode, u64)>,
    first: Option<&'a DeclaredNode>,
}

impl<'a> Seen<'a> {
    fn enter(&mut self, node: &'a DeclaredNode, mac: Mac) -> Result<(), PeersError> {
        let name = &node.name.value;
        if let Some(other) = self.names.insert(name, node) {
            return Err(PeersError::at(
                node.name.line,
                format!("two nodes are called {name:?}; the first stands {}", at_line(other.name.line)),
            ));
        }
        let first = self.first.get_or_insert(node);
        if first.address.value.is_ipv4() != node.address.value.is_ipv4() {
            return Err(PeersError::at(
                node.address.line,
                format!(
                    "address of node {name:?} is {}, that of node {:?} is {} {}: one tunnel device has one family outside",
                    node.address.value,
                    first.name.value,
                    first.address.value,
                    at_line(first.address.line)
                ),
            ));
        }
        if let Some(other) = self.addresses.insert(node.address.value, node) {
            return Err(both(
                node,
                other,
                node.address.line,
                other.address.line,
                &format!("have the address {}", node.address.value),
            ));
        }
        if let Some(other) = self.macs.insert(mac, node) {
            let line_of = |node: &DeclaredNode| node.mac.as_ref().map_or(node.name.line, |at| at.line);
            let what = format!("have the MAC {mac}, given or derived from the name; give one of them another");
            return Err(both(node, other, line_of(node), line_of(other), &what));
        }
        let v4 = node.subnet.iter().map(|at| (IpNet::V4(at.value), at.line));
        let v6 = node.ipv6_subnet.iter().map(|at| (IpNet::V6(at.value), at.line));
        for (subnet, line) in v4.chain(v6) {
            if let Some((other, other_line)) = self.subnets.insert(subnet, (node, line)) {
                return Err(both(node, other, line, other_line, &format!("claim the subnet {subnet}")));
            }
        }
        Ok(())
    }

    /// In the order of (base address, length) a subnet that overlaps another follows it or what lies inside it: it is
    /// enough to compare each with the widest so far.
    fn check_overlaps(&self) -> Result<(), PeersError> {
        let mut widest: Option<(&IpNet, &(&DeclaredNode, u64))> = None;
        for (subnet, entry) in &self.subnets {
            match widest {
                Some((outer, (other, other_line))) if outer.contains(subnet) => {
                    let (node, line) = entry;
                    let what = format!("claim subnets that overlap, {subnet} and {outer}");
                    return Err(both(node, other, *line, *other_line, &what));
                }
                _ => widest = Some((subnet, entry)),
            }
        }
        Ok(())
    }
}

fn both(node: &DeclaredNode, other: &DeclaredNode, line: u64, other_line: u64, what: &str) -> PeersError {
    // The later line is where the reader's editor should open; the earlier one is named.
    let (late, early, line, early_line) =
        if line >= other_line { (node, other, line, other_line) } else { (other, node, other_line, line) };
    PeersError::at(
        line,
        format!(
            "nodes {:?} and {:?} both {what} ({:?} {})",
            early.name.value,
            late.name.value,
            early.name.value,
            at_line(early_line)
        ),
    )
}

fn at_line(line: u64) -> String {
    if line == 0 { "earlier".into() } else { format!("at line {line}") }
}

fn no_host_bits(field: &str, net: IpNet, line: u64) -> Result<(), PeersError> {
    if net == net.trunc() {
        return Ok(());
    }
    Err(PeersError::at(line, format!("{field}: {net} has host bits set; did you mean {}?", net.trunc())))
}

/// A name is what people type and logs print: a Kubernetes node name (RFC 1123 subdomain) or anything as tame.
fn check_name(name: &At<String>) -> Result<(), PeersError> {
    let tame = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let At { value, line } = name;
    if value.is_empty() || value.len() > 253 || !value.chars().all(tame) {
        let message = format!("name: {value:?} is not 1 to 253 letters, digits, '-', '.' or '_'");
        return Err(PeersError::at(*line, message));
    }
    Ok(())
}

fn absent(me: &str, nodes: &[DeclaredNode]) -> PeersError {
    let mut names: Vec<&str> = nodes.iter().take(8).map(|node| node.name.value.as_str()).collect();
    if nodes.len() > names.len() {
        names.push("…");
    }
    let has = if names.is_empty() { "no nodes at all".into() } else { names.join(", ") };
    PeersError::at(0, format!("this node, {me:?}, is not among the nodes; the file has {has}"))
}
