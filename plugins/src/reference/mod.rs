//! What the reference plugins left in the packet filter, recognised by their names and comments and removed.
//!
//! A node is switched while its pods live: what was ADDed by the reference is DELeted, or collected, by us. Both of its back
//! ends are known: chains and rules that iptables-nft wrote, which are nf_tables objects like others, and the tables that it
//! makes with `nft`. What iptables-legacy wrote is no nf_tables object and out of reach: it stays, and hinders nothing.
//!
//! Where nothing is left, one message asks for every name at once. What the reference itself never removes stays too: its
//! top chains (`CNI-HOSTPORT-DNAT`, `-MASQ`, `-SETMARK`, `CNI-FORWARD`, `CNI-ADMIN`), and base chains. Tables that are the
//! reference's alone go with the last rule of a container.

pub mod firewall;
pub mod masquerade;
pub mod portmap;
pub mod spoof;

use std::fmt::Write;

use fairlead_kernel::error::Errno;
use fairlead_kernel::nft::{Family, Nftables, Rule, Table, Transaction, is_stale};
use fairlead_kernel::{Cause, Error};
use sha2::{Digest, Sha512};

const NAT4: Table = Table::new(Family::Ip, "nat");
const NAT6: Table = Table::new(Family::Ip6, "nat");

/// Others may commit between a look and a deed; each time we look again.
const ATTEMPTS: u32 = 100;
/// How many of these rounds may insist on a generation of the ruleset, which any commit of anybody ends: a node whose services
/// are written a thousand times a second has none that lasts.
const ROUNDS: u32 = 20;
/// iptables takes no longer name of a chain.
const CHAIN_LENGTH: usize = 28;

/// The chain of a container in a network: the prefix and as many hex digits of the SHA-512 as fit. The interface is not in
/// it: two of one container in one network share a chain.
fn chain_of(prefix: &str, network: &str, container_id: &str) -> String {
    let hash = Sha512::new().chain_update(network).chain_update(container_id).finalize();
    let mut chain = hash.iter().fold(prefix.to_owned(), |mut all, byte| {
        // Writing to a String cannot fail.
        let _ = write!(all, "{byte:02x}");
        all
    });
    chain.truncate(CHAIN_LENGTH);
    chain
}

/// Whether the chain's name is one of [`chain_of`]'s.
fn is_chain(prefix: &str, chain: &str) -> bool {
    let digits = chain.strip_prefix(prefix);
    chain.len() == CHAIN_LENGTH
        && digits.is_some_and(|digits| digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
}

/// How the comments of a network's rules begin; `kind` is what stands in front. Names of networks need no escapes.
fn comment_of(kind: &str, network: &str) -> String {
    format!("{kind}name: \"{network}\" id: \"")
}

/// The chains of a table that rules with such a comment are in, or lead to.
fn chains_of_network(rules: &[Rule], prefix: &str, comment: &str) -> Vec<String> {
    let mine = rules.iter().filter(|rule| rule.comment.as_deref().is_some_and(|text| text.starts_with(comment)));
    let named = mine.flat_map(|rule| [Some(rule.chain.as_str()), rule.leads_to()]).flatten();
    let mut chains: Vec<String> = named.filter(|chain| is_chain(prefix, chain)).map(str::to_owned).collect();
    chains.sort();
    chains.dedup();
    chains
}

/// Removes the rules that lead to a chain, as far as they are `unwanted`, and the chain when none does any more. `parents`
/// are the chains where the reference writes such rules.
fn remove_chain(
    nft: &mut Nftables,
    table: Table,
    chain: &str,
    parents: &[&str],
    unwanted: impl Fn(&Rule) -> bool,
) -> Result<(), Error> {
    remove(nft, table, |nft, hindered| {
        let mut leading = Vec::new();
        if hindered.busy {
            leading = nft.rules(table, None)?;
        } else {
            for parent in parents {
                leading.extend(nft.rules(table, Some(parent))?);
            }
        }
        let leading = leading.iter().filter(|rule| rule.leads_to() == Some(chain));
        let (gone, others): (Vec<_>, Vec<_>) = leading.partition(|rule| unwanted(rule));
        let transaction = delete_rules(table, gone);
        Ok(if others.is_empty() && nft.exists(table, Some(chain))? {
            transaction.delete_chain(table, chain)
        } else {
            transaction
        })
    })
}

fn delete_rules<'a>(table: Table, rules: impl IntoIterator<Item = &'a Rule>) -> Transaction {
    rules.into_iter().fold(Transaction::default(), |all, rule| all.delete_rule(table, &rule.chain, rule.handle))
}

