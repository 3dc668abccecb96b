//! CHECK, where `bridge` and `ptp` look at the same things. Every drift is named, not only the first.

use fairlead_kernel::link::{self, Link};
use fairlead_kernel::netlink::Socket;
use fairlead_kernel::nft::Nftables;
use fairlead_kernel::{Mac, addr, neigh, route, sysctl};
use fairlead_protocol::{CniError, CniResult, Request};
use ipnet::IpNet;

use crate::container::failed;
use crate::owner;

/// The result that a CHECK compares with. Errors: code 7 without one.
pub fn previous(request: &Request) -> Result<CniResult, CniError> {
    request.prev_result()?.ok_or_else(|| {
        CniError::config("Required prevResult missing").with_details("the runtime gives CHECK what ADD answered")
    })
}

/// The container's end: there, a veth, up or down as it should be, with the hardware address it was said to have.
pub fn container(
    request: &Request,
    previous: &CniResult,
    up: bool,
    pod: &mut Socket,
    drifts: &mut Vec<String>,
) -> Result<Option<Link>, CniError> {
    let said = previous.interfaces.iter().find(|one| one.name == request.ifname && !one.sandbox.is_empty());
    if said.is_none() {
        drifts.push(format!("prevResult has no interface {} of the container", request.ifname));
    }
    let container = match link::get_by_name(pod, &request.ifname) {
        Ok(container) => container,
        Err(error) if error.is_not_found() => {
            drifts.push(format!("interface {} is not there in the container", request.ifname));
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    };
    if !container.is("veth") {
        drifts.push(format!("interface {} of the container is not a veth", request.ifname));
    }
    if container.is_up() != up {
        drifts.push(format!("interface {} of the container is {}", request.ifname, if up { "down" } else { "up" }));
    }
    mac(&container, said.map(|one| &one.mac[..]), drifts);
    Ok(Some(container))
}

/// The host's end of `container`: there, up, of the MTU that was asked for, deaf to the container's router advertisements.
pub fn host_end(
    container: &Link,
    mtu: Option<u32>,
    host: &mut Socket,
    drifts: &mut Vec<String>,
) -> Result<Option<Link>, CniError> {
    let end = match container.peer.map(|index| link::get_by_index(host, index)) {
        Some(Ok(end)) if end.is("veth") => end,
        Some(Err(error)) if !error.is_not_found() => return Err(failed(error)),
        _ => {
            drifts.push(format!("the host's end of {} is not there", container.name));
            return Ok(None);
        }
    };
    if !end.is_up() {
        drifts.push(format!("{} is down", end.name));
    }
    if let Some(mtu) = mtu.filter(|mtu| *mtu != end.mtu) {
        drifts.push(format!("{} has the MTU {}, not {mtu}", end.name, end.mtu));
    }
    deaf(&end.name, drifts)?;
    Ok(Some(end))
}

/// The link does not listen to router advertisements: a container is no router of its node (CVE-2020-10749).
pub fn deaf(name: &str, drifts: &mut Vec<String>) -> Result<(), CniError> {
    let key = format!("net/ipv6/conf/{name}/accept_ra");
    match sysctl::read(&key) {
        Ok(value) if value != "0" => drifts.push(format!("sysctl {key} is {value}, not 0")),
        Err(error) if !error.is_not_found() => return Err(failed(error)),
        _ => {}
    }
    Ok(())
}

/// The hardware address of a link, where the result said one.
pub fn mac(link: &Link, said: Option<&str>, drifts: &mut Vec<String>) {
    let now = link.mac.map(|mac| mac.to_string()).unwrap_or_default();
    if let Some(said) = said.filter(|said| !said.is_empty() && !said.eq_ignore_ascii_case(&now)) {
        drifts.push(format!("{} has the hardware address {now}, not {said}", link.name));
    }
}

/// The container's addresses and the routes of its result.
pub fn addresses_and_routes(
    previous: &CniResult,
    container: &Link,
    pod: &mut Socket,
    drifts: &mut Vec<String>,
) -> Result<(), CniError> {
    let have: Vec<IpNet> = addr::list(pod, container.index).map_err(failed)?.into_iter().map(|one| one.net).collect();
    for ip in previous.ips.iter().filter(|ip| !have.contains(&ip.address)) {
        drifts.push(format!("{} has no address {}", container.name, ip.address));
    }
    let routes = route::list(pod, 0).map_err(failed)?;
    for said in &previous.routes {
        let table = said.table.filter(|table| *table != 0).unwrap_or(route::TABLE_MAIN);
        // Of a default route only its being there is asked: a later plugin of the list may have changed the way.
        let found = routes.iter().any(|one| {
            let same_way = said.is_default() || said.gw.is_none() || one.gateway == said.gw;
            one.destination.trunc() == said.dst.trunc() && one.table == table && same_way
        });
        if !found {
            let way = said.gw.map(|gateway| format!(" via {gateway}")).unwrap_or_default();
            drifts.push(format!("{} has no route {}{way}", container.name, said.dst));
        }
    }
    Ok(())
}

/// Where the node looks for the container's addresses on `link`. An entry that aged away is none that is wrong.
pub fn neighbours(
    previous: &CniResult,
    mac: Option<Mac>,
    link: &Link,
    host: &mut Socket,
    drifts: &mut Vec<String>,
) -> Result<(), CniError> {
    for entry in neigh::list(host, link.index).map_err(failed)? {
        let is_said = previous.ips.iter().any(|ip| ip.address.addr() == entry.address);
        if let (true, Some(found), Some(mac)) = (is_said, entry.mac, mac)
            && found != mac
        {
            drifts.push(format!("the node looks for {} at {found} on {}, not at {mac}", entry.address, link.name));
        }
    }
    Ok(())
}

/// The container's addresses are masqueraded, for it.
pub fn masquerade(request: &Request, previous: &CniResult, drifts: &mut Vec<String>) -> Result<(), CniError> {
    let mark = owner::mark(&request.name, &request.container_id, &request.ifname);
    let mut nft = Nftables::open().map_err(failed)?;
    for ip in &previous.ips {
        let found = nft.masqueraded_by(ip.address.addr()).map_err(failed)?;
        if !found.is_some_and(|found| owner::is_of(&found, &mark)) {
            drifts.push(format!("{} is not masqueraded", ip.address.addr()));
        }
    }
    Ok(())
}
