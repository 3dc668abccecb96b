//! Masquerade: packets of certain addresses that leave their subnet get the address of the device they leave by.
//!
//! One table for everybody, and one look-up per packet however many addresses there are:
//!
//! ```text
//! table inet fairlead_masquerade {
//!     map pods4 { type ipv4_addr : verdict; elements = { 10.1.0.2 comment "…" : goto from-10.1.0.0/16, … } }
//!     map pods6 { type ipv6_addr : verdict; … }
//!     chain postrouting { type nat hook postrouting priority srcnat; ip saddr vmap @pods4; ip6 saddr vmap @pods6 }
//!     chain from-10.1.0.0/16 { ip daddr 10.1.0.0/16 return; ip daddr 224.0.0.0/4 return; masquerade }
//! }
//! ```
//!
//! An address costs one element, a subnet one chain. Who owns an element is in its comment. Adding an address is one
//! transaction that asks nothing first: it says what must be there, and makes more of it only when the kernel says that it is
//! not. The table goes with its last element, and the chains with it: one that no element leads to any more costs no packet
//! anything, and a try to delete one that is still in use waits for a grace period when it is refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::expression::{Expressions, Load};
use super::set::{Data, Element, Leads, Part, Set, Type};
use super::socket::{Nftables, is_stale};
use super::table::{Base, Family, Hook, Table, Verdict};
use super::transaction::Transaction;
use crate::error::{Cause, Errno, Error, Result};

/// The table's name, in the inet family.
pub const TABLE: &str = "fairlead_masquerade";
const MASQUERADE: Table = Table::new(Family::Inet, TABLE);
const PODS4: Set = Set { table: MASQUERADE, name: "pods4", key: &[Type::Ipv4], leads: Leads::ToVerdicts };
const PODS6: Set = Set { table: MASQUERADE, name: "pods6", key: &[Type::Ipv6], leads: Leads::ToVerdicts };
const POSTROUTING: &str = "postrouting";
/// What nft calls `srcnat`.
const SRCNAT: i32 = 100;
const V4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
/// Others may take away what we add to, or commit between our look and our commit; each time we look again.
const ATTEMPTS: u32 = 100;

/// An address that is masqueraded, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Masqueraded {
    /// The source address.
    pub address: IpAddr,
    /// Whose it is, as it was given to [`Nftables::masquerade`], cut at 128 bytes.
    pub owner: String,
}

impl Nftables {
    /// Masquerades what `addresses` send to the outside of their own networks (and not to multicast). `owner` is kept with
    /// each; an address that somebody else owned before is this owner's from now on. All of them, or none.
    pub fn masquerade(&mut self, addresses: &[IpNet], owner: &str) -> Result<()> {
        let object = || addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        if addresses.is_empty() {
            return Ok(());
        }
        let mut missing = Missing { table: false, chains: Vec::new(), old: Vec::new() };
        for _ in 0..ATTEMPTS {
            let cause = match self.commit(&missing.transaction(addresses, owner)) {
                Ok(()) => return Ok(()),
                Err(cause) => cause,
            };
            match cause.errno() {
                Some(Errno::ENOENT | Errno::EEXIST) => {
                    missing =
                        self.what_is_missing(addresses).map_err(|cause| Error::new("masquerade", object(), cause))?;
                }
                _ => return Err(Error::new("masquerade", object(), cause)),
            }
        }
        let cause =
            Cause::Unexpected(format!("the table {TABLE} was changed by others {ATTEMPTS} times in a row; try again"));
        Err(Error::new("masquerade", object(), cause))
    }

    /// What is masqueraded now.
    pub fn masqueraded(&mut self) -> Result<Vec<Masqueraded>> {
        self.all().map_err(|cause| Error::new("list", TABLE, cause))
    }

    /// Who owns `address`, if it is masqueraded.
    pub fn masqueraded_by(&mut self, address: IpAddr) -> Result<Option<String>> {
        let element = self.element(map_of(address), &[Part::Address(address)]);
        Ok(element.map_err(|cause| Error::new("look up", address, cause))?.map(|element| element.comment))
    }

    /// Takes the addresses away whose owner is `mine`; gives how many there were. Nothing there is no error.
    ///
    /// With `hint`, only those are looked at, so that the cost does not grow with the number of all addresses; they must
    /// still be the owner's (its leases not yet released), because nobody else may take one over meanwhile. Without, every
    /// address is looked at, and nothing is taken away that changed since.
    pub fn unmasquerade(&mut self, hint: Option<&[IpAddr]>, mine: impl Fn(&str) -> bool) -> Result<usize> {
        let fail = |cause| Error::new("remove from", TABLE, cause);
        for _ in 0..ATTEMPTS {
            let (gone, transaction) = match hint {
                Some(addresses) => (self.owned(addresses, &mine).map_err(fail)?, Transaction::default()),
                None => {
                    let generation = self.generation().map_err(fail)?;
                    let all = self.all().map_err(fail)?.into_iter().filter(|one| mine(&one.owner));
                    (all.map(|one| one.address).collect(), Transaction::default().at(generation))
                }
            };
            if gone.is_empty() {
                return Ok(0);
            }
            let delete =
                |all: Transaction, address: &IpAddr| all.delete_element(map_of(*address), &[Part::Address(*address)]);
            match self.commit(&gone.iter().fold(transaction, delete)) {
                Ok(()) => {
                    self.remove_empty_table().map_err(fail)?;
                    return Ok(gone.len());
                }
                Err(cause) if is_stale(&cause) || cause.is_not_found() => {}
                Err(cause) => return Err(fail(cause)),
            }
        }
        Err(fail(Cause::Unexpected(format!("the ruleset was changed by others {ATTEMPTS} times in a row; try again"))))
    }

