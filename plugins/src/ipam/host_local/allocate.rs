//! Which addresses an attachment gets: a pure decision over the leases that exist.

use std::collections::HashSet;
use std::net::IpAddr;

use fairlead_protocol::{CniError, Code, IpConfig};
use ipnet::IpNet;

use super::range::{Range, RangeSet};
use super::store::{Lease, Owner};

/// One address to be written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// Index of the set, which is the number in `last_reserved_ip.N`.
    pub set: usize,
    pub ip: IpAddr,
    /// The same with prefix and gateway, for the result.
    pub config: IpConfig,
}

/// One address per set, or none at all. `last(set)` is the address the set gave out last; `requested` are addresses the
/// runtime asked for, at most one of them used per set.
///
/// Errors in the reference's words: code 11 when a set has no free address, else 7.
pub fn allocate(
    sets: &[RangeSet],
    leases: &[Lease],
    last: &dyn Fn(usize) -> Option<IpAddr>,
    requested: &[IpAddr],
    owner: &Owner,
) -> Result<Vec<Allocation>, CniError> {
    // A lease of nobody is what a power failure leaves of a file: nobody can be using it.
    let taken: HashSet<IpAddr> = leases.iter().filter(|lease| !lease.is_nobodys()).map(|lease| lease.ip).collect();
    let own: Vec<IpAddr> = leases.iter().filter(|lease| lease.belongs_to(owner)).map(|lease| lease.ip).collect();
    let mut open = requested.to_vec();
    let mut allocations = Vec::with_capacity(sets.len());
    for (index, set) in sets.iter().enumerate() {
        let wish = open.iter().position(|ip| set.range_of(*ip).is_some()).map(|i| open.remove(i));
        let found = match wish {
            Some(ip) => grant(set, ip, &taken).and_then(|got| refuse_second(set, &own, owner).map(|()| got)),
            None => refuse_second(set, &own, owner).and_then(|()| pick(set, last(index), &taken)),
        };
        let (ip, range) = found.map_err(|error| error.context(format!("failed to allocate for range {index}")))?;
        allocations.push(Allocation { set: index, ip, config: in_subnet(ip, range) });
    }
    if !open.is_empty() {
        let list: Vec<String> = open.iter().map(IpAddr::to_string).collect();
        return Err(CniError::config(format!("failed to allocate all requested IPs: {}", list.join(" "))));
    }
    Ok(allocations)
}

fn grant<'a>(set: &'a RangeSet, ip: IpAddr, taken: &HashSet<IpAddr>) -> Result<(IpAddr, &'a Range), CniError> {
    let range = set.range_of(ip).ok_or_else(|| CniError::config(format!("{ip} not in range set {set}")))?;
    if ip == range.gateway {
        return Err(CniError::config(format!("requested ip {ip} is subnet's gateway")));
    }
    if taken.contains(&ip) {
        return Err(CniError::config(format!("requested IP address {ip} is not available in range set {set}")));
    }
    Ok((ip, range))
}

fn pick<'a>(set: &'a RangeSet, last: Option<IpAddr>, taken: &HashSet<IpAddr>) -> Result<(IpAddr, &'a Range), CniError> {
    set.candidates(last).find(|(ip, _)| !taken.contains(ip)).ok_or_else(|| exhausted(set, Code::TryAgainLater))
}

/// The specification forbids a second ADD without a DEL.
fn refuse_second(set: &RangeSet, own: &[IpAddr], owner: &Owner) -> Result<(), CniError> {
    match own.iter().find(|ip| set.range_of(**ip).is_some()) {
        None => Ok(()),
        Some(ip) => Err(CniError::config(format!(
            "{ip} has been allocated to {}, duplicate allocation is not allowed",
            owner.container_id
        ))),
    }
}

/// What ADD and STATUS say when a set is full.
pub fn exhausted(set: &RangeSet, code: Code) -> CniError {
    CniError::new(code, format!("no IP addresses available in range set: {set}"))
}

fn in_subnet(ip: IpAddr, range: &Range) -> IpConfig {
    let address = IpNet::new(ip, range.subnet.prefix_len()).expect("a range lies in a subnet of its own family");
    IpConfig::new(address, Some(range.gateway))
}

#[cfg(test)]
mod tests;
