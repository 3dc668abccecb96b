//! Removing them.

use std::net::IpAddr;

use super::{MASQUERADE, PODS4, PODS6, RULES, TABLE};
use super::{all, map_of, some, take};
use crate::error::{Cause, Error, Result};
use crate::nft::others::{ATTEMPTS, Keys, ROUNDS, overtaken};
use crate::nft::read::Chain;
use crate::nft::set::Element;
use crate::nft::socket::{Nftables, is_stale};
use crate::nft::transaction::Transaction;

impl Nftables {
    /// Takes the addresses away whose owner is `mine`; gives how many there were. Nothing there is no error.
    ///
    /// With `hint`, only those are looked at, so that the cost does not grow with the number of all addresses; they must
    /// still be the owner's (its leases not yet released), because nobody else may take one over meanwhile. Without, every
    /// address is looked at, and nothing is taken away that changed since.
    pub fn unmasquerade(&mut self, hint: Option<&[IpAddr]>, mine: impl Fn(&str) -> bool) -> Result<usize> {
        let fail = |cause| Error::new("remove from", TABLE, cause);
        let mut taken = 0;
        for round in 0..ATTEMPTS {
            let generation = self.generation().map_err(fail)?;
            let gone = match hint {
                Some(addresses) => some(self, addresses.iter().copied(), &mine).map_err(fail)?,
                None => all(self).map_err(fail)?.into_iter().filter(|one| mine(&one.comment)).collect(),
            };
            if gone.is_empty() {
                remove_empty_table(self).map_err(fail)?;
                return Ok(taken);
            }
            let late = round >= ROUNDS;
            if late && hint.is_none() {
                let keys: Vec<Keys> = gone.iter().filter_map(keys_of).collect();
                taken += self.take_away_each(&keys, &mine).map_err(fail)?;
                continue;
            }
            let others = late || holds_others(self, &gone).map_err(fail)?;
            let transaction = match (others, hint) {
                (false, _) => Transaction::default().at(generation).delete_table(MASQUERADE),
                (true, Some(_)) => gone.iter().fold(Transaction::default(), take),
                (true, None) => gone.iter().fold(Transaction::default().at(generation), take),
            };
            match self.commit(&transaction) {
                Ok(()) => {
                    // The others may have gone at the same time.
                    if others {
                        remove_empty_table(self).map_err(fail)?;
                    }
                    return Ok(taken + gone.len());
                }
                Err(cause) if is_stale(&cause) || cause.is_not_found() => {}
                Err(cause) => return Err(fail(cause)),
            }
        }
        Err(fail(overtaken()))
    }
}

fn keys_of(element: &Element) -> Option<Keys> {
    Some(vec![(*map_of(element.address()?), element.key.clone())])
}

/// Whether there are more elements than these. How many lead to a chain is told with the chain, for the same price however
/// many there are; only where that says nothing (a chain without its rules) are elements listed.
fn holds_others(nft: &mut Nftables, these: &[Element]) -> std::result::Result<bool, Cause> {
    let leading = |chain: &Chain| these.iter().filter(|one| one.leads_to() == Some(&chain.name)).count() as u32;
    let chains = nft.chains(MASQUERADE)?;
    if chains.iter().any(|chain| chain.base.is_none() && chain.uses > RULES + leading(chain)) {
        return Ok(true);
    }
    let is_other = |one: &Element| these.iter().all(|this| this.key != one.key);
    Ok(nft.any_element(&PODS4, is_other)? || nft.any_element(&PODS6, is_other)?)
}

/// The table goes with its last element. If others do not stop committing it stays, and goes with the next removal.
fn remove_empty_table(nft: &mut Nftables) -> std::result::Result<(), Cause> {
    for _ in 0..ROUNDS {
        let generation = nft.generation()?;
        let [there] = nft.exist([(MASQUERADE, None)])?;
        if !there || holds_others(nft, &[])? {
            return Ok(());
        }
        match nft.commit(&Transaction::default().at(generation).delete_table(MASQUERADE)) {
            Err(cause) if is_stale(&cause) => {}
            Err(cause) if !cause.is_not_found() => return Err(cause),
            _ => return Ok(()),
        }
    }
    Ok(())
}
