//! `loopback`: brings `lo` of the container up. It has no keys, and ignores `CNI_IFNAME`.

use fairlead_kernel::addr::{self, Address};
use fairlead_kernel::link::{self, Link};
use fairlead_kernel::netlink::Socket;
use fairlead_kernel::netns::Netns;
use fairlead_protocol::{CniError, CniResult, Interface, IpConfig, Plugin, Request};

use crate::container::{failed, open_netns};

/// The device's name, in every namespace.
const LO: &str = "lo";

/// The plugin.
pub struct Loopback;

impl Plugin for Loopback {
    fn name(&self) -> &'static str {
        "loopback"
    }

    fn add(&self, request: &Request) -> Result<CniResult, CniError> {
        let previous = request.prev_result()?;
        let netns = open_netns(request)?;
        let mut pod = Socket::open_in(&netns).map_err(failed)?;
        let lo = link::get_by_name(&mut pod, LO).map_err(failed)?;
        if !lo.is_up() {
            link::set_up(&mut pod, lo.index).map_err(failed)?;
        }
        let addresses = addr::list(&mut pod, lo.index).map_err(failed)?;
        if let Some(foreign) = addresses.iter().find(|address| !address.net.addr().is_loopback()) {
            let text =
                format!("loopback interface found with non-loopback address {:?}", foreign.net.addr().to_string());
            return Err(CniError::internal(text));
        }
        Ok(previous.unwrap_or_else(|| result(request, &lo, &addresses)))
    }

    fn check(&self, request: &Request) -> Result<(), CniError> {
        let mut pod = Socket::open_in(&open_netns(request)?).map_err(failed)?;
        let lo = link::get_by_name(&mut pod, LO).map_err(failed)?;
        if lo.is_up() { Ok(()) } else { Err(CniError::internal("loopback interface is down")) }
    }

    fn del(&self, request: &Request) -> Result<(), CniError> {
        let netns = match Netns::open(&request.netns) {
            Ok(netns) => netns,
            // Gone, or a file where it was: there is no lo any more.
            Err(error) if error.is_not_found() || error.is_not_a_namespace() => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        let mut pod = Socket::open_in(&netns).map_err(failed)?;
        let lo = link::get_by_name(&mut pod, LO).map_err(failed)?;
        link::set_down(&mut pod, lo.index).map_err(failed)
    }

    fn gc(&self, _: &Request) -> Result<(), CniError> {
        // Nothing of it outlives the container's namespace.
        Ok(())
    }

    fn status(&self, _: &Request) -> Result<(), CniError> {
        // Every namespace has its lo: there is nothing that could be missing.
        Ok(())
    }
}

/// Addresses of lo as the result says them: the first of each family.
fn result(request: &Request, lo: &Link, addresses: &[Address]) -> CniResult {
    let first = |is_v4: bool| addresses.iter().find(|address| address.net.addr().is_ipv4() == is_v4);
    let ips = [first(true), first(false)].into_iter().flatten();
    let ips = ips.map(|address| IpConfig { interface: Some(0), ..IpConfig::new(address.net, None) }).collect();
    let mac = lo.mac.map(|mac| mac.to_string()).unwrap_or_default();
    let interface = Interface { name: LO.into(), mac, sandbox: request.netns.clone(), ..Interface::default() };
    CniResult { interfaces: vec![interface], ips, ..CniResult::default() }
}
