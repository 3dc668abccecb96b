//! `bridge`: a veth pair between the container and a bridge of the node, with addresses, routes and masquerade.

mod apply;
mod check;
mod config;
mod detach;
mod gateway;
mod plan;

use fairlead_kernel::nft::Nftables;
use fairlead_protocol::{CniError, CniResult, Code, Plugin, Request, delegate};

use crate::container::all_well;
use crate::doors::Doors;
use apply::Made;
use config::Config;
use plan::Plan;

/// The plugin.
pub struct Bridge;

impl Plugin for Bridge {
    fn name(&self) -> &'static str {
        "bridge"
    }

    fn add(&self, request: &Request) -> Result<CniResult, CniError> {
        let config = Config::parse(request)?;
        request.version.require_addresses(!config.ipam.is_empty())?;
        let mut doors = Doors::open(request)?;
        let mut made = Made::default();
        let attached = attach(request, &config, &mut doors, &mut made);
        attached.map_err(|error| {
            let troubles = made.undo(request, &config, &mut doors);
            match troubles.is_empty() {
                true => error,
                false => error.with_details(format!("and taking back what was done: {}", troubles.join("; "))),
            }
        })
    }

    fn check(&self, request: &Request) -> Result<(), CniError> {
        let config = Config::parse(request)?;
        if !config.ipam.is_empty() {
            delegate::check(&config.ipam, request)?;
        }
        check::check(request, &config)
    }

    fn del(&self, request: &Request) -> Result<(), CniError> {
        detach::detach(request)
    }

    fn gc(&self, request: &Request) -> Result<(), CniError> {
        let Some(valid) = request.valid_attachments()? else { return Ok(()) };
        let mut troubles = detach::collect(request, &valid);
        match request.ipam_type() {
            Ok(ipam) if ipam.is_empty() => {}
            Ok(ipam) => troubles.extend(delegate::gc(&ipam, request).err().map(|error| error.to_string())),
            Err(error) => troubles.push(error.to_string()),
        }
        all_well(troubles)
    }

    fn status(&self, request: &Request) -> Result<(), CniError> {
        let config = Config::parse(request)?;
        if config.ip_masq {
            let probed = Nftables::open().and_then(|mut nft| nft.probe());
            probed.map_err(|error| {
                let text = format!("ipMasq needs nf_tables: {error}: load the kernel module nf_tables");
                CniError::new(Code::Limited, text)
            })?;
        }
        if config.ipam.is_empty() { Ok(()) } else { delegate::status(&config.ipam, request) }
    }
}

/// Everything that an ADD does, in order; what it made is in `made` whether it ends well or not.
fn attach(request: &Request, config: &Config, doors: &mut Doors, made: &mut Made) -> Result<CniResult, CniError> {
    let plan = if config.ipam.is_empty() {
        Plan::layer2(config)
    } else {
        let answer = delegate::add(&config.ipam, request)?;
        made.addresses_taken();
        Plan::new(config, answer)?
    };
    let bridge = apply::ensure_bridge(&mut doors.host, config)?;
    let pair = apply::connect(request, config, &bridge, doors, made)?;
    apply::furnish(request, config, &plan, &pair, doors)?;
    gateway::ensure(config, &plan, &bridge, &mut doors.host)?;
    if config.ip_masq {
        made.masquerade(request, &plan)?;
    }
    apply::wait_for_port(config, &pair, &mut doors.host)?;
    apply::announce(&plan, &bridge, &pair, doors);
    Ok(apply::result(request, plan, &bridge, &pair))
}
