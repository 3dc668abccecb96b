//! `portmap`: ports of the node that lead to a container.
//!
//! Chained: the container's addresses are those of the previous result. Every backend is nf_tables (see
//! [`fairlead_kernel::nft::Forward`]); what the reference's left is removed with the container.
//!
//! Unlike in the reference, a port that is another container's is refused instead of leading to whoever came first; one
//! address's own port is no conflict with that port of all addresses, and wins.

mod apply;
mod conditions;
pub(crate) mod config;
mod detach;
mod plan;

use fairlead_kernel::nft::Nftables;
use fairlead_protocol::{CniError, CniResult, Code, Plugin, Request};

use crate::container::{all_well, failed};
use crate::owner;
use apply::Way;
use config::Config;
use plan::Plan;

/// The plugin.
pub struct Portmap;

impl Plugin for Portmap {
    fn name(&self) -> &'static str {
        "portmap"
    }

    fn add(&self, request: &Request) -> Result<CniResult, CniError> {
        let config = Config::load(request).map_err(|error| error.context("failed to parse config"))?;
        let previous = request.prev_result().map_err(|error| error.context("failed to parse config"))?;
        let previous = previous.ok_or_else(|| CniError::config("must be called as chained plugin"))?;
        let plan = Plan::new(&config, &previous, &request.ifname)?;
        if !plan.groups.is_empty() {
            apply::attach(request, &plan)?;
        }
        Ok(previous)
    }

    fn check(&self, request: &Request) -> Result<(), CniError> {
        let config = Config::load(request)?;
        let previous = request.prev_result()?.ok_or_else(|| CniError::config("Required prevResult missing"))?;
        all_well(drifts(request, &Plan::new(&config, &previous, &request.ifname)?)?)
    }

    fn del(&self, request: &Request) -> Result<(), CniError> {
        detach::detach(request)
    }

    fn gc(&self, request: &Request) -> Result<(), CniError> {
        match request.valid_attachments()? {
            Some(valid) => detach::collect(request, &valid),
            None => Ok(()),
        }
    }

    fn status(&self, request: &Request) -> Result<(), CniError> {
        Config::load(request)?;
        let probed = Nftables::open().and_then(|mut nft| {
            let probed = nft.probe_forwards();
            nft.leave();
            probed
        });
        probed.map_err(|error| {
            let advice = "load the kernel modules nf_tables, nft_nat, nft_masq and nft_fib_inet";
            CniError::new(Code::Limited, format!("portmap needs nf_tables with nat: {error}: {advice}"))
        })
    }
}

/// What is not as ADD left it.
fn drifts(request: &Request, plan: &Plan) -> Result<Vec<String>, CniError> {
    if plan.groups.is_empty() {
        return Ok(Vec::new());
    }
    let mark = owner::mark(&request.name, &request.container_id, &request.ifname);
    let mut nft = Nftables::open().map_err(failed)?;
    let mut drifts =
        nft.forwards_missing(&plan.groups, |found| apply::standing(request, &mark, found)).map_err(failed)?;
    if let Some(way) = plan.loopback_to.and_then(Way::to).filter(|way| !way.is_open()) {
        drifts.push(format!("sysctl {} is not 1", way.key()));
    }
    Ok(drifts)
}
