//! Making the plan true, step by step.

use fairlead_kernel::{addr, link, route, sysctl};
use fairlead_protocol::{CniError, CniResult, Request};

use super::config::Config;
use super::plan::Plan;
use crate::container::failed;
use crate::doors::Doors;
use crate::veth::furnish::{Furniture, furnish};
use crate::veth::made::Made;
use crate::veth::pair::{End, Pair, Wanted, connect};
use crate::veth::{forwarding, ready};

/// Everything that an ADD does, in order; what it made is in `made` whether it ends well or not.
pub fn attach(
    request: &Request,
    config: &Config,
    doors: &mut Doors,
    made: &mut Made<'_>,
) -> Result<CniResult, CniError> {
    let plan = Plan::new(config, made.lease(&config.ipam)?)?;
    forwarding::ensure(&plan.addresses)?;
    let wanted = Wanted { mtu: config.mtu, ..Wanted::default() };
    let pair = connect(request, wanted, doors, made)?;
    link::set_alias(&mut doors.host, pair.host.index, &made.text()).map_err(failed)?;
    // Before it has a carrier: its own link-local address is not asked for. While that is tentative the kernel solicits no
    // neighbour on the link, for a second or two. A kernel without IPv6 has no such key, /proc/sys may be read-only.
    let _ = sysctl::put_if_present(&format!("net/ipv6/conf/{}/accept_dad", pair.host.name), "0");
    let furniture = Furniture { addresses: &plan.addresses, subnet_routes: false, dad: false, routes: &plan.routes };
    furnish(request, &furniture, &pair, doors)?;
    furnish_node(&plan, &pair.host, doors)?;
    if config.ip_masq {
        made.masquerade(&plan.addresses)?;
    }
    ready::wait(&pair, &mut doors.host)?;
    ready::announce(&plan.addresses, Some(pair.host.index), &pair, doors);
    Ok(Pair::told(&pair, request, Vec::new(), plan.result))
}

/// The node's side: the gateways' addresses, and the way to the container. A route to the same address that was there
/// leads to a container that is no more, whose DEL did not come or could not do its work; a new lease is the better right.
fn furnish_node(plan: &Plan, end: &End, doors: &mut Doors) -> Result<(), CniError> {
    for gateway in &plan.gateways {
        addr::add(&mut doors.host, end.index, *gateway).map_err(failed)?;
    }
    for planned in &plan.node_routes {
        route::replace(&mut doors.host, &route::Route { link: end.index, ..planned.clone() }).map_err(failed)?;
    }
    Ok(())
}
