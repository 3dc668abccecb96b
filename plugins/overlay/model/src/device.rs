//! The tunnel device: what it must be, and what to change on the one that is there.
//!
//! The kernel changes the local address, the lower device, learning, MAC and MTU of a live VXLAN device in place; VNI, port,
//! outer family and the external mode it does not (`drivers/net/vxlan/vxlan_core.c`, `vxlan_nl2conf`, `vxlan_changelink`).
//! So a node's new address costs no packet, where flannel deletes and creates.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::mac::Mac;
use crate::mtu;
use crate::peers::Peers;

/// The interface that carries this node's underlay address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Underlay {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// Its MTU in bytes.
    pub mtu: u32,
}

/// What the device must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceSpec {
    /// `flannel.<vni>`.
    pub name: String,
    /// VXLAN network identifier.
    pub vni: u32,
    /// UDP port, host order.
    pub port: u16,
    /// Source address of the tunnel's packets.
    pub local: IpAddr,
    /// Index of the interface beneath.
    pub lower: u32,
    /// Its MAC, part of the create request: udev's `MACAddressPolicy=persistent` rewrites MACs that were not given.
    pub mac: Mac,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Who owns it, [`OWNER`] and the state directory: by this `cleanup` finds it, and two agents notice each other.
    pub alias: String,
    /// The base address of each of the node's subnets as a host address: source of what the host itself sends to pods.
    /// A /32 (/128) because no connected route may appear.
    pub addresses: BTreeSet<IpNet>,
    /// The networks in which no other address may stand on the device.
    pub networks: Vec<IpNet>,
}

/// What the device is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceFacts {
    /// Link kind as the kernel names it; `None` for hardware.
    pub kind: Option<String>,
    /// VXLAN network identifier.
    pub vni: u32,
    /// UDP port, host order.
    pub port: u16,
    /// Source address of the tunnel's packets.
    pub local: Option<IpAddr>,
    /// Index of the interface beneath, 0 if none.
    pub lower: u32,
    /// Collect-metadata mode: remote and VNI come with the packet, the FDB is not asked.
    pub external: bool,
    /// Whether it learns MACs from packets, which lets one forged packet redirect a peer.
    pub learning: bool,
    /// Its MAC.
    pub mac: Mac,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Its alias, `IFLA_IFALIAS`.
    pub alias: Option<String>,
    /// Administratively up.
    pub up: bool,
    /// Its addresses.
    pub addresses: BTreeSet<IpNet>,
}

/// One step towards the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceOperation {
    /// Remove it; the text says what cannot be changed in place.
    Delete(String),
    /// Create it, down, with everything but alias and addresses.
    Create,
    /// Set local address, lower device and learning.
    Change,
    /// Set the MAC. The kernel forgets all neighbours then.
    SetMac,
    /// Set the MTU.
    SetMtu,
    /// Write our name on it.
    SetAlias,
    /// Remove an address.
    DeleteAddress(IpNet),
    /// Add an address.
    AddAddress(IpNet),
    /// Set it up.
    Up,
}

/// The first word of the alias of a device of ours; the state directory follows.
pub const OWNER: &str = "fairlead-overlay ";

/// A link with the device's name that is not ours to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameTaken {
    /// It is no VXLAN device: the name and the kind.
    OtherKind(String, String),
    /// Another agent made it: the name and that agent's state directory.
    OtherAgent(String, String),
}

impl fmt::Display for NameTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameTaken::OtherKind(name, kind) => write!(
                f,
                "{name} exists and is not a VXLAN device but {kind}: rename or remove it, or choose another vni in the peers file"
            ),
            NameTaken::OtherAgent(name, state_dir) => write!(
                f,
                "{name} belongs to the fairlead-overlay with the state directory {state_dir}: stop that one and run \
                 `fairlead-overlay cleanup --state-dir {state_dir}`, or choose another vni in the peers file"
            ),
        }
    }
}

impl std::error::Error for NameTaken {}

impl DeviceSpec {
    /// The device that `peers` ask for above `underlay`, made by the agent with that state directory.
    pub fn new(peers: &Peers, underlay: &Underlay, state_dir: &str) -> Result<DeviceSpec, mtu::TooSmall> {
        Ok(DeviceSpec {
            name: peers.device_name(),
            vni: peers.vni,
            port: peers.port,
            local: peers.me.address,
            lower: underlay.index,
            mac: peers.me.mac,
            mtu: mtu::inner(underlay.mtu, &peers.me.address, peers.ipv6_network.is_some())?,
            alias: format!("{OWNER}{state_dir}"),
            addresses: peers.me.subnets().map(|subnet| IpNet::from(subnet.network())).collect(),
            networks: peers.networks().collect(),
        })
    }

