//! Beside others, who commit between our look and our deed.
//!
//! A transaction that is bound to the generation of the ruleset is refused after any commit of anybody. That is cheap, and
//! right where the deed follows from all that was seen: a table goes because nobody has anything in it, elements because a
//! list says whose they are. But a node whose services are written a thousand times a second has a new generation before a
//! list is read, and whoever insists on one starves. So that is for the first rounds. Later, what is an owner's goes one by
//! one, each looked at immediately before; and a table that is empty stays if it cannot go, until the next removal.
//!
//! What is made for everybody needs no generation: it is made exclusively, and who is overtaken is told so.
//!
//! The kernel has no better condition for an element than its key: a deletion compares neither value nor comment
//! (nft_del_setelem, net/netfilter/nf_tables_api.c), and elements have no handles.

use super::set::{Part, Set};
use super::socket::{Nftables, is_stale};
use super::transaction::Transaction;
use crate::error::Cause;

/// How often anything is tried.
pub(super) const ATTEMPTS: u32 = 100;
/// How many of these rounds insist on a generation for all that was seen.
pub(super) const ROUNDS: u32 = 20;
/// How often one element is, which takes 15 µs. Beside somebody who commits 130,000 times a second without a pause 1 of 100 was in
/// time, in bad spells 1 of 9,000 (measured).
const LOOKS: u32 = 100_000;

/// An element that says whose it is, and those that go with it: each with its set.
pub(super) type Keys = Vec<(Set, Vec<Part>)>;

impl Nftables {
    /// Takes an element away, and as far as they are there those that go with it, if its owner still is `mine`. Whether it was.
    pub(super) fn take_away(&mut self, keys: &[(Set, Vec<Part>)], mine: impl Fn(&str) -> bool) -> Result<bool, Cause> {
        for _ in 0..LOOKS {
            let (generation, there) = self.elements_now(keys)?;
            if !there.first().is_some_and(|first| first.as_ref().is_some_and(|element| mine(&element.comment))) {
                return Ok(false);
            }
            let found = keys.iter().zip(&there).filter(|(_, there)| there.is_some());
            let bound = Transaction::default().at(generation);
            let transaction = found.fold(bound, |all, ((set, key), _)| all.delete_element(set, key));
            match self.commit(&transaction) {
                Ok(()) => return Ok(true),
                Err(cause) if is_stale(&cause) || cause.is_not_found() => {}
                Err(cause) => return Err(cause),
            }
        }
        Err(overtaken())
    }

    /// [`Nftables::take_away`] of several; how many there were.
    pub(super) fn take_away_each(&mut self, all: &[Keys], mine: impl Fn(&str) -> bool) -> Result<usize, Cause> {
        all.iter().try_fold(0, |count, keys| Ok(count + usize::from(self.take_away(keys, &mine)?)))
    }
}

/// What everybody says who was overtaken by others for too long.
pub(super) fn overtaken() -> Cause {
    Cause::Unexpected(format!("the ruleset was changed by others {ATTEMPTS} times in a row; try again"))
}
