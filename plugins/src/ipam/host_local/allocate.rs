//! Which addresses an attachment gets: decided by the leases that exist, written by somebody else.

use std::net::IpAddr;

use fairlead_protocol::{CniError, Code, IpConfig};
use ipnet::IpNet;

use super::index::{Distrust, Index};
use super::lease::Owner;
use super::range::{Range, RangeSet};

/// The address of a set and the range it is in, or the reason why there is none.
type Found<'a> = Result<(IpAddr, &'a Range), CniError>;

/// One address to be written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// Index of the set, which is the number in `last_reserved_ip.N`.
    pub set: usize,
    pub ip: IpAddr,
    /// The same with prefix and gateway, for the result.
    pub config: IpConfig,
}

/// One address per set, or none at all. `last` is the address that each set gave out last; `requested` are addresses the
/// runtime asked for, at most one of them used per set.
///
/// Errors in the reference's words: code 11 when a set has no free address, else 7.
pub fn allocate(
    sets: &[RangeSet],
    index: &mut Index,
    last: &[Option<IpAddr>],
    requested: &[IpAddr],
    owner: &Owner,
) -> Result<Result<Vec<Allocation>, CniError>, Distrust> {
    let own: Vec<IpAddr> = index.owned(owner)?.iter().map(|entry| entry.ip).collect();
    let mut open = requested.to_vec();
    let mut allocations = Vec::with_capacity(sets.len());
    for (number, set) in sets.iter().enumerate() {
        let wish = open.iter().position(|ip| set.range_of(*ip).is_some()).map(|i| open.remove(i));
        let found = match (wish, refuse_second(set, &own, owner)) {
            (Some(ip), second) => grant(set, ip, index)?.and_then(|got| second.map(|()| got)),
            (None, Err(second)) => Err(second),
            (None, Ok(())) => pick(set, last.get(number).copied().flatten(), index)?,
        };
        let (ip, range) = match found {
            Ok(found) => found,
            Err(error) => return Ok(Err(error.context(format!("failed to allocate for range {number}")))),
        };
        allocations.push(Allocation { set: number, ip, config: in_subnet(ip, range) });
    }
    if !open.is_empty() {
        let list: Vec<String> = open.iter().map(IpAddr::to_string).collect();
        return Ok(Err(CniError::config(format!("failed to allocate all requested IPs: {}", list.join(" ")))));
    }
    Ok(Ok(allocations))
}

fn grant<'a>(set: &'a RangeSet, ip: IpAddr, index: &mut Index) -> Result<Found<'a>, Distrust> {
    let Some(range) = set.range_of(ip) else {
        return Ok(Err(CniError::config(format!("{ip} not in range set {set}"))));
    };
    if ip == range.gateway {
        return Ok(Err(CniError::config(format!("requested ip {ip} is subnet's gateway"))));
    }
    if index.is_taken(ip)? {
        let text = format!("requested IP address {ip} is not available in range set {set}");
        return Ok(Err(CniError::config(text)));
    }
    Ok(Ok((ip, range)))
}

/// The first free address after `last`.
pub fn pick<'a>(set: &'a RangeSet, last: Option<IpAddr>, index: &mut Index) -> Result<Found<'a>, Distrust> {
    for stretch in set.stretches(last) {
        let mut found = index.next_free(stretch.from, stretch.to)?;
        if found == Some(stretch.range.gateway) {
            found = match stretch.behind(stretch.range.gateway) {
                Some(rest) => index.next_free(rest.from, rest.to)?,
                None => None,
            };
        }
        if let Some(ip) = found {
            return Ok(Ok((ip, stretch.range)));
        }
    }
    Ok(Err(exhausted(set, Code::TryAgainLater)))
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
    let all = set.capacity();
    let details = format!(
        "all {all} addresses have a lease: `fairlead-cni ipam show` lists them, `fairlead-cni ipam check` finds those that \
         no container needs, a larger range helps for good"
    );
    CniError::new(code, format!("no IP addresses available in range set: {set}")).with_details(details)
}

fn in_subnet(ip: IpAddr, range: &Range) -> IpConfig {
    let address = IpNet::new(ip, range.subnet.prefix_len()).expect("a range lies in a subnet of its own family");
    IpConfig::new(address, Some(range.gateway))
}

#[cfg(test)]
mod tests;