    /// The steps from `actual` (`None`: no such link) to this.
    pub fn diff(&self, actual: Option<&DeviceFacts>) -> Result<Vec<DeviceOperation>, NameTaken> {
        let mut steps = Vec::new();
        let Some(actual) = actual else {
            self.create(&mut steps);
            return Ok(steps);
        };
        if actual.kind.as_deref() != Some("vxlan") {
            let kind = actual.kind.as_deref().unwrap_or("hardware");
            return Err(NameTaken::OtherKind(self.name.clone(), kind.to_owned()));
        }
        let alias = actual.alias.as_deref();
        if let Some(other) = alias.filter(|alias| *alias != self.alias).and_then(|alias| alias.strip_prefix(OWNER)) {
            return Err(NameTaken::OtherAgent(self.name.clone(), other.to_owned()));
        }
        if let Some(reason) = self.unchangeable(actual) {
            steps.push(DeviceOperation::Delete(reason));
            self.create(&mut steps);
            return Ok(steps);
        }
        if actual.local != Some(self.local) || actual.lower != self.lower || actual.learning {
            steps.push(DeviceOperation::Change);
        }
        if actual.mac != self.mac {
            steps.push(DeviceOperation::SetMac);
        }
        if actual.mtu != self.mtu {
            steps.push(DeviceOperation::SetMtu);
        }
        if alias != Some(self.alias.as_str()) {
            steps.push(DeviceOperation::SetAlias);
        }
        let inside = |address: &&IpNet| self.networks.iter().any(|network| network.contains(&address.addr()));
        let foreign = actual.addresses.iter().filter(inside).filter(|address| !self.addresses.contains(*address));
        // The new address first: the kernel flushes the device's IPv4 routes when its last IPv4 address goes.
        let new = self.addresses.difference(&actual.addresses).cloned();
        steps.extend(new.map(DeviceOperation::AddAddress));
        steps.extend(foreign.map(|address| DeviceOperation::DeleteAddress(*address)));
        if !actual.up {
            steps.push(DeviceOperation::Up);
        }
        Ok(steps)
    }

    fn create(&self, steps: &mut Vec<DeviceOperation>) {
        steps.extend([DeviceOperation::Create, DeviceOperation::SetAlias]);
        steps.extend(self.addresses.iter().cloned().map(DeviceOperation::AddAddress));
        steps.push(DeviceOperation::Up);
    }

    /// What of `actual` differs and only a new device can have.
    fn unchangeable(&self, actual: &DeviceFacts) -> Option<String> {
        if actual.vni != self.vni {
            return Some(format!("its VNI is {}, not {}", actual.vni, self.vni));
        }
        if actual.port != self.port {
            return Some(format!("its port is {}, not {}", actual.port, self.port));
        }
        if actual.external {
            return Some("it is an external (collect metadata) device".into());
        }
        match actual.local {
            Some(local) if local.is_ipv4() == self.local.is_ipv4() => None,
            Some(local) => Some(format!("its local address is {local}, of another family than {}", self.local)),
            None => Some("it has no local address".into()),
        }
    }

    /// A step as one would type it.
    pub fn describe(&self, step: &DeviceOperation, lower: &str) -> String {
        let DeviceSpec { name, vni, port, local, mac, mtu, .. } = self;
        match step {
            DeviceOperation::Delete(reason) => format!("ip link del {name} ({reason})"),
            DeviceOperation::Create => format!(
                "ip link add {name} address {mac} mtu {mtu} type vxlan id {vni} dev {lower} local {local} dstport {port} nolearning"
            ),
            DeviceOperation::Change => format!("ip link set {name} type vxlan dev {lower} local {local} nolearning"),
            DeviceOperation::SetMac => format!("ip link set {name} address {mac}"),
            DeviceOperation::SetMtu => format!("ip link set {name} mtu {mtu}"),
            DeviceOperation::SetAlias => format!("ip link set {name} alias '{}'", self.alias),
            DeviceOperation::DeleteAddress(address) => format!("ip addr del {address} dev {name}"),
            DeviceOperation::AddAddress(address) => format!("ip addr add {address} dev {name}"),
            DeviceOperation::Up => format!("ip link set {name} up"),
        }
    }
}
