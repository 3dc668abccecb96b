//! `static`: the addresses that the configuration or the runtime says. It keeps nothing, so nothing can be lost.

pub mod config;

use fairlead_protocol::{CniError, CniResult, IpConfig, Plugin, Request};

use config::Config;

/// The plugin.
pub struct Static;

impl Plugin for Static {
    fn name(&self) -> &'static str {
        "static"
    }

    fn add(&self, request: &Request) -> Result<CniResult, CniError> {
        let Config { addresses, routes, dns } = Config::load(request)?;
        Ok(CniResult { interfaces: Vec::new(), ips: addresses, routes, dns })
    }

    fn check(&self, request: &Request) -> Result<(), CniError> {
        let config = Config::load(request)?;
        let previous = request.prev_result()?.ok_or_else(|| CniError::config("Required prevResult missing"))?;
        let drifts: Vec<String> =
            config.addresses.iter().filter_map(|wanted| drift(wanted, &previous.ips, &request.ifname)).collect();
        if drifts.is_empty() { Ok(()) } else { Err(CniError::internal(drifts.join("; "))) }
    }

    fn del(&self, _: &Request) -> Result<(), CniError> {
        // Nothing was written down, whatever the configuration says now.
        Ok(())
    }

    fn gc(&self, _: &Request) -> Result<(), CniError> {
        // Nothing was written down.
        Ok(())
    }

    fn status(&self, request: &Request) -> Result<(), CniError> {
        // It depends on nothing but on a configuration that makes sense.
        Config::load(request).map(|_| ())
    }
}

/// What is not as configured about one address; `None`: nothing. The reference lets an address that is not there pass.
fn drift(wanted: &IpConfig, found: &[IpConfig], ifname: &str) -> Option<String> {
    let same: Vec<&IpConfig> = found.iter().filter(|ip| ip.address.addr() == wanted.address.addr()).collect();
    if same.is_empty() {
        return Some(format!(
            "static: Failed to find addr {} on interface {ifname}: prevResult has no such address",
            wanted.address
        ));
    }
    let gateway_fits = |ip: &&IpConfig| wanted.gateway.is_none() || ip.gateway == wanted.gateway;
    if same.iter().any(|ip| ip.address.prefix_len() == wanted.address.prefix_len() && gateway_fits(ip)) {
        return None;
    }
    let says = |ip: &IpConfig| match ip.gateway {
        Some(gateway) => format!("{} with gateway {gateway}", ip.address),
        None => format!("{} without a gateway", ip.address),
    };
    let text = format!("static: Failed to match addr {} on interface {ifname}", wanted.address.addr());
    Some(format!("{text}: prevResult has {}, configured is {}", says(same[0]), says(wanted)))
}

#[cfg(test)]
mod tests;
