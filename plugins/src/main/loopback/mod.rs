//! `loopback`: brings `lo` of the container up. It has no keys, and `lo` is its interface whatever `CNI_IFNAME` says.
//!
//! A runtime calls it beside its other networks, at the same time: it touches nothing but `lo`, and no sysctl. The alias of
//! `lo` says who brought it up, so that a DEL whose namespace path leads to another container by now leaves that one's alone.

use fairlead_kernel::addr::{self, Address};
use fairlead_kernel::link::{self, Link};
use fairlead_kernel::netlink::Socket;
use fairlead_kernel::netns::Netns;
use fairlead_protocol::{CniError, CniResult, Interface, IpConfig, Plugin, Request};

use crate::container::{all_well, failed, open_netns};
use crate::owner;

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
        let mut pod = Socket::open_in(&open_netns(request)?).map_err(failed)?;
        let lo = link::get_by_name(&mut pod, LO).map_err(failed)?;
        if alias(&lo).is_empty() {
            let text = owner::text(&request.name, &request.container_id, &request.ifname);
            link::set_alias_and_state(&mut pod, lo.index, &text, true).map_err(failed)?;
        } else if !lo.is_up() {
            link::set_up(&mut pod, lo.index).map_err(failed)?;
        }
        // The kernel gives lo its addresses when it goes up.
        let addresses = addr::list(&mut pod, lo.index).map_err(failed)?;
        if let Some(foreign) = addresses.iter().find(|address| !address.net.addr().is_loopback()) {
            let text =
                format!("loopback interface found with non-loopback address {:?}", foreign.net.addr().to_string());
            let undone = link::set_alias_and_state(&mut pod, lo.index, alias(&lo), lo.is_up());
            return Err(undone.err().map_or(CniError::internal(&text), |undo| {
                CniError::internal(&text).with_details(format!("and taking back what was done: {undo}"))
            }));
        }
        Ok(previous.unwrap_or_else(|| result(request, &lo, &addresses)))
    }

    fn check(&self, request: &Request) -> Result<(), CniError> {
        let mut pod = Socket::open_in(&open_netns(request)?).map_err(failed)?;
        let lo = link::get_by_name(&mut pod, LO).map_err(failed)?;
        let mut drifts = Vec::new();
        if !lo.is_up() {
            drifts.push("loopback interface is down".to_owned());
        }
        let have = addr::list(&mut pod, lo.index).map_err(failed)?;
        let previous = request.prev_result()?.unwrap_or_default();
        let said = previous.ips.iter().filter(|ip| previous.interface_of(ip).is_some_and(|one| one.name == LO));
        for ip in said.filter(|ip| !have.iter().any(|address| address.net == ip.address)) {
            drifts.push(format!("loopback interface has no address {}", ip.address));
        }
        all_well(drifts)
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
        let mark = owner::mark(&request.name, &request.container_id, &request.ifname);
        if !alias(&lo).is_empty() && !owner::is_of(alias(&lo), &mark) {
            return Ok(());
        }
        link::set_alias_and_state(&mut pod, lo.index, "", false).map_err(failed)
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

fn alias(lo: &Link) -> &str {
    lo.alias.as_deref().unwrap_or_default()
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
