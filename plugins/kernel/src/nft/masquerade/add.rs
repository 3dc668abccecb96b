//! Adding addresses.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{MASQUERADE, PODS4, PODS6, POSTROUTING, SRCNAT, V4, V6};
use super::{chain_of, map_of, some, take};
use crate::error::{Cause, Errno, Error, Result};
use crate::nft::expression::{Expressions, Load};
use crate::nft::others::{ATTEMPTS, overtaken};
use crate::nft::set::{Data, Element, Part};
use crate::nft::socket::Nftables;
use crate::nft::table::{Base, Hook, Verdict};
use crate::nft::transaction::Transaction;

impl Nftables {
    /// Masquerades what `addresses` send to the outside of their own networks (and not to multicast). `owner` is kept with
    /// each; an address that somebody else owned before is this owner's from now on. All of them, or none.
    pub fn masquerade(&mut self, addresses: &[IpNet], owner: &str) -> Result<()> {
        let object = || addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let fail = |cause| Error::new("masquerade", object(), cause);
        if addresses.is_empty() {
            return Ok(());
        }
        let mut old = Vec::new();
        for _ in 0..ATTEMPTS {
            let missing = Missing::look(self, addresses).map_err(fail)?;
            let Err(cause) = self.commit(&missing.transaction(addresses, &old, owner)) else { return Ok(()) };
            match cause.errno() {
                // An address was somebody's before, or others made the table or the chain meanwhile.
                Some(Errno::EEXIST) => {
                    old = some(self, addresses.iter().map(IpNet::addr), |_| true).map_err(fail)?;
                }
                Some(Errno::ENOENT) => old.clear(),
                _ => return Err(fail(cause)),
            }
        }
        Err(fail(overtaken()))
    }
}

/// What a transaction must make besides its elements.
struct Missing {
    table: bool,
    chains: Vec<IpNet>,
}

impl Missing {
    /// One message. What is for everybody is made exclusively: a transaction that is overtaken fails and is made anew. It is
    /// not bound to a generation of the ruleset, which anybody's commit ends: beside busy others none would ever be in time.
    fn look(nft: &mut Nftables, addresses: &[IpNet]) -> std::result::Result<Missing, Cause> {
        let mut chains: Vec<IpNet> = addresses.iter().map(IpNet::trunc).collect();
        chains.sort();
        chains.dedup();
        let names: Vec<String> = chains.iter().map(chain_of).collect();
        let mut questions = vec![(MASQUERADE, None)];
        questions.extend(names.iter().map(|name| (MASQUERADE, Some(name.as_str()))));
        let there = nft.exist_each(&questions)?;
        let chains = chains.iter().zip(&there[1..]).filter(|(_, there)| !**there).map(|(chain, _)| *chain).collect();
        Ok(Missing { table: !there[0], chains })
    }

    /// `old` are elements that others have now.
    fn transaction(&self, addresses: &[IpNet], old: &[Element], owner: &str) -> Transaction {
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
        transaction = old.iter().fold(transaction, take);
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

/// RFC 5771 and RFC 4291, 2.7.
fn multicast(like: &IpNet) -> IpNet {
    match like {
        IpNet::V4(_) => Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 4).into(),
        IpNet::V6(_) => Ipv6Net::new_assert(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8).into(),
    }
}
