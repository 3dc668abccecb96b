//! GC: everything of a network whose attachment is not in the list.

use fairlead_kernel::Error;
use fairlead_kernel::link::{self, Link};
use fairlead_kernel::netlink::Socket;
use fairlead_protocol::{Attachment, CniError, Request, delegate};

use super::rules::Rules;
use crate::container::{absent_is_done, all_well};
use crate::owner;

/// Removes them; without a list, nothing. What cannot be removed does not keep the rest.
pub fn collect(request: &Request) -> Result<(), CniError> {
    let Some(valid) = request.valid_attachments()? else { return Ok(()) };
    let stale = Stale::new(request, &valid);
    let mut troubles = Vec::new();
    let links = Socket::open().and_then(|mut host| {
        for one in link::list(&mut host)?.iter().filter(|link| stale.is_end(link)) {
            let removed = link::delete(&mut host, one.index).or_else(absent_is_done);
            troubles.extend(removed.err().map(|error| error.to_string()));
        }
        Ok(())
    });
    let mut note = |result: Result<(), Error>| troubles.extend(result.err().map(|error| error.to_string()));
    note(links);
    if let Some(mut rules) = Rules::open(&mut note) {
        rules.remove(None, None, |text| stale.is_text(text), &mut note);
        rules.collect_references(&request.name, &valid, &mut note);
        rules.leave();
    }
    match request.ipam_type() {
        Ok(ipam) if ipam.is_empty() => {}
        Ok(ipam) => troubles.extend(delegate::gc(&ipam, request).err().map(|error| error.to_string())),
        Err(error) => troubles.push(error.to_string()),
    }
    all_well(troubles)
}

/// What tells the stale from the valid.
struct Stale<'a> {
    network: &'a str,
    network_mark: String,
    valid: Vec<String>,
}

impl<'a> Stale<'a> {
    fn new(request: &'a Request, valid: &[Attachment]) -> Stale<'a> {
        let mark = |one: &Attachment| owner::mark(&request.name, &one.container_id, &one.ifname);
        let network_mark = owner::network_mark(&request.name);
        Stale { network: &request.name, network_mark, valid: valid.iter().map(mark).collect() }
    }

    /// A text of the network whose attachment is not in the list.
    fn is_text(&self, found: &str) -> bool {
        owner::mark_in(found, &self.network_mark).is_some_and(|mark| !self.valid.iter().any(|one| one == mark))
    }

    /// A host's end with such an alias; or without one, made by an ADD of this network that was killed.
    fn is_end(&self, link: &Link) -> bool {
        if !link.is("veth") {
            return false;
        }
        match link.alias.as_deref() {
            Some(alias) if !alias.is_empty() => self.is_text(alias),
            _ => {
                let is_of_network = link.mac == Some(owner::host_mac(self.network, &link.name));
                is_of_network && !self.valid.iter().any(|mark| owner::host_ends(mark).any(|name| name == link.name))
            }
        }
    }
}
