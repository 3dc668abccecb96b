//! Wires: a veth pair as a cable, a bridge in its own namespace as a switch.

use anyhow::Result;

use super::place::Place;
use super::{Lab, Node};

pub(super) fn cable(a: &Node, a_address: &str, b: &Node, b_address: &str) -> Result<()> {
    let far = netns_name(b);
    a.sh(&format!("ip link add eth0 type veth peer name eth0 netns {far}"))?;
    bring_up(a, "eth0", &[a_address])?;
    bring_up(b, "eth0", &[b_address])
}

/// A learning switch without spanning tree. Plug in as many nodes as there are.
#[derive(Clone, Debug)]
pub struct Switch {
    place: Place,
}

impl Switch {
    pub(super) fn new(lab: &Lab, name: &str) -> Result<Self> {
        let netns = Some(lab.add_netns(name)?);
        let place = Place {
            name: name.into(),
            netns,
            mount_ns: None,
            cgroup: Some(lab.cgroup.clone()),
            files: lab.dir.clone(),
        };
        place.sh("ip link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0")?;
        place.sh("ip link set br0 up")?;
        Ok(Self { place })
    }

    /// Connects `node` by a device of this name with these addresses (CIDR, either family).
    pub fn plug(&self, node: &Node, device: &str, addresses: &[&str]) -> Result<()> {
        // The port's name: 15 bytes at most, so the node's name is cut and its namespace's inode makes it unique.
        let port = format!("p{:x}", super::namespace_id(node.netns())?);
        let switch = netns_name(&self.place);
        node.sh(&format!("ip link add {device} type veth peer name {port} netns {switch}"))?;
        self.place.sh(&format!("ip link set {port} master br0 up"))?;
        bring_up(node, device, addresses)
    }

    /// Pulls the plug of `node`: the link goes down, addresses stay.
    pub fn unplug(&self, node: &Node) -> Result<()> {
        let port = format!("p{:x}", super::namespace_id(node.netns())?);
        self.place.sh(&format!("ip link set {port} down"))?;
        Ok(())
    }

    /// The switch's own place: for captures of what passes through `br0`.
    pub fn place(&self) -> &Place {
        &self.place
    }
}

fn bring_up(place: &Place, device: &str, addresses: &[&str]) -> Result<()> {
    for address in addresses {
        // The lab's addresses are unique by construction: nothing to wait a second for.
        let flag = if address.contains(':') { " nodad" } else { "" };
        place.sh(&format!("ip addr add {address} dev {device}{flag}"))?;
    }
    place.sh(&format!("ip link set {device} up"))?;
    Ok(())
}

/// The name `ip` knows a namespace by: the last part of its path.
pub fn netns_name(place: &Place) -> String {
    place.netns().file_name().unwrap_or_default().to_string_lossy().into_owned()
}
