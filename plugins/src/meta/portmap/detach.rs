//! DEL and GC: found by the owner's text, whatever the configuration says by now.

use fairlead_kernel::error::Errno;
use fairlead_kernel::nft::{Group, Nftables};
use fairlead_protocol::{Attachment, CniError, Request};

use super::apply::udp_flows;
use super::config::Config;
use super::plan::Plan;
use crate::container::all_well;
use crate::{owner, reference};

/// DEL.
pub fn detach(request: &Request) -> Result<(), CniError> {
    let mark = owner::mark(&request.name, &request.container_id, &request.ifname);
    let hint = hint(request);
    let hint = (!hint.is_empty()).then_some(hint.as_slice());
    remove(hint, |found| owner::is_of(found, &mark), |nft| reference::portmap::remove(nft, request))
}

/// GC.
pub fn collect(request: &Request, valid: &[Attachment]) -> Result<(), CniError> {
    let network = owner::network_mark(&request.name);
    let kept: Vec<String> =
        valid.iter().map(|one| owner::mark(&request.name, &one.container_id, &one.ifname)).collect();
    let stale = |found: &str| owner::mark_in(found, &network).is_some_and(|mark| !kept.iter().any(|one| one == mark));
    remove(None, stale, |nft| reference::portmap::collect(nft, &request.name, valid))
}

/// Ours and the reference's, never stopping. The end of the process need not wait for the kernel to free it.
fn remove(
    hint: Option<&[Group]>,
    mine: impl Fn(&str) -> bool,
    theirs: impl FnOnce(&mut Nftables) -> Result<(), fairlead_kernel::Error>,
) -> Result<(), CniError> {
    let mut nft = match Nftables::open() {
        Ok(nft) => nft,
        // Without nf_tables nothing was made.
        Err(error) if error.errno() == Some(Errno::EPROTONOSUPPORT) => return Ok(()),
        Err(error) => return all_well(vec![error.to_string()]),
    };
    let mut troubles = Vec::new();
    match nft.unforward(hint, mine) {
        Ok(removed) => {
            // A flow would be sent to the address of a container that is no more. What does not work here ends with the
            // flow, and is no leak.
            let _ = nft.forget(&udp_flows(removed.forwards.iter()));
        }
        Err(error) if error.errno() == Some(Errno::EINVAL) && nft.probe().is_err() => return Ok(()),
        Err(error) => troubles.push(error.to_string()),
    }
    troubles.extend(theirs(&mut nft).err().map(|error| error.to_string()));
    nft.leave();
    all_well(troubles)
}

/// What ADD made if nothing was changed since, so that not all forwards of the node must be looked through.
fn hint(request: &Request) -> Vec<Group> {
    let planned = Config::load(request).ok().zip(request.prev_result().ok().flatten());
    let plan = planned.and_then(|(config, previous)| Plan::new(&config, &previous, &request.ifname).ok());
    plan.unwrap_or_default().groups
}
