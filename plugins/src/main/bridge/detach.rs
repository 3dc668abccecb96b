//! Taking an attachment away: what is not there is done, nothing stops it, and it asks little of what it is told. The
//! namespace may be gone or somebody else's by now, the configuration changed, the result lost.

use std::net::IpAddr;

use fairlead_kernel::error::Errno;
use fairlead_kernel::link::{self, Link};
use fairlead_kernel::netlink::Socket;
use fairlead_kernel::netns::Netns;
use fairlead_kernel::nft::Nftables;
use fairlead_kernel::{Error, addr, neigh};
use fairlead_protocol::{Attachment, CniError, CniResult, Request, delegate};

use crate::container::{absent_is_done, all_well};
use crate::owner;

/// DEL: masquerade, link, neighbours, and the addresses last, so that nobody gets them before they are free.
pub fn detach(request: &Request) -> Result<(), CniError> {
    let mark = owner::mark(&request.name, &request.container_id, &request.ifname);
    let previous = request.prev_result().ok().flatten();
    let mut troubles = Vec::new();
    match Socket::open() {
        Ok(mut host) => remove(request, &mark, previous, &mut host, &mut troubles),
        Err(error) => troubles.push(error.to_string()),
    }
    match request.ipam_type() {
        Ok(ipam) if ipam.is_empty() => {}
        Ok(ipam) => troubles.extend(delegate::del(&ipam, request).err().map(|error| error.to_string())),
        Err(error) => troubles.push(error.to_string()),
    }
    all_well(troubles)
}

fn remove(request: &Request, mark: &str, previous: Option<CniResult>, host: &mut Socket, troubles: &mut Vec<String>) {
    let mut note = |result: Result<(), Error>| troubles.extend(result.err().map(|error| error.to_string()));
    let mut addresses: Vec<IpAddr> =
        previous.iter().flat_map(|result| &result.ips).map(|ip| ip.address.addr()).collect();
    let mut links = Vec::new();
    match Netns::open(&request.netns) {
        Ok(netns) => match in_container(&netns, request, host, &mut addresses) {
            Ok(found) => links.extend(found),
            Err(error) => note(Err(error)),
        },
        // Gone, or a file where it was: the container's end went with the namespace.
        Err(error) if error.is_not_found() || error.is_not_a_namespace() => {}
        Err(error) => note(Err(error)),
    }
    if links.is_empty() {
        match left_on_node(previous.as_ref(), mark, host) {
            Ok(found) => links.extend(found.into_iter().map(Found::OnNode)),
            Err(error) => note(Err(error)),
        }
    }
    let hint = (!addresses.is_empty()).then_some(&addresses[..]);
    // Closing a socket that has removed something waits until the kernel has freed it, an RCU grace period
    // (nft_rcv_nl_event, net/netfilter/nf_tables_api.c). Removing the link waits for one too: closed after it, this one
    // has nothing left to wait for.
    let (removed, _closed_last) = unmasquerade(hint, |found| owner::is_of(found, mark));
    note(removed);
    for found in links {
        match found {
            Found::OnNode(link) if is_mine(&link, mark) => {
                let bridge = link.master;
                note(link::delete(host, link.index).or_else(absent_is_done));
                for (bridge, address) in
                    bridge.into_iter().flat_map(|bridge| addresses.iter().map(move |one| (bridge, one)))
                {
                    note(neigh::delete(host, bridge, *address).or_else(absent_is_done));
                }
            }
            // The path leads to another container's namespace by now.
            Found::OnNode(_) => {}
            Found::InContainer(mut pod, link) => note(link::delete(&mut pod, link.index).or_else(absent_is_done)),
        }
    }
}

/// The end to delete; its peer goes with it.
enum Found {
    /// The host's.
    OnNode(Link),
    /// The container's: the other is out of sight.
    InContainer(Socket, Link),
}

