//! Adding forwards: one question, one transaction.

use super::layout::{FORWARDS, LOCALNETS, Space, make_marking_chain, make_table, marking_chains};
use super::read::maps_of;
use super::{Forward, Forwarded, Group, Standing};
use crate::error::{Cause, Errno, Error, Result};
use crate::nft::others::{ATTEMPTS, Keys, ROUNDS, overtaken};
use crate::nft::set::{Data, Element, Part};
use crate::nft::socket::{Nftables, is_stale};
use crate::nft::table::Verdict;
use crate::nft::transaction::Transaction;

/// How many forwards an error names.
const SHOWN: usize = 4;

impl Nftables {
    /// Makes the forwards, all or none. `owner` is kept with each. `localnet`: an interface that 127/8 is let out to for their
    /// sake, and that outlives them: remembered until the table goes (the caller lets it, afterwards: see
    /// [`Nftables::unforward`]).
    ///
    /// Where a port leads somewhere already, `standing` says what becomes of that forward. If one stays, nothing is done, and
    /// it is given.
    pub fn forward(
        &mut self,
        groups: &[Group],
        localnet: Option<&str>,
        owner: &str,
        mut standing: impl FnMut(&Forwarded) -> Standing,
    ) -> Result<Option<Forwarded>> {
        let groups: Vec<&Group> = groups.iter().filter(|group| !group.forwards.is_empty()).collect();
        let object = || {
            let all = || groups.iter().flat_map(|group| &group.forwards);
            let first: Vec<String> = all().take(SHOWN).map(Forward::to_string).collect();
            let more = all().count() - first.len();
            if more == 0 { first.join(", ") } else { format!("{} and {more} more", first.join(", ")) }
        };
        if groups.is_empty() {
            return Ok(None);
        }
        let fail = |cause| Error::new("forward", object(), cause);
        let mut look = !self.forwards_stand(&groups).map_err(fail)?;
        for round in 0..ATTEMPTS {
            let missing = match look {
                false => Missing::default(),
                true => match self.what_is_missing_for(&groups, &mut standing).map_err(fail)? {
                    Ok(missing) => missing,
                    Err(taken) => return Ok(Some(taken)),
                },
            };
            if round >= ROUNDS && !missing.old.is_empty() {
                let yields = |owner: &str| missing.yielding.iter().any(|one| one == owner);
                self.take_away_each(&missing.old, yields).map_err(fail)?;
                continue;
            }
            match self.commit(&missing.transaction(&groups, localnet, owner)) {
                Ok(()) => return Ok(None),
                Err(cause) if matches!(cause.errno(), Some(Errno::ENOENT | Errno::EEXIST)) || is_stale(&cause) => {}
                Err(cause) => return Err(fail(cause)),
            }
            look = true;
        }
        Err(fail(overtaken()))
    }

    /// Whether the chains are there that these groups' elements lead to, asked in one message: a transaction that is refused
    /// for want of them waits for a grace period. Mostly they are, and nothing else is asked.
    fn forwards_stand(&mut self, groups: &[&Group]) -> std::result::Result<bool, Cause> {
        for group in groups {
            let space = Space::of(group).chain();
            let chains = marking_chains(group);
            let marking = chains.first().unwrap_or(&space);
            if self.exist([(FORWARDS, Some(&space)), (FORWARDS, Some(marking))])?.contains(&false) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn what_is_missing_for(
        &mut self,
        groups: &[&Group],
        mut standing: impl FnMut(&Forwarded) -> Standing,
    ) -> std::result::Result<std::result::Result<Missing, Forwarded>, Cause> {
        let generation = self.generation()?;
        let mut missing = Missing { table: !self.exists(FORWARDS, None)?, ..Missing::default() };
        for group in groups {
            let space = Space::of(group);
            if !space.suffix.is_empty() && (missing.table || !self.exists(FORWARDS, Some(&space.chain()))?) {
                missing.spaces.push(space.clone());
            }
            for chain in marking_chains(group) {
                if missing.table || !self.exists(FORWARDS, Some(&chain))? {
                    missing.chains.push(chain);
                }
            }
            for forward in &group.forwards {
                let Some(there) = self.forwarded_in(&space, forward)? else { continue };
                match standing(&there) {
                    Standing::Yields => missing.yielding.push(there.owner),
                    Standing::Serves => missing.served.push((space.clone(), forward.key())),
                    Standing::Stays => return Ok(Err(there)),
                }
            }
        }
        if !missing.yielding.is_empty() {
            // Chosen from a list, so nothing may have changed since.
            missing.generation = Some(generation);
            let spaces = self.forward_spaces()?;
            missing.old = self.forward_keys_of(&spaces, |owner| missing.yielding.iter().any(|one| one == owner))?;
        }
        Ok(Ok(missing))
    }
}

/// What a transaction must make or take away besides adding its elements.
#[derive(Default)]
struct Missing {
    table: bool,
    spaces: Vec<Space>,
    chains: Vec<String>,
    /// Owners that yield, and all they have.
    yielding: Vec<String>,
    old: Vec<Keys>,
    generation: Option<u32>,
    /// Keys that are there and stay.
    served: Vec<(Space, Vec<Part>)>,
}

impl Missing {
    fn transaction(&self, groups: &[&Group], localnet: Option<&str>, owner: &str) -> Transaction {
        let mut transaction = if self.table { make_table() } else { Transaction::default() };
        if let Some(generation) = self.generation {
            transaction = transaction.at(generation);
        }
        let (mut spaces, mut chains): (Vec<&Space>, Vec<&str>) = (Vec::new(), Vec::new());
        for group in groups {
            let wanted = Space::of(group);
            if let Some(space) = self.spaces.iter().find(|one| **one == wanted && !spaces.contains(one)) {
                transaction = space.make(transaction, &group.conditions);
                spaces.push(space);
            }
            // The one that the others lead to first.
            for chain in marking_chains(group).iter().rev() {
                if let Some(chain) = self.chains.iter().find(|one| *one == chain && !chains.contains(&one.as_str())) {
                    transaction = make_marking_chain(transaction, group, chain);
                    chains.push(chain);
                }
            }
        }
        if let Some(name) = localnet {
            let key = vec![Part::Interface(name.to_owned())];
            let element = Element { key, data: Data::Nothing, comment: String::new() };
            transaction = transaction.ensure_element(&LOCALNETS, &element);
        }
        for (set, key) in self.old.iter().flatten() {
            transaction = transaction.delete_element(set, key);
        }
        groups.iter().fold(transaction, |all, group| self.add_elements(all, group, owner))
    }

    fn add_elements(&self, transaction: Transaction, group: &Group, owner: &str) -> Transaction {
        let space = Space::of(group);
        let marked_by = marking_chains(group).into_iter().next();
        group.forwards.iter().fold(transaction, |all, forward| {
            let key = forward.key();
            if self.served.iter().any(|(there, served)| *there == space && *served == key) {
                return all;
            }
            let (map, marked) = maps_of(&space, forward);
            let to = vec![Part::Address(forward.to.ip()), Part::Port(forward.to.port())];
            let all =
                all.new_element(&map, &Element { key: key.clone(), data: Data::Value(to), comment: owner.to_owned() });
            let Some(chain) = &marked_by else { return all };
            let data = Data::Verdict(Verdict::Jump(chain.clone()));
            all.new_element(&marked, &Element { key, data, comment: String::new() })
        })
    }
}
