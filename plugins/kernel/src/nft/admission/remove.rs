//! Taking away: an owner's elements, then what is empty.

use std::net::IpAddr;

use super::table::{
    self, BETWEEN_PORTS, BRIDGES, FIREWALL, MEMBERS, PORTS, WITHIN, bare, member, name, pods_of, verdict_of,
};
use super::{Hint, NAME};
use crate::error::{Cause, Error, Result};
use crate::nft::others::{ATTEMPTS, ROUNDS, overtaken};
use crate::nft::set::{Data, Element, Part, Set};
use crate::nft::socket::{Nftables, is_stale};
use crate::nft::transaction::Transaction;

impl Nftables {
    /// Takes away what is `mine`; gives the addresses. Nothing there is no error. A bridge opens with its last member.
    ///
    /// With `hint`, only that is looked at, so that the cost does not grow with the number of all; it must still be the
    /// owner's (its leases not yet released). Without, everything is, and nothing is taken away that changed since.
    pub fn dismiss(&mut self, hint: Option<&Hint>, mine: impl Fn(&str) -> bool) -> Result<Vec<IpAddr>> {
        let fail = |cause| Error::new("remove from", NAME, cause);
        let mut removed = Vec::new();
        for round in 0..ATTEMPTS {
            let generation = self.generation().map_err(fail)?;
            let found = self.admitted_to(hint, &mine).map_err(fail)?;
            if round >= ROUNDS && hint.is_none() && found.all().next().is_some() {
                for (set, element) in found.all() {
                    let taken = self.take_away(&[(*set, element.key.clone())], &mine).map_err(fail)?;
                    removed.extend(element.address().filter(|_| taken));
                }
                continue;
            }
            let start = Transaction::default();
            let start = if hint.is_some() { start } else { start.at(generation) };
            // Nothing of the owner's: what an interrupted removal left empty goes all the same.
            match self.commit(&found.delete(start)) {
                Ok(()) => {
                    self.tidy().map_err(fail)?;
                    removed.extend(found.pods.iter().filter_map(Element::address));
                    return Ok(removed);
                }
                Err(cause) if is_stale(&cause) || cause.is_not_found() => {}
                Err(cause) => return Err(fail(cause)),
            }
        }
        Err(fail(overtaken()))
    }

    /// Bridges without members open, empty tables go. If others do not stop committing they stay, and go with the next removal.
    fn tidy(&mut self) -> std::result::Result<(), Cause> {
        for _ in 0..ROUNDS {
            let generation = self.generation()?;
            let transaction = self.opened()?;
            let transaction = self.without_empty(transaction)?;
            if transaction.is_empty() {
                return Ok(());
            }
            match self.commit(&transaction.at(generation)) {
                Err(cause) if is_stale(&cause) || cause.is_not_found() => {}
                other => return other,
            }
        }
        Ok(())
    }

    fn admitted_to(&mut self, hint: Option<&Hint>, mine: &impl Fn(&str) -> bool) -> std::result::Result<Found, Cause> {
        let mut found = Found { pods: Vec::new(), members: Vec::new(), ports: Vec::new() };
        match hint {
            Some(hint) => {
                for address in &hint.addresses {
                    found.pods.extend(self.element(pods_of(*address), &[Part::Address(*address)])?);
                    if let Some(bridge) = &hint.bridge {
                        found.members.extend(self.element(&MEMBERS, &member(bridge, *address))?);
                    }
                }
                if let Some(port) = &hint.port {
                    found.ports.extend(self.element(&PORTS, &[name(port)])?);
                }
            }
            None => {
                for family in table::PODS {
                    found.pods.extend(self.elements(family)?);
                }
            }
        }
        if hint.is_none_or(|hint| hint.bridge.is_none()) {
            found.members = self.elements(&MEMBERS)?;
        }
        if hint.is_none_or(|hint| hint.port.is_none()) {
            found.ports = self.elements(&PORTS)?;
        }
        for all in [&mut found.pods, &mut found.members, &mut found.ports] {
            all.retain(|one| mine(&one.comment));
        }
        Ok(found)
    }

    /// What opens the bridges that nobody shuts any more, or not so strictly. All of them are looked at, there are few: whoever
    /// was interrupted before this left one shut.
    fn opened(&mut self) -> std::result::Result<Transaction, Cause> {
        let mut bridges: Vec<String> = self.elements(&BRIDGES)?.iter().filter_map(table::bridge_of).collect();
        bridges.extend(self.elements(&WITHIN)?.iter().filter_map(table::bridge_of));
        bridges.sort();
        bridges.dedup();
        let mut all = Transaction::default();
        for bridge in &bridges {
            let is_of = |one: &Element| one.key.first() == Some(&name(bridge));
            let strict = Data::Verdict(verdict_of(true));
            let key = [name(bridge), name(bridge)];
            let within = self.element(&WITHIN, &key)?;
            let is_strict = within.as_ref().is_some_and(|within| within.data == strict);
            if is_strict && self.any_element(&MEMBERS, |one| is_of(one) && one.data == strict)? {
                continue;
            }
            let shut = self.any_element(&MEMBERS, is_of)?;
            if within.is_some() && (is_strict || !shut) {
                all = all.delete_element(&WITHIN, &key);
            }
            if is_strict && shut {
                let lax = Element { data: Data::Verdict(verdict_of(false)), ..bare(key.to_vec()) };
                all = all.new_element(&WITHIN, &lax);
            }
            if !shut && self.element(&BRIDGES, &key[..1])?.is_some() {
                all = all.delete_element(&BRIDGES, &key[..1]);
            }
        }
        Ok(all)
    }

    /// What also takes away the tables that have no elements, and what nobody needs any more beside others' rules.
    fn without_empty(&mut self, mut all: Transaction) -> std::result::Result<Transaction, Cause> {
        if !self.any_element(&PORTS, |_| true)? && self.exists(BETWEEN_PORTS, None)? {
            all = all.delete_table(BETWEEN_PORTS);
        }
        if self.is_admitting()? || self.any_element(&MEMBERS, |_| true)? {
            return Ok(all);
        }
        if self.exists(FIREWALL, None)? {
            all = all.delete_table(FIREWALL);
        }
        self.without_chains(all)
    }
}

/// An owner's elements.
struct Found {
    pods: Vec<Element>,
    members: Vec<Element>,
    ports: Vec<Element>,
}

impl Found {
    /// Each with its set.
    fn all(&self) -> impl Iterator<Item = (&'static Set, &Element)> {
        let pods = self.pods.iter().filter_map(|pod| Some((pods_of(pod.address()?), pod)));
        let members = self.members.iter().map(|one| (&MEMBERS, one));
        let ports = self.ports.iter().map(|one| (&PORTS, one));
        pods.chain(members).chain(ports)
    }

    fn delete(&self, all: Transaction) -> Transaction {
        self.all().fold(all, |all, (set, element)| all.delete_element(set, &element.key))
    }
}
