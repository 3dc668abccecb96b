//! What is wrong with the leases of a network. Pure.

use std::collections::BTreeMap;

use super::super::index::Entry;
use super::super::lease::Lease;
use super::show::{Boot, Found};

/// Every problem, one line each: what, where, and what to do.
pub fn problems(found: &Found<'_>) -> Vec<String> {
    let mut problems = Vec::new();
    let leases = || found.leases.iter().map(|(lease, _)| lease);
    for lease in leases() {
        if lease.is_nobodys() {
            problems.push(format!("{}: an empty file, left by a crash; it counts as free, GC removes it", lease.name));
        } else if lease.text.is_none() {
            problems.push(format!("{}: cannot be read, so the address is taken for good; look at it", lease.name));
        } else if !lease.has_canonical_name() {
            let text = "every call has to read the whole directory as long as it is there; release it";
            problems.push(format!("{}: not the way {} is written; {text}", lease.name, lease.ip));
        }
    }
    problems.extend(several(leases()));
    problems.extend(found.network.sets.iter().enumerate().filter_map(|(number, set)| {
        let gateways = leases().filter(|lease| set.range_of(lease.ip).is_some_and(|range| range.gateway == lease.ip));
        let list: Vec<&str> = gateways.map(|lease| &*lease.name).collect();
        (!list.is_empty()).then(|| format!("set {number}: the gateway {} has a lease; release it", list.join(", ")))
    }));
    if !found.network.sets.is_empty() {
        let outside = leases().filter(|lease| found.network.sets.iter().all(|set| set.range_of(lease.ip).is_none()));
        problems.extend(
            listed(outside.map(|lease| &*lease.name)).map(|list| format!("outside of every configured range: {list}")),
        );
    }
    let earlier = found.leases.iter().filter(|(_, boot)| *boot == Boot::Earlier).map(|(lease, _)| &*lease.name);
    problems.extend(listed(earlier).map(|list| {
        format!("of an earlier boot: {list}; the next ADD, DEL or GC removes them, `ipam release --stale` does now")
    }));
    problems.extend(
        listed(found.strange.iter().map(|name| &**name))
            .map(|list| format!("no leases and not ours, never touched: {list}; remove them if nobody needs them")),
    );
    problems
}

/// What a believed index says that the files do not say, and the other way round.
pub fn disagreements(entries: &[Entry], leases: &[(Lease, Boot)]) -> Vec<String> {
    let of_files: BTreeMap<_, _> =
        leases.iter().filter(|(lease, _)| !lease.is_nobodys()).map(|(lease, _)| (lease.ip, lease)).collect();
    let of_index: BTreeMap<_, _> = entries.iter().map(|entry| (entry.ip, entry)).collect();
    let missing = of_files.iter().filter_map(|(ip, lease)| match of_index.get(ip) {
        None => Some(format!("index: {ip} has a lease that it does not know")),
        Some(entry) if entry.key != super::super::index::entry_of(lease, 0).key => {
            Some(format!("index: {ip} is another container's there"))
        }
        Some(_) => None,
    });
    let gone = of_index.keys().filter(|ip| !of_files.contains_key(ip)).map(|ip| format!("index: {ip} has no lease"));
    missing.chain(gone).collect()
}

/// One attachment with several addresses of one family, which a second range set may mean, or a lost DEL; and one address
/// with several files.
fn several<'a>(leases: impl Iterator<Item = &'a Lease>) -> Vec<String> {
    let mut by_owner: BTreeMap<(&str, bool), Vec<&str>> = BTreeMap::new();
    let mut by_address: BTreeMap<_, Vec<&str>> = BTreeMap::new();
    for lease in leases {
        by_address.entry(lease.ip).or_default().push(&lease.name);
        if let Some(text) = lease.text.as_deref().filter(|text| text.contains("\r\n")) {
            by_owner.entry((text, lease.ip.is_ipv4())).or_default().push(&lease.name);
        }
    }
    let twice = by_address.values().filter(|names| names.len() > 1);
    let files = twice.map(|names| format!("one address, several files: {}", names.join(", ")));
    let owners = by_owner
        .iter()
        .filter(|(_, names)| names.len() > 1)
        .map(|((text, _), names)| format!("{} has several addresses: {}", text.replace("\r\n", " "), names.join(", ")));
    files.chain(owners).collect()
}

/// `a, b, c and 12 more`.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> Option<String> {
    const SHOWN: usize = 8;
    let names: Vec<&str> = names.collect();
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len() {
        0 => None,
        count if count > SHOWN => Some(format!("{shown} and {} more", count - SHOWN)),
        _ => Some(shown),
    }
}

#[cfg(test)]
mod tests;
