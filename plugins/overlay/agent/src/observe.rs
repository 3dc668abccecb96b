//! What the kernel holds, in the model's words. Nothing here changes anything.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context, Result};
use fairlead_kernel::netlink::Socket;
use fairlead_kernel::{addr, fdb, link, neigh, route, vxlan};
use fairlead_overlay_model::device::{DeviceFacts, Underlay};
use fairlead_overlay_model::tables::{NextHop, ROUTE_PROTOCOL, RouteKey, Tables};
use fairlead_overlay_model::{Mac, Peers};

/// The interface that has this node's underlay address; `None` if none has it.
pub fn underlay(socket: &mut Socket, address: IpAddr) -> Result<Option<Underlay>> {
    let Some(found) = addr::list(socket, 0)?.into_iter().find(|entry| entry.net.addr() == address) else {
        return Ok(None);
    };
    let link = link::get_by_index(socket, found.link)?;
    Ok(Some(Underlay { name: link.name, index: link.index, mtu: link.mtu }))
}

/// The device of this name with its index; `None` if there is no such link.
pub fn device(socket: &mut Socket, name: &str) -> Result<Option<(u32, DeviceFacts)>> {
    let (link, info) = match vxlan::get_by_name(socket, name) {
        Ok(found) => found,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let info = info.unwrap_or_default();
    let addresses = addr::list(socket, link.index)?.into_iter().map(|entry| entry.net).collect();
    let facts = DeviceFacts {
        vni: info.vni,
        port: info.port,
        local: info.local,
        lower: info.lower,
        external: info.external,
        learning: info.learning,
        mac: Mac(link.mac.map_or([0; 6], |mac| mac.0)),
        mtu: link.mtu,
        up: link.is_up(),
        kind: link.kind,
        alias: link.alias,
        addresses,
    };
    Ok(Some((link.index, facts)))
}

/// Devices that carry this alias and have another name: left from another VNI.
pub fn leftovers(socket: &mut Socket, alias: &str, name: &str) -> Result<Vec<link::Link>> {
    let links = link::list(socket)?;
    Ok(links.into_iter().filter(|link| link.alias.as_deref() == Some(alias) && link.name != name).collect())
}

/// What the device's tables hold of ours, and the routes of others that stand where ours should, in words.
pub fn tables(socket: &mut Socket, device: u32, peers: &Peers) -> Result<(Tables, BTreeMap<RouteKey, String>)> {
    let mut tables = Tables::default();
    for entry in neigh::list(socket, device)?.into_iter().filter(|entry| entry.state == neigh::State::Permanent) {
        tables.neighbours.extend(entry.mac.map(|mac| (entry.address, Mac(mac.0))));
    }
    let entries = fdb::list(socket, device)?.into_iter().filter(|entry| entry.permanent);
    tables.fdb.extend(entries.map(|entry| (Mac(entry.mac.0), entry.destination)));
    let wanted = Tables::desired(peers).routes;
    let mut foreign = BTreeMap::new();
    for route in route::list(socket, 0)?.into_iter().filter(|route| route.table == route::TABLE_MAIN) {
        let key = RouteKey { destination: route.destination, metric: route.priority.unwrap_or(0) };
        if route.link == device && route.protocol == ROUTE_PROTOCOL {
            tables.routes.insert(key, NextHop { gateway: route.gateway, onlink: route.onlink });
        } else if route.link != device && wanted.contains_key(&key) {
            let name = link_name(socket, route.link);
            let via = route.gateway.map_or(String::new(), |gateway| format!(" via {gateway}"));
            foreign.insert(key, format!("{}{via} dev {name} proto {}", route.destination, route.protocol));
        }
    }
    Ok((tables, foreign))
}

fn link_name(socket: &mut Socket, index: u32) -> String {
    link::get_by_index(socket, index).map_or_else(|_| format!("number {index}"), |link| link.name)
}

/// Opens the socket that all of this goes through.
pub fn open() -> Result<Socket> {
    Socket::open().context("talk to the kernel")
}
