//! Taking forwards away; with the last one the table.

use std::cell::Cell;

use super::layout::{FORWARDS, LOCALNETS, Space, elements_to};
use super::read::{forwarded, maps_of, spaces_in};
use super::{Forward, Forwarded, Group};
use crate::error::{Cause, Error, Result};
use crate::nft::others::{ATTEMPTS, Keys, ROUNDS, overtaken};
use crate::nft::set::{Leads, Part, Set};
use crate::nft::socket::{Nftables, is_stale};
use crate::nft::transaction::Transaction;
use crate::sysctl;

/// What was taken away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// The forwards.
    pub forwards: Vec<Forward>,
}

/// What one owner has.
#[derive(Default)]
struct Found {
    /// There is a table, and nobody has anything in it.
    deserted: bool,
    /// Where each is, and what it says, if that can be read.
    all: Vec<(Keys, Option<Forward>)>,
}

impl Nftables {
    /// Takes away the forwards whose owner is `mine`. Nothing there is no error.
    ///
    /// With `hint`, only those are looked at if all of them are the owner's, so that the cost does not grow with the number
    /// of all forwards; else, and without, every forward is looked at.
    ///
    /// When nothing is left the table goes, and 127/8 is no longer let out to the interfaces that [`Nftables::forward`] was
    /// told: the calling thread must be in the namespace of the socket.
    pub fn unforward(&mut self, hint: Option<&[Group]>, mine: impl Fn(&str) -> bool) -> Result<Removed> {
        let fail = |cause| Error::new("remove from", FORWARDS.name, cause);
        let mut removed = Removed::default();
        for round in 0..ATTEMPTS {
            let generation = self.generation().map_err(fail)?;
            let hinted = match hint {
                Some(groups) => self.hinted_forwards(groups, &mine).map_err(fail)?,
                None => None,
            };
            let listed = hinted.is_none();
            let found = match hinted {
                Some(found) => found,
                None => self.found_forwards(&mine).map_err(fail)?,
            };
            if found.all.is_empty() {
                if found.deserted {
                    self.remove_empty_forwards_table().map_err(fail)?;
                }
                return Ok(removed);
            }
            let late = round >= ROUNDS;
            if late && listed {
                for (keys, forward) in found.all {
                    if self.take_away(&keys, &mine).map_err(fail)? {
                        removed.forwards.extend(forward);
                    }
                }
                continue;
            }
            // Beside busy others what is the owner's goes first, and the table afterwards, if it can.
            let done = if late || self.has_other_forwards(&found, &mine).map_err(fail)? {
                let transaction = Transaction::default();
                // Chosen from a list, so nothing may have changed since.
                let transaction = if listed { transaction.at(generation) } else { transaction };
                let delete = |all: Transaction, (set, key): &(Set, Vec<Part>)| all.delete_element(set, key);
                self.commit(&found.all.iter().flat_map(|(keys, _)| keys).fold(transaction, delete))
            } else {
                self.remove_forwards_table(generation)
            };
            match done {
                Ok(()) => {
                    removed.forwards.extend(found.all.into_iter().filter_map(|(_, forward)| forward));
                    if late {
                        self.remove_empty_forwards_table().map_err(fail)?;
                    }
                    return Ok(removed);
                }
                Err(cause) if is_stale(&cause) || cause.is_not_found() => {}
                Err(cause) => return Err(fail(cause)),
            }
        }
        Err(fail(overtaken()))
    }

    /// What was let out to 127/8 stays so when the table goes: somebody else needs it from now on. Until then it is guarded.
    pub fn leave_localnets(&mut self) -> Result<()> {
        let fail = |cause| Error::new("leave 127/8 let out by", FORWARDS.name, cause);
        if !self.any_element(&LOCALNETS, |_| true).map_err(fail)? {
            return Ok(());
        }
        match self.commit(&Transaction::default().flush_set(&LOCALNETS)) {
            Err(cause) if !cause.is_not_found() => Err(fail(cause)),
            _ => Ok(()),
        }
    }

