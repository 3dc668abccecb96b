//! DEL: what is not there is done, nothing stops it, and it asks little of what it is told. The namespace may be gone or
//! somebody else's by now, the configuration changed, the result lost, the ADD killed half way.

use fairlead_kernel::netlink::Socket;
use fairlead_kernel::{Error, link, neigh};
use fairlead_protocol::{CniError, Request, delegate};

use super::find::Search;
use super::rules::Rules;
use crate::container::{absent_is_done, all_well};
use crate::owner;

/// Removes everything of the attachment. The node's neighbour entries are looked for on the master of the host's end and on
/// the link of this name. The addresses are given back last, so that nobody gets them before they are free; that this
/// fails, or that there is nobody to give them to, keeps nothing else from being done.
pub fn detach(request: &Request, gateway: Option<&str>) -> Result<(), CniError> {
    let mut troubles = Vec::new();
    match Socket::open() {
        Ok(mut host) => remove(request, gateway, &mut host, &mut troubles),
        Err(error) => troubles.push(error.to_string()),
    }
    // A configuration that names no IPAM plugin any more names nobody who could be asked.
    let ipam = request.ipam_type().unwrap_or_default();
    if !ipam.is_empty() {
        troubles.extend(delegate::del(&ipam, request).err().map(|error| error.to_string()));
    }
    all_well(troubles)
}

fn remove(request: &Request, gateway: Option<&str>, host: &mut Socket, troubles: &mut Vec<String>) {
    let mut note = |result: Result<(), Error>| troubles.extend(result.err().map(|error| error.to_string()));
    let mark = owner::mark(&request.name, &request.container_id, &request.ifname);
    let previous = request.prev_result().ok().flatten();
    let (found, looked) = Search { request, mark: &mark, previous: previous.as_ref() }.run(host);
    note(looked);
    let addresses = (!found.addresses.is_empty()).then_some(&found.addresses[..]);
    let port = found.host.as_ref().map(|end| [end.name.clone()]);
    let mut rules = Rules::open(&mut note);
    if let Some(rules) = &mut rules {
        rules.remove(addresses, port.as_ref().map(|port| &port[..]), |text| owner::is_of(text, &mark), &mut note);
        // An end with our alias is one that the reference never touched.
        if !found.is_marked() {
            rules.remove_references(request, &found.addresses, &mut note);
        }
    }
    let mut places: Vec<u32> =
        gateway.and_then(|name| link::get_by_name(host, name).ok()).map(|link| link.index).into_iter().collect();
    if let Some(end) = &found.host {
        places.extend(end.master);
        note(link::delete(host, end.index).or_else(absent_is_done));
    }
    for place in places {
        for address in &found.addresses {
            note(neigh::delete(host, place, *address).or_else(absent_is_done));
        }
    }
    note(Rules::forget(rules.as_mut(), &found.addresses));
    if let Some(rules) = rules {
        rules.leave();
    }
}
