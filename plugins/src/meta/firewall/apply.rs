//! Making the plan true, and taking it back.

use std::net::IpAddr;

use fairlead_kernel::error::Errno;
use fairlead_kernel::nft::{Admission, Hint, Isolation, Nftables};
use fairlead_kernel::xtables;
use fairlead_protocol::{CniError, CniResult, Request};

use super::config::Config;
use super::firewalld::Zone;
use super::plan::Plan;
use crate::container::failed;
use crate::{owner, reference};

/// What the kernel is told of a plan. With a zone of firewalld the elements are kept all the same, so that DEL and GC know
/// whose the addresses are, but nothing is written beside the rules of iptables.
pub fn admission(request: &Request, config: &Config, plan: &Plan, zone: Option<&Zone<'_>>) -> Admission {
    let isolation = plan.isolation.as_ref().map(|one| Isolation {
        bridge: one.bridge.clone(),
        strict: one.strict,
        port: one.port.clone(),
    });
    Admission {
        addresses: plan.addresses.clone(),
        owner: owner::text(&request.name, &request.container_id, &request.ifname),
        admin_chain: zone.is_none().then(|| config.admin_chain.clone()),
        isolation,
    }
}

/// ADD: the kernel in one transaction, then firewalld address by address; all of it, or nothing.
pub fn admit(admission: &Admission, zone: Option<&mut Zone<'_>>) -> Result<(), CniError> {
    if admission.addresses.is_empty() {
        return Ok(());
    }
    let mut nft = Nftables::open().map_err(failed)?;
    let admitted = nft.admit(admission).map_err(failed).and_then(|()| {
        let beyond = match (zone, &admission.admin_chain) {
            (Some(zone), _) => join(admission, zone),
            (None, Some(admin)) => xtables::admit(&admission.addresses, admin).map_err(failed),
            (None, None) => Ok(()),
        };
        beyond.map_err(|error| take_back(admission, &mut nft, error))
    });
    // Closing would wait for what anybody removed in the last moments.
    nft.leave();
    admitted
}

/// All addresses into the zone, or none.
fn join(admission: &Admission, zone: &mut Zone<'_>) -> Result<(), CniError> {
    for (number, address) in admission.addresses.iter().enumerate() {
        let Err(error) = zone.add(*address) else { continue };
        let added = &admission.addresses[..number];
        let troubles: Vec<String> = added.iter().filter_map(|added| zone.remove(*added).err()).collect();
        return Err(with_troubles(error, &troubles));
    }
    Ok(())
}

/// What the kernel was told before somebody else refused.
fn take_back(admission: &Admission, nft: &mut Nftables, error: CniError) -> CniError {
    let isolation = admission.isolation.as_ref();
    let hint = Hint {
        addresses: admission.addresses.clone(),
        bridge: isolation.map(|one| one.bridge.clone()),
        port: isolation.and_then(|one| one.port.clone()),
    };
    let dismissed = nft.dismiss(Some(&hint), |found| found == admission.owner);
    let trouble = dismissed.err().map(|trouble| trouble.to_string());
    with_troubles(error, trouble.as_slice())
}

fn with_troubles(error: CniError, troubles: &[String]) -> CniError {
    if troubles.is_empty() {
        return error;
    }
    let before = if error.details.is_empty() { String::new() } else { format!("{}; ", error.details) };
    error.with_details(format!("{before}and taking back what was done: {}", troubles.join("; ")))
}

/// What DEL and GC found on their way.
pub struct Dismissed {
    /// The addresses that firewalld need not let through any more.
    pub addresses: Vec<IpAddr>,
    /// What went wrong.
    pub troubles: Vec<String>,
    /// To be left, not closed: closing waits until the kernel has freed what was removed.
    pub nft: Option<Nftables>,
}

/// DEL, in the kernel: what bears the attachment's mark, and what the reference left for its addresses.
pub fn dismiss(request: &Request, previous: Option<&CniResult>) -> Dismissed {
    let mut all = open();
    let Some(nft) = &mut all.nft else { return all };
    let mark = owner::mark(&request.name, &request.container_id, &request.ifname);
    let said: Vec<IpAddr> = previous.iter().flat_map(|result| &result.ips).map(|ip| ip.address.addr()).collect();
    let hint = previous.filter(|_| !said.is_empty()).map(|result| hint(result, &said));
    all.troubles.extend(reference::firewall::remove(nft, request, &said).err().map(|error| error.to_string()));
    match nft.dismiss(hint.as_ref(), |found| owner::is_of(found, &mark)) {
        Ok(found) => all.addresses = found,
        Err(error) if is_without_nft(nft, error.errno()) => {}
        Err(error) => all.troubles.push(error.to_string()),
    }
    all.forget_xtables();
    let Some(nft) = &mut all.nft else { return all };
    // What the reference told firewalld is nobody's in the kernel; what is somebody else's by now stays.
    for address in said {
        if !all.addresses.contains(&address) && nft.admitted_by(address).is_ok_and(|owner| owner.is_none()) {
            all.addresses.push(address);
        }
    }
    all
}

/// GC, in the kernel: what bears a mark of which `stale` says so.
pub fn collect(stale: impl Fn(&str) -> bool) -> Dismissed {
    let mut all = open();
    let Some(nft) = &mut all.nft else { return all };
    match nft.dismiss(None, stale) {
        Ok(found) => all.addresses = found,
        Err(error) if is_without_nft(nft, error.errno()) => {}
        Err(error) => all.troubles.push(error.to_string()),
    }
    all.forget_xtables();
    all
}

impl Dismissed {
    /// What stands beside the rules of iptables-legacy goes with the last address.
    fn forget_xtables(&mut self) {
        let Some(nft) = &mut self.nft else { return };
        let forgotten = xtables::dismiss(|| nft.admits_anybody());
        self.troubles.extend(forgotten.err().map(|error| error.to_string()));
    }
}

/// A kernel without nf_tables has nothing to remove.
fn open() -> Dismissed {
    let (nft, trouble) = match Nftables::open() {
        Ok(nft) => (Some(nft), None),
        Err(error) if error.errno() == Some(Errno::EPROTONOSUPPORT) => (None, None),
        Err(error) => (None, Some(error.to_string())),
    };
    Dismissed { addresses: Vec::new(), troubles: trouble.into_iter().collect(), nft }
}

fn is_without_nft(nft: &mut Nftables, errno: Option<Errno>) -> bool {
    errno == Some(Errno::EINVAL) && nft.probe().is_err()
}

/// Bridge and port stand where `bridge` puts them; another plugin's result has none there, and then all are looked at.
fn hint(result: &CniResult, addresses: &[IpAddr]) -> Hint {
    let mut on_node = result.interfaces.iter().filter(|one| one.sandbox.is_empty() && !one.name.is_empty());
    let bridge = on_node.next().map(|one| one.name.clone());
    let port = on_node.next().map(|one| one.name.clone());
    Hint { addresses: addresses.to_vec(), bridge, port }
}