    /// What these groups have made; `None` if one of it is missing or is not the owner's.
    fn hinted_forwards(
        &mut self,
        groups: &[Group],
        mine: impl Fn(&str) -> bool,
    ) -> std::result::Result<Option<Found>, Cause> {
        let mut found = Found::default();
        for group in groups {
            let space = Space::of(group);
            for forward in &group.forwards {
                match self.forwarded_in(&space, forward)?.filter(|there| mine(&there.owner)) {
                    Some(there) => found.add(&space, there),
                    None => return Ok(None),
                }
            }
        }
        Ok((!found.all.is_empty()).then_some(found))
    }

    fn found_forwards(&mut self, mine: impl Fn(&str) -> bool) -> std::result::Result<Found, Cause> {
        let mut found = Found::default();
        let chains = self.chains(FORWARDS)?;
        if chains.is_empty() {
            return Ok(found);
        }
        let anybody = Cell::new(false);
        let mine_of_all = |owner: &str| {
            anybody.set(true);
            mine(owner)
        };
        let mine = self.forward_keys_of(&spaces_in(&chains), mine_of_all)?;
        found.deserted = !anybody.get();
        for keys in mine {
            let element = keys.first().map(|(set, key)| self.element(set, key)).transpose()?.flatten();
            let there = element.and_then(|element| forwarded(&element, None));
            found.all.push((keys, there.map(|there| there.forward)));
        }
        Ok(found)
    }

    /// Whether somebody else has a forward. Mostly the number of elements that lead to a marking chain says so at once;
    /// else maps are read, up to the first that is another's.
    fn has_other_forwards(&mut self, found: &Found, mine: impl Fn(&str) -> bool) -> std::result::Result<bool, Cause> {
        let keys = found.all.iter().flat_map(|(keys, _)| keys);
        let marked = keys.filter(|(set, _)| set.leads == Leads::ToVerdicts).count();
        let chains = self.chains(FORWARDS)?;
        if chains.iter().any(|chain| elements_to(chain).is_some_and(|elements| elements > marked)) {
            return Ok(true);
        }
        for space in spaces_in(&chains) {
            let maps = space.maps();
            for set in [maps.ports, maps.hosts] {
                if self.any_element(&set, |element| !mine(&element.comment))? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The table goes with its last forward. If others do not stop committing it stays, and goes with the next removal.
    fn remove_empty_forwards_table(&mut self) -> std::result::Result<(), Cause> {
        for _ in 0..ROUNDS {
            let generation = self.generation()?;
            if !self.exists(FORWARDS, None)? || self.has_other_forwards(&Found::default(), |_| false)? {
                return Ok(());
            }
            match self.remove_forwards_table(generation) {
                Err(cause) if is_stale(&cause) => {}
                Err(cause) if !cause.is_not_found() => return Err(cause),
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    /// The table with what is left in it, if nobody changed anything since. Where 127/8 was let out to comes first: without
    /// the guard it must not be. If somebody was faster, it is let again: for what it was faster with.
    fn remove_forwards_table(&mut self, generation: u32) -> std::result::Result<(), Cause> {
        let names: Vec<String> =
            self.elements(&LOCALNETS)?.into_iter().flat_map(|one| one.key).filter_map(name).collect();
        let set = |value: &str| -> std::result::Result<(), Cause> {
            names.iter().try_for_each(|name| {
                let key = format!("net/ipv4/conf/{name}/route_localnet");
                sysctl::set_if_present(&key, value).map(drop).map_err(|error| error.cause)
            })
        };
        set("0")?;
        let done = self.commit(&Transaction::default().at(generation).delete_table(FORWARDS));
        if done.as_ref().is_err_and(|cause| !cause.is_not_found()) {
            set("1")?;
        }
        done
    }
}

impl Found {
    fn add(&mut self, space: &Space, there: Forwarded) {
        let (set, marked) = maps_of(space, &there.forward);
        let mark = there.marked_by.is_some().then(|| (marked, there.forward.key()));
        let keys = [(set, there.forward.key())].into_iter().chain(mark).collect();
        self.all.push((keys, Some(there.forward)));
    }
}

fn name(part: Part) -> Option<String> {
    match part {
        Part::Interface(name) => Some(name),
        _ => None,
    }
}
