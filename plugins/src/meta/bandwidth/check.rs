//! CHECK: the buckets and the way to them, every difference named.

use fairlead_kernel::link::Link;
use fairlead_kernel::netlink::Socket;
use fairlead_kernel::qdisc::{self, Tbf};
use fairlead_protocol::{CniError, Request};

use super::config::Config;
use super::name::{self, Whose};
use crate::container::{all_well, failed};

/// Compares. Errors: code 999 with all drifts.
pub fn check(request: &Request, config: &Config, veth: &Link, host: &mut Socket) -> Result<(), CniError> {
    let mut drifts = Vec::new();
    if let Some(tbf) = &config.to_container {
        check_bucket(veth, tbf, host, &mut drifts)?;
    }
    if let Some(tbf) = &config.from_container {
        let found = name::find(host, request).map_err(failed)?;
        let mine = found.iter().find(|(_, whose)| *whose == Whose::Mine);
        match mine.or_else(|| found.iter().find(|(_, whose)| *whose == Whose::Unsaid)) {
            Some((ifb, _)) => {
                check_bucket(ifb, tbf, host, &mut drifts)?;
                check_way(veth, ifb, host, &mut drifts)?;
            }
            None => {
                let [first, second] = name::names(request);
                drifts.push(format!("get ifb device: neither {first} nor {second} is there"));
            }
        }
    }
    all_well(drifts)
}

fn check_bucket(link: &Link, wanted: &Tbf, host: &mut Socket, drifts: &mut Vec<String>) -> Result<(), CniError> {
    let name = &link.name;
    let root = qdisc::root(host, link.index).map_err(failed)?;
    let Some((rate, limit, ticks)) = root.as_ref().and_then(|root| root.tbf) else {
        let is = root.map_or("none".to_owned(), |root| root.kind);
        drifts.push(format!("Failed to find qdisc: the root of {name} is {is}, not tbf"));
        return Ok(());
    };
    if rate != wanted.rate {
        drifts.push(format!("Rate doesn't match: {name} has {rate} bytes a second, not {}", wanted.rate));
    }
    if limit != wanted.limit {
        drifts.push(format!("Limit doesn't match: in {name} {limit} bytes may wait, not {}", wanted.limit));
    }
    // At another rate the same bucket has other ticks.
    if let Some(wanted_ticks) = wanted.ticks().filter(|wanted_ticks| rate == wanted.rate && *wanted_ticks != ticks) {
        drifts.push(format!(
            "Buffer doesn't match: the bucket of {name} has {ticks} ticks of 64 ns, not {wanted_ticks} ({} bytes)",
            wanted.burst
        ));
    }
    Ok(())
}

fn check_way(veth: &Link, ifb: &Link, host: &mut Socket, drifts: &mut Vec<String>) -> Result<(), CniError> {
    if !ifb.is_up() {
        drifts.push(format!("{} is down: what {} sends is dropped", ifb.name, veth.name));
    }
    let leads_to = match qdisc::ingress(host, veth.index).map_err(failed)? {
        Some(at) => qdisc::redirects(host, veth.index, at).map_err(failed)?,
        None => Vec::new(),
    };
    if !leads_to.contains(&ifb.index) {
        drifts.push(format!("nothing sends what comes in by {} to {}", veth.name, ifb.name));
    }
    Ok(())
}
