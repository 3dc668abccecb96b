//! The reference's `firewall`, iptables back end: rules in `filter` chain `CNI-FORWARD` that name an address and nobody.
//!
//! Nobody but DEL, which knows the addresses, can tell whose they are. Isolation (`ingressPolicy`) is rules of a bridge, which
//! the reference never removes. Its pods have rules of their addresses beside them: with the last such rule of a family that
//! is removed here, nobody is left who was isolated by them, and they go too.

use std::net::IpAddr;

use fairlead_kernel::nft::{Family, Nftables, Rule, Table, Transaction, Verdict};
use fairlead_kernel::{Cause, Error};

use super::{delete_rules, remove as look_and_do};

const FILTER4: Table = Table::new(Family::Ip, "filter");
const FILTER6: Table = Table::new(Family::Ip6, "filter");
const CHAIN: &str = "CNI-FORWARD";
/// In this order: the first leads to the second.
const ISOLATION: [&str; 2] = ["CNI-ISOLATION-STAGE-1", "CNI-ISOLATION-STAGE-2"];

/// DEL: the rules of these addresses.
pub fn remove(nft: &mut Nftables, addresses: &[IpAddr]) -> Result<(), Error> {
    if addresses.is_empty() {
        return Ok(());
    }
    let [v4, v6] = nft
        .exist([(FILTER4, Some(CHAIN)), (FILTER6, Some(CHAIN))])
        .map_err(|cause| Error::new("look for", "the reference plugins' firewall rules", cause))?;
    for (there, table) in [(v4, FILTER4), (v6, FILTER6)] {
        if there {
            look_and_do(nft, table, |nft, _| plan(nft, table, addresses))?;
        }
    }
    Ok(())
}

fn plan(nft: &mut Nftables, table: Table, addresses: &[IpAddr]) -> Result<Transaction, Cause> {
    let generation = nft.generation()?;
    let rules = nft.rules(table, Some(CHAIN))?;
    let of_addresses = rules.iter().filter_map(|rule| Some((rule, address_of(rule)?)));
    let (gone, others): (Vec<_>, Vec<_>) = of_addresses.partition(|(_, address)| addresses.contains(address));
    if gone.is_empty() {
        return Ok(Transaction::default());
    }
    let mut transaction = delete_rules(table, gone.into_iter().map(|(rule, _)| rule));
    if others.is_empty() {
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
