//! One pass: look at the kernel, let the model compare, do what is missing.

use anyhow::{Context, Result, bail};
use fairlead_kernel::netlink::Socket;
use fairlead_overlay_model::device::{DeviceSpec, OWNER};
use fairlead_overlay_model::tables::{Conflict, diff};
use fairlead_overlay_model::{Peers, SubnetFile, subnet_env};

use crate::state::Device;
use crate::{apply, observe, sysctl};

/// What a pass found and did.
#[derive(Debug)]
pub struct Pass {
    /// The device as it should be and is.
    pub device: Device,
    /// Its index.
    pub index: u32,
    /// Index of the interface beneath.
    pub lower: u32,
    /// What the subnet file must say.
    pub subnet_env: String,
    /// Steps done to the device, sysctls and tables.
    pub changes: usize,
    /// Peers of which something was set.
    pub peers_set: Vec<String>,
    /// Entries removed.
    pub removed: usize,
    /// What did not succeed, one sentence each.
    pub failures: Vec<String>,
    /// Routes of others in the way.
    pub conflicts: Vec<Conflict>,
}

/// Makes the kernel as `peers` say. An error is one of the device, without which there is nothing to do; what concerns
/// single peers stands in the result.
pub fn pass(socket: &mut Socket, peers: &Peers, state_dir: &str) -> Result<Pass> {
    let me = &peers.me;
    let Some(underlay) = observe::underlay(socket, me.address)? else {
        bail!(
            "no interface has {}, the address of node {:?}: correct it in the peers file, or bring the interface up",
            me.address,
            me.name
        );
    };
    let spec = DeviceSpec::new(peers, &underlay, state_dir).with_context(|| format!("interface {}", underlay.name))?;
    apply::remove_leftovers(socket, &spec)?;
    let found = observe::device(socket, &spec.name)?;
    let steps = spec.diff(found.as_ref().map(|(_, facts)| facts))?;
    let (index, mut changes) = apply::device(socket, &spec, &underlay, found.map(|(index, _)| index), &steps)?;
    let mut failures = Vec::new();
    match sysctl::forward(peers) {
        Ok(changed) => changes += apply::sysctls(changed),
        Err(error) => failures.push(format!("{error:#}")),
    }
    let (tables, foreign) = observe::tables(socket, index, peers)?;
    let plan = diff(peers, &tables, &foreign);
    let applied = apply::tables(socket, &spec.name, index, &plan);
    failures.extend(applied.failures);
    Ok(Pass {
        index,
        lower: underlay.index,
        subnet_env: subnet_file(peers, spec.mtu).format(),
        changes: changes + applied.done,
        peers_set: plan.set.into_iter().map(|change| change.peer).collect(),
        removed: plan.remove.len(),
        failures,
        conflicts: plan.conflicts,
        device: Device { name: spec.name, mac: spec.mac, mtu: spec.mtu, local: spec.local, lower: underlay.name },
    })
}

/// What the CNI side may give to pods. We do not masquerade, so the plugin must.
fn subnet_file(peers: &Peers, mtu: u32) -> SubnetFile {
    let host = |subnet: ipnet::IpNet| subnet_env::gateway(subnet);
    let ipv4 = peers.network.zip(peers.me.subnet).and_then(|(network, subnet)| match host(subnet.into()) {
        ipnet::IpNet::V4(gateway) => Some((network, gateway)),
        ipnet::IpNet::V6(_) => None,
    });
    let ipv6 = peers.ipv6_network.zip(peers.me.ipv6_subnet).and_then(|(network, subnet)| match host(subnet.into()) {
        ipnet::IpNet::V6(gateway) => Some((network, gateway)),
        ipnet::IpNet::V4(_) => None,
    });
    SubnetFile { ipv4, ipv6, mtu, ip_masq: false }
}

/// The longest state directory that fits into a device's alias beside [`OWNER`] (`IFALIASZ` is 256 with its zero).
pub const STATE_DIR_LIMIT: usize = 255 - OWNER.len();