/// The interface in the container, seen from the node. Its addresses are added to `addresses` where the result said none.
fn in_container(
    netns: &Netns,
    request: &Request,
    host: &mut Socket,
    addresses: &mut Vec<IpAddr>,
) -> Result<Option<Found>, Error> {
    let mut pod = Socket::open_in(netns)?;
    let inside = match link::get_by_name(&mut pod, &request.ifname) {
        Ok(link) if link.is("veth") => link,
        Ok(_) => return Ok(None),
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    if addresses.is_empty() {
        let found = addr::list(&mut pod, inside.index)?;
        addresses.extend(found.iter().map(|found| found.net.addr()).filter(is_global));
    }
    let peer = inside.peer.map(|index| link::get_by_index(host, index));
    Ok(Some(match peer {
        Some(Ok(peer)) if peer.is("veth") && peer.peer == Some(inside.index) => Found::OnNode(peer),
        _ => Found::InContainer(pod, inside),
    }))
}

/// The host's end by the name the result gave it, else by its alias, else by the names it can have.
fn left_on_node(previous: Option<&CniResult>, mark: &str, host: &mut Socket) -> Result<Vec<Link>, Error> {
    let named = previous.and_then(|result| result.interfaces.get(1)).filter(|interface| interface.sandbox.is_empty());
    if let Some(interface) = named {
        return match link::get_by_name(host, &interface.name) {
            Ok(link) => Ok(vec![link]),
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            Err(error) => Err(error),
        };
    }
    let mut all = link::list(host)?;
    let names: Vec<String> = owner::host_ends(mark).collect();
    all.retain(|link| match link.alias.as_deref() {
        Some(alias) if !alias.is_empty() => owner::is_of(alias, mark),
        // ADD was killed before it could write the alias.
        _ => link.is("veth") && names.contains(&link.name),
    });
    Ok(all)
}

/// Ours by its alias; one without an alias was made by the reference plugin.
fn is_mine(link: &Link, mark: &str) -> bool {
    link.is("veth") && link.alias.as_deref().is_none_or(|alias| alias.is_empty() || owner::is_of(alias, mark))
}

fn is_global(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !address.is_loopback() && !address.is_link_local(),
        IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
    }
}

/// Also gives the socket, for the caller to close when it likes. A kernel without nf_tables has nothing to remove.
fn unmasquerade(hint: Option<&[IpAddr]>, mine: impl Fn(&str) -> bool) -> (Result<(), Error>, Option<Nftables>) {
    let mut nft = match Nftables::open() {
        Ok(nft) => nft,
        Err(error) if error.errno() == Some(Errno::EPROTONOSUPPORT) => return (Ok(()), None),
        Err(error) => return (Err(error), None),
    };
    let removed = match nft.unmasquerade(hint, mine) {
        Err(error) if error.errno() == Some(Errno::EINVAL) && nft.probe().is_err() => Ok(()),
        other => other.map(drop),
    };
    (removed, Some(nft))
}

/// GC: every host's end and every masqueraded address of this network whose attachment is not in the list. What went wrong.
pub fn collect(request: &Request, valid: &[Attachment]) -> Vec<String> {
    let network = owner::network_mark(&request.name);
    let kept: Vec<String> =
        valid.iter().map(|one| owner::mark(&request.name, &one.container_id, &one.ifname)).collect();
    let stale = |found: &str| owner::mark_in(found, &network).is_some_and(|mark| !kept.iter().any(|one| one == mark));
    let mut troubles = Vec::new();
    let links = Socket::open().and_then(|mut host| {
        let all = link::list(&mut host)?;
        for one in all.iter().filter(|one| one.is("veth") && one.alias.as_deref().is_some_and(stale)) {
            let removed = link::delete(&mut host, one.index).or_else(absent_is_done);
            troubles.extend(removed.err().map(|error| error.to_string()));
        }
        Ok(())
    });
    troubles.extend(links.err().map(|error| error.to_string()));
    troubles.extend(unmasquerade(None, stale).0.err().map(|error| error.to_string()));
    troubles
}
