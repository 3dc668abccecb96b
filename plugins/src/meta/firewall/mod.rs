//! `firewall`: what a container sends, and what is answered to it, passes the node's firewall; and its bridge may be shut to
//! other bridges.

mod apply;
pub(crate) mod config;
mod dbus;
mod firewalld;
mod plan;
#[cfg(test)]
mod tests;

use fairlead_kernel::nft::Nftables;
use fairlead_kernel::xtables;
use fairlead_protocol::{CniError, CniResult, Code, Plugin, Request, Version};

use crate::container::{all_well, failed};
use crate::owner;
use apply::Dismissed;
use config::{Backend, Config};
use firewalld::Zone;
use plan::Plan;

/// The plugin.
pub struct Firewall;

impl Plugin for Firewall {
    fn name(&self) -> &'static str {
        "firewall"
    }

    fn versions(&self) -> &'static [Version] {
        &Version::ALL[4..]
    }

    fn add(&self, request: &Request) -> Result<CniResult, CniError> {
        let (config, previous, plan) = wanted(request)?;
        let mut zone = Zone::wanted(&config)?;
        let admission = apply::admission(request, &config, &plan, zone.as_ref());
        apply::admit(&admission, zone.as_mut())?;
        Ok(previous)
    }

    fn check(&self, request: &Request) -> Result<(), CniError> {
        let (config, _, plan) = wanted(request)?;
        let mut zone = Zone::wanted(&config)?;
        let admission = apply::admission(request, &config, &plan, zone.as_ref());
        let mut drifts = Vec::new();
        if !plan.addresses.is_empty() {
            drifts = Nftables::open().and_then(|mut nft| nft.admission_drifts(&admission)).map_err(failed)?;
        }
        if let Some(admin) = &admission.admin_chain {
            drifts.extend(xtables::drifts(&plan.addresses, admin).map_err(failed)?);
        }
        if let Some(zone) = &mut zone {
            drifts.extend(plan.addresses.iter().filter_map(|address| zone.drift(*address)));
        }
        all_well(drifts)
    }

    fn del(&self, request: &Request) -> Result<(), CniError> {
        let config = Config::load_lenient(request);
        let previous = request.prev_result().ok().flatten();
        finish(&config, apply::dismiss(request, previous.as_ref()))
    }

    fn gc(&self, request: &Request) -> Result<(), CniError> {
        let Some(valid) = request.valid_attachments()? else { return Ok(()) };
        let network = owner::network_mark(&request.name);
        let kept: Vec<String> =
            valid.iter().map(|one| owner::mark(&request.name, &one.container_id, &one.ifname)).collect();
        let stale =
            |found: &str| owner::mark_in(found, &network).is_some_and(|mark| !kept.iter().any(|one| one == mark));
        finish(&Config::load_lenient(request), apply::collect(stale))
    }

    fn status(&self, request: &Request) -> Result<(), CniError> {
        let config = Config::load(request)?;
        let probed = Nftables::open().and_then(|mut nft| nft.probe());
        probed.map_err(|error| {
            let text = format!("firewall needs nf_tables: {error}: load the kernel module nf_tables");
            CniError::new(Code::Limited, text)
        })?;
        match Zone::wanted(&config) {
            Ok(Some(mut zone)) if config.backend == Backend::Firewalld => zone.probe(),
            Ok(_) => Ok(()),
            Err(error) => Err(CniError { code: Code::Limited, ..error }),
        }
    }
}

/// What ADD makes true and CHECK compares. Errors: the configuration's own, a result that is missing or unreadable.
fn wanted(request: &Request) -> Result<(Config, CniResult, Plan), CniError> {
    let config = Config::load(request)?;
    let previous = request.prev_result()?.ok_or_else(|| CniError::config("missing prevResult from earlier plugin"))?;
    let plan = Plan::new(&config, &previous)?;
    Ok((config, previous, plan))
}

/// The end of DEL and GC: firewalld forgets the addresses too. One that does not run has forgotten them.
fn finish(config: &Config, dismissed: Dismissed) -> Result<(), CniError> {
    let Dismissed { addresses, mut troubles, nft } = dismissed;
    if let (false, Ok(Some(mut zone))) = (addresses.is_empty(), Zone::wanted(config)) {
        troubles.extend(addresses.iter().filter_map(|address| zone.remove(*address).err()));
    }
    if let Some(nft) = nft {
        nft.leave();
    }
    all_well(troubles)
}

/// A message of the bus, as far as it is read: for the fuzzer.
#[cfg(any(test, feature = "fuzz"))]
pub fn read_message(bytes: &[u8]) {
    dbus::read(bytes);
}
