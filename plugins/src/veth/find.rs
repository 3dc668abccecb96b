//! Which link is the host's end of an attachment, by as little as there is: the names it can have, the container's
//! namespace, the result of ADD, the aliases.
//!
//! A link is taken for the attachment's only if nothing speaks against it. The path of the namespace may lead to another
//! container's by now (a process number that was given again), and its interface has the same name.

use std::net::IpAddr;

use fairlead_kernel::link::{self, Link};
use fairlead_kernel::netlink::Socket;
use fairlead_kernel::netns::Netns;
use fairlead_kernel::{Error, addr};
use fairlead_protocol::{CniResult, Request};

use crate::owner;

/// What DEL looks for.
pub struct Search<'a> {
    /// The attachment.
    pub request: &'a Request,
    /// Its digits.
    pub mark: &'a str,
    /// What ADD answered, if the runtime still knows and it can be read.
    pub previous: Option<&'a CniResult>,
}

/// What there is.
#[derive(Default)]
pub struct Found {
    /// The host's end.
    pub host: Option<Link>,
    /// The container's addresses: those of the result, else those of its interface.
    pub addresses: Vec<IpAddr>,
}

impl Found {
    /// Whether the end says itself whose it is: one that the reference made does not.
    pub fn is_marked(&self) -> bool {
        self.host.as_ref().is_some_and(|link| link.alias.as_deref().is_some_and(|alias| !alias.is_empty()))
    }
}

impl Search<'_> {
    /// Looks, cheapest first. What it found so far is given also if looking on failed.
    pub fn run(&self, host: &mut Socket) -> (Found, Result<(), Error>) {
        let said = self.previous.map(|result| result.ips.iter().map(|ip| ip.address.addr()).collect());
        let mut found = Found { host: None, addresses: said.unwrap_or_default() };
        let looked = self.look(host, &mut found);
        (found, looked)
    }

    fn look(&self, host: &mut Socket, found: &mut Found) -> Result<(), Error> {
        found.host = self.by_name(host)?;
        if found.host.is_some() && !found.addresses.is_empty() {
            return Ok(());
        }
        match Netns::open(&self.request.netns) {
            Ok(netns) => self.in_container(&netns, host, found)?,
            // Gone, or a file where it was: the container's end went with the namespace.
            Err(error) if error.is_not_found() || error.is_not_a_namespace() => {}
            Err(error) => return Err(error),
        }
        if found.host.is_none() {
            found.host = self.by_result(host)?;
        }
        if found.host.is_none() {
            let mine = |link: &Link| link.alias.as_deref().is_some_and(|alias| owner::is_of(alias, self.mark));
            found.host = link::list(host)?.into_iter().find(mine);
        }
        Ok(())
    }

    /// By the names that ours have. One without an alias was left by an ADD that was killed.
    fn by_name(&self, host: &mut Socket) -> Result<Option<Link>, Error> {
        for name in owner::host_ends(self.mark) {
            match link::get_by_name(host, &name) {
                Ok(link) if self.is_born_ours(&link) || self.is_marked_ours(&link) => return Ok(Some(link)),
                Ok(_) => {}
                // A later name was taken only if this one was not free. That it is now is a matter for the other ways.
                Err(error) if error.is_not_found() => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// The container's interface, seen from the node.
    fn in_container(&self, netns: &Netns, host: &mut Socket, found: &mut Found) -> Result<(), Error> {
        let mut pod = Socket::open_in(netns)?;
        let inside = match link::get_by_name(&mut pod, &self.request.ifname) {
            Ok(link) if link.is("veth") => link,
            Ok(_) => return Ok(()),
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        };
        let peer = match inside.peer.map(|index| link::get_by_index(host, index)) {
            Some(Ok(peer)) if peer.is("veth") && peer.peer == Some(inside.index) => peer,
            Some(Err(error)) if !error.is_not_found() => return Err(error),
            // Its other end is not on this node: nobody here made it.
            _ => return Ok(()),
        };
        match &found.host {
            Some(host) if host.index != peer.index => return Ok(()),
            Some(_) => {}
            None if self.is_mine(&peer, &inside) => found.host = Some(peer),
            None => return Ok(()),
        }
        if found.addresses.is_empty() {
            let all = addr::list(&mut pod, inside.index)?;
            found.addresses.extend(all.iter().map(|found| found.net.addr()).filter(is_global));
        }
        Ok(())
    }

    /// The host's end that the result names, if it is still the one it was.
    fn by_result(&self, host: &mut Socket) -> Result<Option<Link>, Error> {
        let interfaces = self.previous.map(|result| &result.interfaces[..]).unwrap_or_default();
        for said in interfaces.iter().filter(|one| one.sandbox.is_empty()) {
            match link::get_by_name(host, &said.name) {
                Ok(link) if link.is("veth") && (no_alias(&link) && has_mac(&link, &said.mac)) => {
                    return Ok(Some(link));
                }
                Ok(_) => {}
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn is_marked_ours(&self, link: &Link) -> bool {
        link.is("veth") && link.alias.as_deref().is_some_and(|alias| owner::is_of(alias, self.mark))
    }

    /// Made by us and not named yet: the address is derived from network and name.
    fn is_born_ours(&self, link: &Link) -> bool {
        link.is("veth") && no_alias(link) && link.mac == Some(owner::host_mac(&self.request.name, &link.name))
    }

    /// Of a pair whose end in the container has the right name: ours by its alias. One without an alias was made by the
    /// reference plugin; if there is a result, it must tell of one end or the other.
    fn is_mine(&self, peer: &Link, inside: &Link) -> bool {
        if !no_alias(peer) {
            return self.is_marked_ours(peer);
        }
        self.previous.is_none_or(|result| {
            result.interfaces.iter().any(|said| match said.sandbox.is_empty() {
                true => said.name == peer.name,
                false => said.name == inside.name && has_mac(inside, &said.mac),
            })
        })
    }
}

fn no_alias(link: &Link) -> bool {
    link.alias.as_deref().is_none_or(str::is_empty)
}

fn has_mac(link: &Link, mac: &str) -> bool {
    link.mac.is_some_and(|now| now.to_string().eq_ignore_ascii_case(mac))
}

fn is_global(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !address.is_loopback() && !address.is_link_local(),
        IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
    }
}
