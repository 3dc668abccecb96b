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
//! An address costs one element, a subnet one chain. Who owns an element is in its comment. The table goes with its last
//! element, and the chains with it: one that no element leads to any more costs no packet anything.
//!
//! A transaction that the kernel refuses waits for an RCU grace period, and everybody's commits with it (__nf_tables_abort,
//! net/netfilter/nf_tables_api.c): 8 to 24 ms, where a good one takes 0.03 ms. So what is there is asked first, in one message
//! (0.03 ms). What is made for everybody is made exclusively; what is removed for everybody is bound to the generation of that
//! answer, as far as others let it ([`super::others`]): a stale transaction is refused before it begins. (Adding used to ask
//! nothing first. The first address after the last one always paid for it.)

mod add;
mod remove;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::set::{Element, Leads, Part, Set, Type};
use super::socket::Nftables;
use super::table::{Family, Table};
use super::transaction::Transaction;
use crate::error::{Cause, Error, Result};

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
/// How many rules a subnet's chain has.
const RULES: u32 = 3;

/// An address that is masqueraded, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Masqueraded {
    /// The source address.
    pub address: IpAddr,
    /// Whose it is, as it was given to [`Nftables::masquerade`], cut at 128 bytes.
    pub owner: String,
}

impl Nftables {
    /// What is masqueraded now.
    pub fn masqueraded(&mut self) -> Result<Vec<Masqueraded>> {
        let all = all(self).map_err(|cause| Error::new("list", TABLE, cause))?;
        let read = |one: Element| Some(Masqueraded { address: one.address()?, owner: one.comment });
        Ok(all.into_iter().filter_map(read).collect())
    }

    /// Who owns `address`, if it is masqueraded.
    pub fn masqueraded_by(&mut self, address: IpAddr) -> Result<Option<String>> {
        let element = self.element(map_of(address), &[Part::Address(address)]);
        Ok(element.map_err(|cause| Error::new("look up", address, cause))?.map(|element| element.comment))
    }
}

fn all(nft: &mut Nftables) -> std::result::Result<Vec<Element>, Cause> {
    let mut all = nft.elements(&PODS4)?;
    all.extend(nft.elements(&PODS6)?);
    Ok(all)
}

/// The elements of these addresses, where they are `mine`.
fn some(
    nft: &mut Nftables,
    addresses: impl IntoIterator<Item = IpAddr>,
    mine: impl Fn(&str) -> bool,
) -> std::result::Result<Vec<Element>, Cause> {
    let mut found = Vec::new();
    for address in addresses {
        let element = nft.element(map_of(address), &[Part::Address(address)])?;
        found.extend(element.filter(|element| mine(&element.comment)));
    }
    Ok(found)
}

/// Takes an element out of its map.
fn take(all: Transaction, element: &Element) -> Transaction {
    match element.address() {
        Some(address) => all.delete_element(map_of(address), &element.key),
        None => all,
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
