//! `ipMasq` of the reference's `bridge` and `ptp`.
//!
//! iptables: `nat` chain `CNI-<hash>`, led to by a rule of `POSTROUTING` for each address (before 0.6, for its network).
//! nftables: rules of `masq_checks` in `inet cni_plugins_masquerade`, whose comments begin with our own marks.

use std::net::IpAddr;

use fairlead_kernel::nft::{Family, Nftables, Rule, Table};
use fairlead_kernel::{Cause, Error};
use fairlead_protocol::{Attachment, Request};

use super::{NAT4, NAT6, chain_of, chains_of_network, comment_of, remove_chain, remove_rules};
use crate::owner;

const TABLE: Table = Table::new(Family::Inet, "cni_plugins_masquerade");
const CHECKS: [&str; 1] = ["masq_checks"];
const PREFIX: &str = "CNI-";
const PARENTS: [&str; 1] = ["POSTROUTING"];

/// DEL. With `addresses`, another interface that the container has in the same network keeps its masquerade; without any, the
/// container's chain goes whole.
pub fn remove(nft: &mut Nftables, request: &Request, addresses: &[IpAddr]) -> Result<(), Error> {
    remove_of(nft, (&request.name, &request.container_id, &request.ifname), addresses)
}

/// [`remove`], of network, container and interface.
pub fn remove_of(
    nft: &mut Nftables,
    (network, container_id, ifname): (&str, &str, &str),
    addresses: &[IpAddr],
) -> Result<(), Error> {
    let chain = chain(network, container_id);
    let [v4, v6, table] = nft.exist([(NAT4, Some(&chain)), (NAT6, Some(&chain)), (TABLE, None)]).map_err(looking)?;
    for (nat, there) in [(NAT4, v4), (NAT6, v6)] {
        if there {
            remove_chain(nft, nat, &chain, &PARENTS, |rule| is_from(rule, addresses))?;
        }
    }
    if table {
        let mark = owner::mark(network, container_id, ifname);
        remove_rules(nft, TABLE, &CHECKS, |rule| {
            rule.comment.as_deref().is_some_and(|comment| owner::is_of(comment, &mark))
        })?;
    }
    Ok(())
}

/// The container's chain of iptables.
pub fn chain(network: &str, container_id: &str) -> String {
    chain_of(PREFIX, network, container_id)
}

/// The attachment's rules in the nftables form.
pub fn handles(nft: &mut Nftables, mark: &str) -> Result<Vec<u64>, Error> {
    let [there] = nft.exist([(TABLE, Some(CHECKS[0]))]).map_err(looking)?;
    let rules = if there { nft.rules(TABLE, Some(CHECKS[0])).map_err(looking)? } else { Vec::new() };
    let mine = |rule: &&Rule| rule.comment.as_deref().is_some_and(|comment| owner::is_of(comment, mark));
    Ok(rules.iter().filter(mine).map(|rule| rule.handle).collect())
}

/// GC: what belongs to the network and to no container in the list.
pub fn collect(nft: &mut Nftables, network: &str, valid: &[Attachment]) -> Result<(), Error> {
    let [v4, v6, table] = nft.exist([(NAT4, None), (NAT6, None), (TABLE, None)]).map_err(looking)?;
    let kept: Vec<String> = valid.iter().map(|one| chain_of(PREFIX, network, &one.container_id)).collect();
    let comment = comment_of("", network);
    for (_, nat) in [(v4, NAT4), (v6, NAT6)].into_iter().filter(|(there, _)| *there) {
        let rules = nft.rules(nat, None).map_err(looking)?;
        for chain in chains_of_network(&rules, PREFIX, &comment).iter().filter(|chain| !kept.contains(chain)) {
            remove_chain(nft, nat, chain, &PARENTS, |_| true)?;
        }
    }
    if !table {
        return Ok(());
    }
    let mark = owner::network_mark(network);
    let kept: Vec<String> = valid.iter().map(|one| owner::mark(network, &one.container_id, &one.ifname)).collect();
    remove_rules(nft, TABLE, &CHECKS, |rule| {
        let found = rule.comment.as_deref().and_then(|comment| owner::mark_in(comment, &mark));
        found.is_some_and(|found| !kept.iter().any(|one| one == found))
    })
}

fn looking(cause: Cause) -> Error {
    Error::new("look for", "the reference plugins' masquerade", cause)
}

/// Whether a rule of `POSTROUTING` asks for one of the addresses, or for a network around it. No addresses: any.
fn is_from(rule: &Rule, addresses: &[IpAddr]) -> bool {
    let source = rule.source();
    addresses.is_empty() || source.is_none_or(|net| addresses.iter().any(|address| net.contains(address)))
}
