//! Doing what the model decided, step by step, each step one message to the kernel.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use fairlead_kernel::netlink::Socket;
use fairlead_kernel::{Error, Mac, addr, error::Errno, fdb, link, neigh, route, vxlan};
use fairlead_overlay_model::device::{DeviceOperation, DeviceSpec, Underlay};
use fairlead_overlay_model::tables::{Operation, Plan, ROUTE_PROTOCOL};
use tracing::{debug, info};

use crate::{observe, sysctl};

/// Does the steps towards the device and gives its index and how much was done. `index` is that of the device that is
/// there, if one is.
pub fn device(
    socket: &mut Socket,
    spec: &DeviceSpec,
    underlay: &Underlay,
    mut index: Option<u32>,
    steps: &[DeviceOperation],
) -> Result<(u32, usize)> {
    let ipv6 = spec.addresses.iter().any(|net| net.addr().is_ipv6());
    let mut done = steps.len();
    let creates = steps.contains(&DeviceOperation::Create);
    if !creates {
        done += sysctls(sysctl::device(ipv6, &spec.name)?);
    }
    for step in steps {
        let words = spec.describe(step, &underlay.name);
        if let Err(error) = device_step(socket, spec, step, &mut index) {
            return Err(explained(error)).with_context(|| words);
        }
        info!(step = words, "device");
        if *step == DeviceOperation::Create {
            done += sysctls(sysctl::device(ipv6, &spec.name)?);
        }
    }
    match index {
        Some(index) => Ok((index, done)),
        None => bail!("{} vanished while it was set up", spec.name),
    }
}

/// Tells which sysctls were changed; how many.
pub fn sysctls(changed: Vec<String>) -> usize {
    changed.iter().for_each(|step| info!(step, "sysctl"));
    changed.len()
}

fn device_step(
    socket: &mut Socket,
    spec: &DeviceSpec,
    step: &DeviceOperation,
    index: &mut Option<u32>,
) -> fairlead_kernel::Result<()> {
    let path = vxlan::Path { local: spec.local, lower: spec.lower };
    if let DeviceOperation::Create = step {
        let new =
            vxlan::New { name: &spec.name, mac: Mac(spec.mac.0), mtu: spec.mtu, vni: spec.vni, port: spec.port, path };
        vxlan::create(socket, &new)?;
        *index = Some(link::get_by_name(socket, &spec.name)?.index);
        return Ok(());
    }
    let Some(at) = *index else {
        return Err(Error::new("find device", &spec.name, Errno::ENODEV));
    };
    match step {
        DeviceOperation::Create => Ok(()),
        DeviceOperation::Delete(_) => {
            *index = None;
            gone(link::delete(socket, at))
        }
        DeviceOperation::Change => vxlan::change(socket, at, path),
        DeviceOperation::SetMac => link::set_mac(socket, at, Mac(spec.mac.0)),
        DeviceOperation::SetMtu => link::set_mtu(socket, at, spec.mtu),
        DeviceOperation::SetAlias => link::set_alias(socket, at, &spec.alias),
        DeviceOperation::AddAddress(net) => addr::replace(socket, at, *net),
        DeviceOperation::DeleteAddress(net) => gone(addr::delete(socket, at, *net)),
        DeviceOperation::Up => link::set_up(socket, at),
    }
}

/// What came of a plan for the tables.
#[derive(Debug, Default)]
pub struct Applied {
    /// Operations that were done.
    pub done: usize,
    /// What failed, one sentence a peer.
    pub failures: Vec<String>,
}

/// Does the plan on the device. A peer whose operation fails is left there, so that its route never stands without its
/// neighbour; the other peers go on.
pub fn tables(socket: &mut Socket, name: &str, index: u32, plan: &Plan) -> Applied {
    let mut applied = Applied::default();
    let mut run = |operation: &Operation, peer: Option<&str>, applied: &mut Applied| {
        let words = operation.on(name).to_string();
        match table_step(socket, index, operation) {
            Ok(()) => {
                debug!(peer, step = words, "tables");
                applied.done += 1;
                true
            }
            Err(error) => {
                let of = peer.map_or(String::new(), |peer| format!("peer {peer}: "));
                applied.failures.push(format!("{of}{words}: {:#}", explained(error)));
                false
            }
        }
    };
    for change in &plan.set {
        for operation in &change.operations {
            if !run(operation, Some(&change.peer), &mut applied) {
                break;
            }
        }
    }
    for operation in &plan.remove {
        run(operation, None, &mut applied);
    }
    applied
}

fn table_step(socket: &mut Socket, device: u32, operation: &Operation) -> fairlead_kernel::Result<()> {
    match *operation {
        Operation::SetFdb(mac, address) => fdb::replace(socket, device, Mac(mac.0), address),
        Operation::SetNeighbour(address, mac) => {
            let state = neigh::State::Permanent;
            neigh::replace(socket, &neigh::Neighbour { address, mac: Some(Mac(mac.0)), link: device, state })
        }
        Operation::SetRoute(subnet, gateway) => {
            let new = route::Route {
                gateway: Some(gateway),
                onlink: true,
                // RT_SCOPE_UNIVERSE: it has a gateway.
                scope: Some(0),
                protocol: ROUTE_PROTOCOL,
                ..route::Route::new(subnet, device)
            };
            route::replace(socket, &new)
        }
        Operation::DeleteRoute(key) => {
            let old = route::Route {
                protocol: ROUTE_PROTOCOL,
                priority: (key.metric != 0).then_some(key.metric),
                ..route::Route::new(key.destination, device)
            };
            gone(route::delete(socket, &old))
        }
        Operation::DeleteNeighbour(address) => gone(neigh::delete(socket, device, address)),
        Operation::DeleteFdb(mac, address) => gone(fdb::delete(socket, device, Mac(mac.0), address)),
    }
}

/// Removes devices of ours that bear another name.
pub fn remove_leftovers(socket: &mut Socket, spec: &DeviceSpec) -> Result<()> {
    let names: BTreeSet<_> =
        observe::leftovers(socket, &spec.alias, &spec.name)?.into_iter().map(|link| (link.index, link.name)).collect();
    for (index, name) in names {
        gone(link::delete(socket, index)).map_err(explained)?;
        info!(step = format!("ip link del {name}"), "device of another vni removed");
    }
    Ok(())
}

/// What is to be gone and is not there is done.
fn gone(result: fairlead_kernel::Result<()>) -> fairlead_kernel::Result<()> {
    match result {
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    }
}

/// The kernel's error with what to do about it, where that can be told.
fn explained(error: Error) -> anyhow::Error {
    let advice = match error.errno() {
        Some(Errno::EPERM | Errno::EACCES) => "run as root, or with CAP_NET_ADMIN",
        Some(Errno::EOPNOTSUPP) if error.doing == "create VXLAN device" => {
            "this kernel has no VXLAN: load the module with `modprobe vxlan`, or use a kernel with CONFIG_VXLAN"
        }
        Some(Errno::EEXIST) if error.doing == "create VXLAN device" => {
            "another device has this VNI and port: see `ip -d link show type vxlan`"
        }
        Some(Errno::EADDRINUSE) => {
            "another device or program has this UDP port: see `ss -lun` and `ip -d link show type vxlan`"
        }
        _ => return error.into(),
    };
    anyhow::anyhow!("{error}; {advice}")
}
