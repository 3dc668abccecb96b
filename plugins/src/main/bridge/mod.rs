//! `bridge`: a veth pair between the container and a bridge of the node, with addresses, routes, VLANs and masquerade.

mod apply;
mod check;
pub(crate) mod config;
mod gateway;
mod plan;
mod vlan;

use fairlead_kernel::link;
use fairlead_kernel::netlink::Socket;
use fairlead_protocol::{CniError, CniResult, Code, Plugin, Request, delegate};

use crate::doors::Doors;
use crate::veth::made::Made;
use crate::veth::{collect, detach, ready};
use config::Config;

/// The plugin.
pub struct Bridge;

impl Plugin for Bridge {
    fn name(&self) -> &'static str {
        "bridge"
    }

    fn add(&self, request: &Request) -> Result<CniResult, CniError> {
        let config = Config::load(request)?;
        request.version.require_addresses(!config.ipam.is_empty())?;
        let mut doors = Doors::open(request)?;
        let mut made = Made::new(request);
        let attached = apply::attach(request, &config, &mut doors, &mut made);
        made.end(attached, &mut doors)
    }

    fn check(&self, request: &Request) -> Result<(), CniError> {
        let config = Config::load(request)?;
        if !config.ipam.is_empty() {
            delegate::check(&config.ipam, request)?;
        }
        check::check(request, &config)
    }

    fn del(&self, request: &Request) -> Result<(), CniError> {
        detach::detach(request, config::gateway_of(request).as_deref())
    }

    fn gc(&self, request: &Request) -> Result<(), CniError> {
        collect::collect(request)
    }

    fn status(&self, request: &Request) -> Result<(), CniError> {
        let config = Config::load(request)?;
        for (key, _) in [("ipMasq", config.ip_masq), ("macspoofchk", config.spoof_check)].iter().filter(|one| one.1) {
            ready::nftables(key)?;
        }
        if config.vlans.filtered {
            let bridge = Socket::open().and_then(|mut host| link::get_by_name(&mut host, &config.bridge));
            if bridge.is_ok_and(|bridge| bridge.is("bridge") && bridge.filters_vlans.is_none()) {
                let text = "vlan and vlanTrunk need a kernel with CONFIG_BRIDGE_VLAN_FILTERING";
                return Err(CniError::new(Code::Limited, text));
            }
        }
        if config.ipam.is_empty() { Ok(()) } else { delegate::status(&config.ipam, request) }
    }
}
