//! Making the plan true, and taking it back.

use std::net::IpAddr;

use fairlead_kernel::conntrack::Flows;
use fairlead_kernel::netlink::Socket;
use fairlead_kernel::nft::{Forward, Forwarded, Nftables, Standing};
use fairlead_kernel::{link, route, sysctl};
use fairlead_protocol::{CniError, Request};

use super::plan::Plan;
use crate::container::failed;
use crate::owner;

/// `IPPROTO_UDP`.
const UDP: u8 = 17;

/// ADD: the forwards in one transaction, then the way for 127/8, then what UDP flows remember of before.
pub fn attach(request: &Request, plan: &Plan) -> Result<(), CniError> {
    let mark = owner::mark(&request.name, &request.container_id, &request.ifname);
    let text = owner::text(&request.name, &request.container_id, &request.ifname);
    let way = plan.loopback_to.and_then(Way::to).filter(|way| !way.is_open());
    let outlives = way.as_ref().filter(|way| way.outlives_container).map(|way| way.interface.as_str());
    // One list of links for all that may stand in the way; mostly nothing does.
    let mut aliases = None;
    let standing = |there: &Forwarded| {
        let our_address = || plan.forwards().any(|forward| forward.to.ip() == there.forward.to.ip());
        match standing(request, &mark, &there.owner) {
            Standing::Stays if our_address() => Standing::Yields,
            Standing::Stays => {
                let aliases = aliases.get_or_insert_with(aliases_of_links);
                if is_gone(request, &mark, &there.owner, aliases) { Standing::Yields } else { Standing::Stays }
            }
            other => other,
        }
    };
    let mut nft = Nftables::open().map_err(failed)?;
    if let Some(taken) = nft.forward(&plan.groups, outlives, &text, standing).map_err(failed)? {
        nft.leave();
        return Err(refusal(plan, &taken));
    }
    // Only now: the guard stands.
    if let Some(Err(error)) = way.map(|way| sysctl::set(&way.key(), "1")) {
        let error = CniError::internal(format!("unable to enable route_localnet: {error}"));
        let undone = nft.unforward(Some(&plan.groups), |found| owner::is_of(found, &mark));
        return Err(match undone {
            Ok(_) => error,
            Err(trouble) => error.with_details(format!("and taking back what was done: {trouble}")),
        });
    }
    // A connection is translated when it begins. A client that asked before there was a forward would get no answer as long
    // as it goes on asking; but that is not worth failing for, as in the reference.
    let _ = nft.forget(&udp_flows(plan.forwards()));
    // Closing would wait for what somebody else has just deleted.
    nft.leave();
    Ok(())
}

/// What a forward with this owner is to the request's attachment. A runtime asks for the same ports in each network of a
/// container: the first one serves them all, as in the reference.
pub fn standing(request: &Request, mark: &str, owner: &str) -> Standing {
    if owner::is_of(owner, mark) {
        Standing::Yields
    } else if owner::is_of_container(owner, &request.container_id) {
        Standing::Serves
    } else {
        Standing::Stays
    }
}

/// The flows that clients began with the UDP ports among forwards.
pub fn udp_flows<'a>(forwards: impl Iterator<Item = &'a Forward>) -> Vec<Flows> {
    let mut all: Vec<Flows> = Vec::new();
    for forward in forwards.filter(|forward| forward.protocol == UDP) {
        let flows = Flows::ToPort { protocol: UDP, port: forward.port, address: forward.host };
        if !all.contains(&flows) {
            all.push(flows);
        }
    }
    all
}

/// The interface by which packets of 127.0.0.1 reach a container.
pub struct Way {
    interface: String,
    /// Others use it too, and after the container.
    outlives_container: bool,
}

impl Way {
    /// `None`: there is none, or it cannot be found; then nothing is to be opened, as in the reference.
    pub fn to(address: IpAddr) -> Option<Way> {
        let found = Socket::open().and_then(|mut host| {
            let index = route::link_to(&mut host, address)?;
            link::get_by_index(&mut host, index)
        });
        found.ok().map(|link| Way { outlives_container: !link.is("veth"), interface: link.name })
    }

    /// Whether the kernel lets 127/8 pass there.
    pub fn is_open(&self) -> bool {
        sysctl::read(&self.key()).is_ok_and(|value| value == "1")
    }

    /// What must be 1 for it.
    pub fn key(&self) -> String {
        format!("net/ipv4/conf/{}/route_localnet", self.interface)
    }
}

/// Whether the owner's container is no longer there: its network's plugin writes the owner's text as alias of the host's
/// end, which ours shows, and no such end is there.
fn is_gone(request: &Request, mark: &str, owner: &str, aliases: &[String]) -> bool {
    let Some(theirs) = owner::mark_in(owner, &owner::network_mark(&request.name)) else { return false };
    let has_end = |mark: &str| aliases.iter().any(|alias| owner::is_of(alias, mark));
    has_end(mark) && !has_end(theirs)
}

/// Where links cannot be listed, nobody is gone.
fn aliases_of_links() -> Vec<String> {
    let links = Socket::open().and_then(|mut host| link::list(&mut host));
    links.into_iter().flatten().filter_map(|link| link.alias).collect()
}

fn refusal(plan: &Plan, taken: &Forwarded) -> CniError {
    let wanted = plan.forwards().find(|forward| forward.asks_for_the_same(&taken.forward)).unwrap_or(&taken.forward);
    // Behind the digits comes what people read.
    let owner = taken.owner.split_once(", ").map_or(taken.owner.as_str(), |(_, names)| names);
    let text = format!(
        "cannot forward {wanted}: that port leads to {} already, of another container ({owner})",
        taken.forward.to
    );
    CniError::config(text).with_details("remove that container, or choose another hostPort or hostIP")
}
