//! The reference's `portmap`.
//!
//! iptables: `nat` chain `CNI-DN-<hash>`, led to from `CNI-HOSTPORT-DNAT`; before 0.7 also `CNI-SN-<hash>` from
//! `CNI-HOSTPORT-SNAT`. nftables: rules in `ip|ip6 cni_hostport` whose comment is the container and nothing else, which says
//! nothing of the network. DEL takes those of the container, as the reference's does; GC, which is asked about one network,
//! must leave them alone. A runtime that collects by libcni calls DEL for what it remembers first.

use fairlead_kernel::nft::{Family, Nftables, Table};
use fairlead_kernel::{Cause, Error};
use fairlead_protocol::{Attachment, Request};

use super::{NAT4, NAT6, chain_of, chains_of_network, comment_of, remove_chain, remove_rules};

const TABLE4: Table = Table::new(Family::Ip, "cni_hostport");
const TABLE6: Table = Table::new(Family::Ip6, "cni_hostport");
/// The chains with rules of containers; `hostip_hostports` is of 1.6 and older.
const CHAINS: [&str; 3] = ["hostports", "hostip_hostports", "masquerading"];

/// A kind of chain in `nat`: its prefix, how comments of the rules that lead to it begin, and where those are.
struct Kind {
    prefix: &'static str,
    comment: &'static str,
    parents: [&'static str; 1],
}

const DNAT: Kind = Kind { prefix: "CNI-DN-", comment: "dnat ", parents: ["CNI-HOSTPORT-DNAT"] };
const SNAT: Kind = Kind { prefix: "CNI-SN-", comment: "snat ", parents: ["CNI-HOSTPORT-SNAT"] };

/// DEL.
pub fn remove(nft: &mut Nftables, request: &Request) -> Result<(), Error> {
    let [dnat, snat] = [DNAT, SNAT].map(|kind| chain_of(kind.prefix, &request.name, &request.container_id));
    let there = nft.exist([
        (NAT4, Some(&dnat)),
        (NAT6, Some(&dnat)),
        (NAT4, Some(&snat)),
        (NAT6, Some(&snat)),
        (TABLE4, None),
        (TABLE6, None),
    ]);
    let [dnat4, dnat6, snat4, snat6, table4, table6] = there.map_err(looking)?;
    for (there, nat, kind, chain) in
        [(dnat4, NAT4, DNAT, &dnat), (dnat6, NAT6, DNAT, &dnat), (snat4, NAT4, SNAT, &snat), (snat6, NAT6, SNAT, &snat)]
    {
        if there {
            remove_chain(nft, nat, chain, &kind.parents, |_| true)?;
        }
    }
    for (there, table) in [(table4, TABLE4), (table6, TABLE6)] {
        if there {
            remove_rules(nft, table, &CHAINS, |rule| rule.comment.as_deref() == Some(&request.container_id))?;
        }
    }
    Ok(())
}

/// Whether there are rules of the container in the nftables form, of whatever network.
pub fn has_rules(nft: &mut Nftables, container_id: &str) -> Result<bool, Error> {
    let there = nft.exist([(TABLE4, None), (TABLE6, None)]).map_err(looking)?;
    for table in [TABLE4, TABLE6].into_iter().zip(there).filter_map(|(table, there)| there.then_some(table)) {
        let rules = nft.rules(table, None).map_err(looking)?;
        if rules.iter().any(|rule| rule.comment.as_deref() == Some(container_id)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// GC: the chains of the network and of no container in the list.
pub fn collect(nft: &mut Nftables, network: &str, valid: &[Attachment]) -> Result<(), Error> {
    let [v4, v6] = nft.exist([(NAT4, None), (NAT6, None)]).map_err(looking)?;
    for (_, nat) in [(v4, NAT4), (v6, NAT6)].into_iter().filter(|(there, _)| *there) {
        let rules = nft.rules(nat, None).map_err(looking)?;
        for kind in [DNAT, SNAT] {
            let kept: Vec<String> = valid.iter().map(|one| chain_of(kind.prefix, network, &one.container_id)).collect();
            let chains = chains_of_network(&rules, kind.prefix, &comment_of(kind.comment, network));
            for chain in chains.iter().filter(|chain| !kept.contains(chain)) {
                remove_chain(nft, nat, chain, &kind.parents, |_| true)?;
            }
        }
    }
    Ok(())
}

fn looking(cause: Cause) -> Error {
    Error::new("look for", "the reference plugins' port forwards", cause)
}
