//! The container's side: sysctls, addresses, up, routes.

use std::net::IpAddr;
use std::time::Duration;

use fairlead_kernel::{addr, link, route, sysctl};
use fairlead_protocol::{CniError, Request};
use ipnet::IpNet;

use super::pair::Pair;
use super::routes::{Sysctl, container_sysctls, has};
use crate::container::failed;
use crate::doors::Doors;

/// How long duplicate address detection may take, as in the reference; the kernel needs one to two seconds.
const DAD_LIMIT: Duration = Duration::from_secs(5);

/// What the container's end gets.
pub struct Furniture<'a> {
    /// Its addresses.
    pub addresses: &'a [IpNet],
    /// Whether the kernel makes the route of an address's subnet by itself.
    pub subnet_routes: bool,
    /// Whether IPv6 addresses are asked for first, and ADD waits for the verdict.
    pub dad: bool,
    /// Its routes, in order.
    pub routes: &'a [route::Route],
}

/// Furnishes the container's end and brings it up.
pub fn furnish(request: &Request, furniture: &Furniture<'_>, pair: &Pair, doors: &mut Doors) -> Result<(), CniError> {
    let index = pair.container.index;
    if !furniture.addresses.is_empty() {
        let sysctls = container_sysctls(&request.ifname, furniture.addresses, furniture.dad);
        doors.netns.enter(|| set_all(&sysctls)).map_err(failed)??;
    }
    let mut flags = addr::Flags::empty();
    flags.set(addr::Flags::Nodad, !furniture.dad);
    flags.set(addr::Flags::Noprefixroute, !furniture.subnet_routes);
    for net in furniture.addresses {
        addr::add_with(&mut doors.pod, index, *net, flags).map_err(failed)?;
    }
    match furniture.addresses.is_empty() {
        true => link::set_up(&mut doors.pod, index).map_err(failed)?,
        false => link::set_up_announcing(&mut doors.pod, index).map_err(failed)?,
    }
    if furniture.dad && has(furniture.addresses, IpAddr::is_ipv6) {
        settle(request, index, doors)?;
    }
    for planned in furniture.routes {
        // Another network of the pod may have brought a default route of its own: as with the reference, the later one wins.
        route::add_beside(&mut doors.pod, &route::Route { link: index, ..planned.clone() }).map_err(failed)?;
    }
    Ok(())
}

/// Who asks for duplicate address detection wants its verdict. An address still in doubt at the end is taken as it is.
fn settle(request: &Request, index: u32, doors: &mut Doors) -> Result<(), CniError> {
    let Doors { pod, netns, .. } = doors;
    let unsettled = addr::wait_until_settled(pod, netns, index, DAD_LIMIT).map_err(failed)?;
    match unsettled.iter().find(|address| address.flags.contains(addr::Flags::Dadfailed)) {
        Some(taken) => {
            let text = format!("link {:?} has address {} in DADFAILED state", request.ifname, taken.net.addr());
            Err(CniError::internal(text).with_details("another station of the network answers for it"))
        }
        None => Ok(()),
    }
}

/// Only what IPv6 addresses cannot live without is insisted upon: `/proc/sys` may be read-only, and a kernel may have been
/// started without IPv6.
fn set_all(sysctls: &[Sysctl]) -> Result<(), CniError> {
    for (key, value) in sysctls {
        let needed = key.ends_with("disable_ipv6") || key.ends_with("keep_addr_on_down");
        match sysctl::put_if_present(key, value) {
            Err(error) if needed => return Err(failed(error)),
            _ => {}
        }
    }
    Ok(())
}
