//! `bandwidth`: limits what a container may send and receive in a second.

mod apply;
mod check;
pub(crate) mod config;
mod name;

use fairlead_kernel::netlink::Socket;
use fairlead_kernel::{link, qdisc};
use fairlead_protocol::{CniError, CniResult, Code, Plugin, Request, Version};

use crate::container::{absent_is_done, all_well, failed};
use crate::doors::Doors;
use crate::owner;
use apply::Made;
use config::Config;
use name::Whose;

/// The plugin.
pub struct Bandwidth;

impl Plugin for Bandwidth {
    fn name(&self) -> &'static str {
        "bandwidth"
    }

    /// From 0.3.0 on: results before that have no interfaces.
    fn versions(&self) -> &'static [Version] {
        &Version::ALL[2..]
    }

    fn add(&self, request: &Request) -> Result<CniResult, CniError> {
        let config = Config::load(request)?;
        let mut previous =
            request.prev_result()?.ok_or_else(|| CniError::config("must be called as chained plugin"))?;
        if config.is_empty() {
            return Ok(previous);
        }
        let mut doors = Doors::open(request)?;
        let veth = apply::host_end(request, &previous, &mut doors)?;
        let mut made = Made::default();
        match apply::shape(request, &config, &veth, &mut doors.host, &mut made) {
            Ok(ifb) => {
                previous.interfaces.extend(ifb);
                Ok(previous)
            }
            Err(error) => {
                let troubles = made.undo(&veth, &mut doors.host);
                Err(match troubles.is_empty() {
                    true => error,
                    false => error.with_details(format!("and taking back what was done: {}", troubles.join("; "))),
                })
            }
        }
    }

    fn check(&self, request: &Request) -> Result<(), CniError> {
        let config = Config::load(request)?;
        let previous = request.prev_result()?.ok_or_else(|| CniError::config("must be called as a chained plugin"))?;
        if config.is_empty() {
            return Ok(());
        }
        let mut doors = Doors::open(request)?;
        let veth = apply::host_end(request, &previous, &mut doors)?;
        check::check(request, &config, &veth, &mut doors.host)
    }

    /// The ifb by its names, whatever the configuration says by now. The disciplines of the pair go with the pair.
    fn del(&self, request: &Request) -> Result<(), CniError> {
        let mut host = Socket::open().map_err(failed)?;
        let found = name::find(&mut host, request).map_err(failed)?;
        let mut troubles = Vec::new();
        for (link, _) in found.iter().filter(|(_, whose)| *whose != Whose::Others) {
            let removed = link::delete(&mut host, link.index).or_else(absent_is_done);
            troubles.extend(removed.err().map(|error| error.to_string()));
        }
        all_well(troubles)
    }

    /// By alias: an ifb without one was made by the reference and does not say of which network it is.
    fn gc(&self, request: &Request) -> Result<(), CniError> {
        let Some(valid) = request.valid_attachments()? else { return Ok(()) };
        let network = owner::network_mark(&request.name);
        let kept: Vec<String> =
            valid.iter().map(|one| owner::mark(&request.name, &one.container_id, &one.ifname)).collect();
        let dead =
            |alias: &str| owner::mark_in(alias, &network).is_some_and(|mark| !kept.iter().any(|one| one == mark));
        let mut host = Socket::open().map_err(failed)?;
        let mut troubles = Vec::new();
        for ifb in link::list(&mut host).map_err(failed)? {
            if ifb.is("ifb") && ifb.alias.as_deref().is_some_and(dead) {
                let removed = link::delete(&mut host, ifb.index).or_else(absent_is_done);
                troubles.extend(removed.err().map(|error| error.to_string()));
            }
        }
        all_well(troubles)
    }

    /// Also without a limit in the configuration: the runtime brings them at ADD.
    fn status(&self, request: &Request) -> Result<(), CniError> {
        Config::load(request)?;
        qdisc::probe().map_err(|error| {
            let text = format!("bandwidth cannot slow anything down: {error}");
            let remedy = "load the kernel modules ifb, sch_tbf, sch_ingress, cls_u32 and act_mirred";
            CniError::new(Code::Limited, text).with_details(remedy)
        })
    }
}
