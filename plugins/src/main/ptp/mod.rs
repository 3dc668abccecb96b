//! `ptp`: a veth pair between the container and the node, and routes: no bridge, no neighbours.

mod apply;
mod check;
pub(crate) mod config;
mod plan;

use fairlead_protocol::{CniError, CniResult, Plugin, Request, delegate};

use crate::doors::Doors;
use crate::veth::made::Made;
use crate::veth::{collect, detach, ready};
use config::Config;

/// The plugin.
pub struct Ptp;

impl Plugin for Ptp {
    fn name(&self) -> &'static str {
        "ptp"
    }

    fn add(&self, request: &Request) -> Result<CniResult, CniError> {
        let config = Config::load(request)?;
        let mut doors = Doors::open(request)?;
        let mut made = Made::new(request);
        let attached = apply::attach(request, &config, &mut doors, &mut made);
        made.end(attached, &mut doors)
    }

    fn check(&self, request: &Request) -> Result<(), CniError> {
        let config = Config::load(request)?;
        delegate::check(&config.ipam, request)?;
        check::check(request, &config)
    }

    fn del(&self, request: &Request) -> Result<(), CniError> {
        detach::detach(request, None)
    }

    fn gc(&self, request: &Request) -> Result<(), CniError> {
        collect::collect(request)
    }

    fn status(&self, request: &Request) -> Result<(), CniError> {
        let config = Config::load(request)?;
        if config.ip_masq {
            ready::nftables("ipMasq")?;
        }
        delegate::status(&config.ipam, request)
    }
}