/// Removes the rules that are `unwanted`, and the table with its last rule of a container; `chains` are those that have such.
fn remove_rules(
    nft: &mut Nftables,
    table: Table,
    chains: &[&str],
    unwanted: impl Fn(&Rule) -> bool,
) -> Result<(), Error> {
    remove(nft, table, |nft, hindered| {
        let generation = nft.generation()?;
        let rules = nft.rules(table, None)?;
        let (gone, others): (Vec<_>, Vec<_>) =
            rules.iter().filter(|rule| chains.contains(&rule.chain.as_str())).partition(|rule| unwanted(rule));
        Ok(match (gone.is_empty(), others.is_empty()) {
            (true, _) => Transaction::default(),
            (false, true) if !hindered.overtaken => Transaction::default().at(generation).delete_table(table),
            (false, true) if !hindered.busy => delete_deserted(nft, table, chains, &rules)?,
            (false, _) => delete_rules(table, gone),
        })
    })
}

/// The table, if none of these chains has other rules by now than we saw: EBUSY if one has.
fn delete_deserted(nft: &mut Nftables, table: Table, chains: &[&str], rules: &[Rule]) -> Result<Transaction, Cause> {
    let there = nft.chains(table)?;
    let there = there.iter().filter(|chain| chains.contains(&chain.name.as_str()));
    let emptied = delete_rules(table, rules);
    Ok(there.fold(emptied, |all, chain| all.delete_empty_chain(table, &chain.name)).delete_table(table))
}

/// What stood in the way of a removal so far.
#[derive(Debug, Clone, Copy, Default)]
struct Hindered {
    /// Something in use (EBUSY): somebody leads to a chain from where the reference does not, or added to it meanwhile.
    busy: bool,
    /// Others, who committed each time between the look and the deed.
    overtaken: bool,
}

/// Looks and does until nobody came in between. `plan` is told what was in the way before, and gives an empty transaction when
/// there is nothing to do.
fn remove(
    nft: &mut Nftables,
    table: Table,
    plan: impl Fn(&mut Nftables, Hindered) -> Result<Transaction, Cause>,
) -> Result<(), Error> {
    let fail = |cause| Error::new("remove what the reference plugins left from table", table.name, cause);
    let mut busy = false;
    for round in 0..ATTEMPTS {
        let transaction = plan(nft, Hindered { busy, overtaken: round >= ROUNDS }).map_err(fail)?;
        if transaction.is_empty() {
            return Ok(());
        }
        match nft.commit(&transaction) {
            Ok(()) => return Ok(()),
            Err(cause) if is_stale(&cause) || cause.is_not_found() => {}
            Err(cause) if !busy && cause.errno() == Some(Errno::EBUSY) => busy = true,
            Err(cause) => return Err(fail(cause)),
        }
    }
    Err(fail(Cause::Unexpected(format!("the ruleset was changed by others {ATTEMPTS} times in a row; try again"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_have_the_references_names() {
        let long = "icee6giejonei6sohng6ahngee7laquohquee9shiGo7fohferakah3Feiyoolu2pei7ciPhoh7shaoX6vai3vuf0ahf\
                    aeng8yohb9ceu0daez5hashee8ooYai5wa3y";
        assert_eq!(chain_of("CNI-DN-", "test", long), "CNI-DN-67e92b96e692a494b6b85");
        assert_eq!(chain_of("CNI-", "net", "cnitool-eb69d96616c204ff963c"), "CNI-9a687bf3e63a0c6882f3aaf9");
    }

    #[test]
    fn a_chain_is_known_by_prefix_length_and_digits() {
        assert!(is_chain("CNI-", "CNI-9a687bf3e63a0c6882f3aaf9"));
        assert!(is_chain("CNI-DN-", "CNI-DN-9a687bf3e63a0c6882f3a"));
        for other in
            ["CNI-DN-9a687bf3e63a0c6882f3a", "CNI-HOSTPORT-MASQ", "CNI-9a687bf3e63a0c6882f3aaf", "KUBE-SERVICES"]
        {
            assert!(!is_chain("CNI-", other), "{other}");
        }
    }
}