    fn owned(&mut self, addresses: &[IpAddr], mine: impl Fn(&str) -> bool) -> std::result::Result<Vec<IpAddr>, Cause> {
        let mut found = Vec::new();
        for address in addresses {
            let element = self.element(map_of(*address), &[Part::Address(*address)])?;
            found.extend(element.filter(|element| mine(&element.comment)).map(|_| *address));
        }
        Ok(found)
    }

    /// The table goes with its last element. If somebody commits between the look and the deed, somebody is at work: the
    /// table stays, and goes with theirs.
    fn remove_empty_table(&mut self) -> std::result::Result<(), Cause> {
        let generation = self.generation()?;
        for map in [&PODS4, &PODS6] {
            if self.any_element(map, |_| true)? {
                return Ok(());
            }
        }
        match self.commit(&Transaction::default().at(generation).delete_table(MASQUERADE)) {
            Err(cause) if !is_stale(&cause) && !cause.is_not_found() => Err(cause),
            _ => Ok(()),
        }
    }

    fn all(&mut self) -> std::result::Result<Vec<Masqueraded>, Cause> {
        let mut all = self.elements(&PODS4)?;
        all.extend(self.elements(&PODS6)?);
        let read = |one: Element| Some(Masqueraded { address: one.address()?, owner: one.comment });
        Ok(all.into_iter().filter_map(read).collect())
    }

    fn what_is_missing(&mut self, addresses: &[IpNet]) -> std::result::Result<Missing, Cause> {
        let mut chains: Vec<IpNet> = addresses.iter().map(IpNet::trunc).collect();
        chains.sort();
        chains.dedup();
        let table = !self.exists(MASQUERADE, None)?;
        let mut missing = Missing { table, chains: Vec::new(), old: Vec::new() };
        for chain in chains {
            if table || !self.exists(MASQUERADE, Some(&chain_of(&chain)))? {
                missing.chains.push(chain);
            }
        }
        for address in addresses {
            if self.element(map_of(address.addr()), &[Part::Address(address.addr())])?.is_some() {
                missing.old.push(address.addr());
            }
        }
        Ok(missing)
    }
}

/// What a transaction must make or take away besides adding its elements.
struct Missing {
    table: bool,
    chains: Vec<IpNet>,
    old: Vec<IpAddr>,
}

impl Missing {
    fn transaction(&self, addresses: &[IpNet], owner: &str) -> Transaction {
        let mut transaction = Transaction::default();
        if self.table {
            let base = Base::nat(Hook::Postrouting, SRCNAT);
            transaction = transaction.new_table(MASQUERADE).base_chain(MASQUERADE, POSTROUTING, base);
            for (map, like) in [(&PODS4, V4), (&PODS6, V6)] {
                let rule = Expressions::default().family(like).verdict_map(map, &[Load::source(like)]);
                transaction = transaction.set(map).append_rule(MASQUERADE, POSTROUTING, &rule);
            }
        }
        for subnet in &self.chains {
            let chain = chain_of(subnet);
            transaction = transaction.new_chain(MASQUERADE, &chain);
            for inside in [*subnet, multicast(subnet)] {
                let rule =
                    Expressions::default().family(subnet.addr()).destination_in(inside).verdict(&Verdict::Return);
                transaction = transaction.append_rule(MASQUERADE, &chain, &rule);
            }
            transaction = transaction.append_rule(MASQUERADE, &chain, &Expressions::default().masquerade());
        }
        for address in &self.old {
            transaction = transaction.delete_element(map_of(*address), &[Part::Address(*address)]);
        }
        for address in addresses {
            let element = Element {
                key: vec![Part::Address(address.addr())],
                data: Data::Verdict(Verdict::Goto(chain_of(&address.trunc()))),
                comment: owner.to_owned(),
            };
            transaction = transaction.new_element(map_of(address.addr()), &element);
        }
        transaction
    }
}

fn map_of(like: IpAddr) -> &'static Set {
    match like {
        IpAddr::V4(_) => &PODS4,
        IpAddr::V6(_) => &PODS6,
    }
}

/// A name that `nft` can read back: letters, digits, `.`, `/`, `-`, `_`.
fn chain_of(subnet: &IpNet) -> String {
    format!("from-{subnet}").replace(':', "_")
}

/// RFC 5771 and RFC 4291, 2.7.
fn multicast(like: &IpNet) -> IpNet {
    match like {
        IpNet::V4(_) => Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 4).into(),
        IpNet::V6(_) => Ipv6Net::new_assert(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8).into(),
    }
}
