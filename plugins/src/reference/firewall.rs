//! The reference's `firewall`, iptables back end: rules in `filter` chain `CNI-FORWARD` that name an address and nobody.
//!
//! Only DEL can tell whose they are: by the result, or else by the container's leases of host-local, which outlive this
//! plugin's DEL. GC comes when those are gone, and must leave the rules alone. Isolation (`ingressPolicy`) is rules of a
//! bridge, which the reference never removes. Its pods have rules of their addresses beside them: with the last such rule of
//! a family that is removed here, nobody is left who was isolated by them, and they go too.

use std::net::IpAddr;
use std::path::Path;

use fairlead_kernel::nft::{Family, Nftables, Rule, Table, Transaction, Verdict};
use fairlead_kernel::{Cause, Error};
use fairlead_protocol::Request;

use super::{Hindered, delete_rules, remove as look_and_do};
use crate::leases;

const FILTER4: Table = Table::new(Family::Ip, "filter");
const FILTER6: Table = Table::new(Family::Ip6, "filter");
const CHAIN: &str = "CNI-FORWARD";
/// Where host-local keeps leases, a directory a network.
const LEASES: &str = "/var/lib/cni/networks";
/// In this order: the first leads to the second.
const ISOLATION: [&str; 2] = ["CNI-ISOLATION-STAGE-1", "CNI-ISOLATION-STAGE-2"];

/// DEL: the rules of these addresses; of none, those of the addresses that the container has leased.
pub fn remove(nft: &mut Nftables, request: &Request, addresses: &[IpAddr]) -> Result<(), Error> {
    let [v4, v6] = nft
        .exist([(FILTER4, Some(CHAIN)), (FILTER6, Some(CHAIN))])
        .map_err(|cause| Error::new("look for", "the reference plugins' firewall rules", cause))?;
    let leases = Path::new(LEASES).join(&request.name);
    let mine = |address: IpAddr| match addresses {
        [] => is_leased(&leases, address, &request.container_id),
        _ => addresses.contains(&address),
    };
    for (there, table) in [(v4, FILTER4), (v6, FILTER6)] {
        if there {
            look_and_do(nft, table, |nft, hindered| plan(nft, table, hindered, mine))?;
        }
    }
    Ok(())
}

/// Whether the container has the address, as host-local writes it down where it is not told another place.
fn is_leased(leases: &Path, address: IpAddr, container_id: &str) -> bool {
    let path = leases.join(address.to_string());
    // A fifo would keep us waiting.
    let lease = path.is_file().then(|| std::fs::read(path)).and_then(Result::ok);
    lease.is_some_and(|text| leases::parse(address, &text).container_id == container_id)
}

/// The chains of isolation stay where somebody else leads to them, and where others do not stop committing: somebody who needs
/// them may be among those.
fn plan(
    nft: &mut Nftables,
    table: Table,
    hindered: Hindered,
    mine: impl Fn(IpAddr) -> bool,
) -> Result<Transaction, Cause> {
    let generation = nft.generation()?;
    let rules = nft.rules(table, Some(CHAIN))?;
    let of_addresses = rules.iter().filter_map(|rule| Some((rule, address_of(rule)?)));
    let (gone, others): (Vec<_>, Vec<_>) = of_addresses.partition(|(_, address)| mine(*address));
    if gone.is_empty() {
        return Ok(Transaction::default());
    }
    let mut transaction = delete_rules(table, gone.into_iter().map(|(rule, _)| rule));
    if others.is_empty() && !hindered.busy && !hindered.overtaken {
        let forward = nft.rules(table, Some("FORWARD"))?;
        let leading = forward.iter().filter(|rule| rule.leads_to() == Some(ISOLATION[0]));
        transaction =
            leading.fold(transaction.at(generation), |all, rule| all.delete_rule(table, &rule.chain, rule.handle));
        for chain in ISOLATION {
            if nft.exists(table, Some(chain))? {
                transaction = transaction.delete_chain(table, chain);
            }
        }
    }
    Ok(transaction)
}

/// `-s ADDRESS -j ACCEPT`, or `-d ADDRESS … -j ACCEPT`: whose rule it is.
fn address_of(rule: &Rule) -> Option<IpAddr> {
    let net = rule.source().or_else(|| rule.destination())?;
    (rule.verdict == Some(Verdict::Accept) && net.prefix_len() == net.max_prefix_len()).then(|| net.addr())
}
