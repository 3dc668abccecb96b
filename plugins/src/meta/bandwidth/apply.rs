//! Shaping, and taking it back.

use fairlead_kernel::link::{self, Link};
use fairlead_kernel::netlink::Socket;
use fairlead_kernel::qdisc::{self, Ingress};
use fairlead_kernel::{Error, Mac};
use fairlead_protocol::{CniError, CniResult, Interface, Request};

use super::config::Config;
use super::name::{self, Whose};
use crate::container::{absent_is_done, failed};
use crate::doors::Doors;
use crate::owner;

/// The node's end of the container's interface: the only one of its kind that both sides agree about.
/// Errors: code 999 in the reference's words.
pub fn host_end(request: &Request, previous: &CniResult, doors: &mut Doors) -> Result<Link, CniError> {
    if previous.interfaces.is_empty() {
        return Err(CniError::internal("no interfaces provided"));
    }
    let no_peer = |reason: String| {
        let text = format!("container interface {} has no veth peer: {reason}", request.ifname);
        CniError::internal(text).with_details("bandwidth can only slow down veth pairs (bridge, ptp)")
    };
    let container = link::get_by_name(&mut doors.pod, &request.ifname).map_err(|error| no_peer(error.to_string()))?;
    let Some(index) = container.peer.filter(|_| container.is("veth")) else {
        return Err(no_peer(format!("it is of kind {}", container.kind.as_deref().unwrap_or("none"))));
    };
    let peer = link::get_by_index(&mut doors.host, index)
        .ok()
        .filter(|peer| peer.is("veth") && peer.peer == Some(container.index))
        .ok_or_else(|| CniError::internal(format!("veth peer with index {index} is not in host ns")))?;
    if !previous.interfaces.iter().any(|one| one.sandbox.is_empty() && one.name == peer.name) {
        return Err(CniError::internal("no veth peer of container interface found in host ns")
            .with_details(format!("it is {}, and prevResult does not list it", peer.name)));
    }
    Ok(peer)
}

/// What an ADD has made so far on this link.
#[derive(Default)]
pub struct Made {
    root: bool,
    ingress: bool,
    redirect: Option<Ingress>,
    ifb: Option<String>,
}

/// Makes the plan true; what it made is in `made` whether it ends well or not. What an earlier ADD of the same attachment
/// left is taken over.
pub fn shape(
    request: &Request,
    config: &Config,
    veth: &Link,
    host: &mut Socket,
    made: &mut Made,
) -> Result<Option<Interface>, CniError> {
    if let Some(tbf) = &config.to_container {
        qdisc::set_root(host, veth.index, tbf).map_err(failed)?;
        made.root = true;
    }
    let Some(tbf) = &config.from_container else { return Ok(None) };
    let ifb = ensure_ifb(request, veth.mtu, host, made)?;
    // First the bucket, then the packets.
    qdisc::set_root(host, ifb.index, tbf).map_err(failed)?;
    send_to(&ifb, veth, host, made).map_err(failed)?;
    let mac = ifb.mac.map(|mac| mac.to_string()).unwrap_or_default();
    Ok(Some(Interface { name: ifb.name, mac, ..Interface::default() }))
}

fn ensure_ifb(request: &Request, mtu: u32, host: &mut Socket, made: &mut Made) -> Result<Link, CniError> {
    let found = name::find(host, request).map_err(failed)?;
    if let Some((link, _)) = found.iter().find(|(_, whose)| *whose == Whose::Mine) {
        made.ifb = Some(link.name.clone());
        link::set_mtu(host, link.index, mtu).map_err(failed)?;
        return finish_ifb(request, &link.name, host);
    }
    let names = name::names(request);
    let free = names.iter().find(|name| found.iter().all(|(link, _)| link.name != **name));
    let name = free.ok_or_else(|| {
        CniError::internal(format!("there is no name left for an ifb: {} and {} are taken", names[0], names[1]))
    })?;
    qdisc::create_ifb(host, name, Mac::random(), mtu).map_err(|error| {
        CniError::internal(format!("adding link: {error}")).with_details("egressRate needs the kernel module ifb")
    })?;
    made.ifb = Some(name.clone());
    finish_ifb(request, name, host)
}

fn finish_ifb(request: &Request, name: &str, host: &mut Socket) -> Result<Link, CniError> {
    let link = link::get_by_name(host, name).map_err(failed)?;
    let alias = owner::text(&request.name, &request.container_id, &request.ifname);
    link::set_alias(host, link.index, &alias).map_err(failed)?;
    if !link.is_up() {
        link::set_up(host, link.index).map_err(failed)?;
    }
    Ok(link)
}

/// What comes from the container goes to the ifb, and to nothing else that a run before this one may have made.
fn send_to(ifb: &Link, veth: &Link, host: &mut Socket, made: &mut Made) -> Result<(), Error> {
    let (at, new) = qdisc::ensure_ingress(host, veth.index)?;
    made.ingress = new;
    if !new {
        let leads_to = qdisc::redirects(host, veth.index, at)?;
        if leads_to == [ifb.index] {
            return Ok(());
        }
        if !leads_to.is_empty() {
            qdisc::delete_redirect(host, veth.index, at).or_else(absent_is_done)?;
        }
    }
    qdisc::redirect(host, veth.index, at, ifb.index)?;
    made.redirect = Some(at);
    Ok(())
}

impl Made {
    /// Takes everything back, the last first; never stops. What went wrong on the way.
    pub fn undo(self, veth: &Link, host: &mut Socket) -> Vec<String> {
        let mut troubles = Vec::new();
        let mut note = |result: Result<(), Error>| {
            troubles.extend(result.or_else(absent_is_done).err().map(|error| error.to_string()));
        };
        if let (Some(at), false) = (self.redirect, self.ingress) {
            note(qdisc::delete_redirect(host, veth.index, at));
        }
        if self.ingress {
            note(qdisc::delete_ingress(host, veth.index));
        }
        if let Some(name) = self.ifb {
            note(link::delete_by_name(host, &name));
        }
        if self.root {
            note(qdisc::delete_root(host, veth.index));
        }
        troubles
    }
}
