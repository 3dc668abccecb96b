//! Brings the maps to what is desired, and back to it when something goes wrong.
//!
//! There is one way back from everything: a write that failed, a dump that shows drift, a predecessor that was killed. Let a
//! grace period pass, read the maps, take them for what they are, diff against what is desired.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result};
use fairlead_proxy_model::{Actual, Desired, Entry, MapOp, NoRoom, Retired, diff};
use serde::{Deserialize, Serialize};

use crate::maps::{GracePeriod, Maps};

/// First pause after a failed write; each further one is twice as long …
const BACK_OFF: Duration = Duration::from_millis(100);
/// … up to this.
const BACK_OFF_LIMIT: Duration = Duration::from_secs(30);

/// What the owner of the applier has to do next. It calls [`Applier::step`] again after that, or when there is news.
#[derive(Default)]
#[must_use = "a grace period that never ends lets nothing be released"]
pub struct Next {
    /// Run this on a thread that may block, then call [`Applier::grace_over`].
    pub grace: Option<GracePeriod>,
    /// Writes failed: call again after this time, not before.
    pub retry: Option<Duration>,
}

/// What has been done since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Operations on the maps.
    pub operations: u64,
    /// Operations that failed.
    pub failed: u64,
    /// Full comparisons of the maps with what they should hold.
    pub verified: u64,
    /// Entries that such a comparison found other than they had been left, and that were repaired.
    pub drift_repaired: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// `actual` is what the maps hold.
    Steady,
    /// The same, and it is to be proved.
    Verify,
    /// `actual` is not to be relied on; `rested` once a grace period has passed since the last write.
    Suspect { rested: bool },
}

/// Why a grace period runs.
enum Waiting {
    /// To clear and release these afterwards.
    Release(Retired),
    /// Only to let readers pass before the maps are read again.
    Rest,
}

/// The only writer of the maps.
pub struct Applier<M> {
    maps: M,
    actual: Actual,
    phase: Phase,
    /// What the grace period that runs now is for.
    in_flight: Option<Waiting>,
    dirty: BTreeSet<Entry>,
    waiting: BTreeSet<Entry>,
    no_room: BTreeMap<Entry, NoRoom>,
    held_over: BTreeSet<Entry>,
    /// Not to be taken away; see [`Applier::hold`].
    hold: BTreeSet<Entry>,
    back_off: Duration,
    last_error: Option<String>,
    tally: Tally,
}

impl<M: Maps> Applier<M> {
    /// Takes the maps as a predecessor left them. Waits for a grace period: the predecessor may have retired regions just
    /// before it was killed. Writes nothing.
    pub fn restore(maps: M) -> Result<Self> {
        maps.grace_period()().context("wait for a grace period before the maps are read")?;
        let dump = maps.dump().context("read the maps as they were left")?;
        let actual = Actual::restore(&dump, maps.sizes());
        Ok(Self {
            maps,
            actual,
            phase: Phase::Steady,
            in_flight: None,
            dirty: BTreeSet::new(),
            waiting: BTreeSet::new(),
            no_room: BTreeMap::new(),
            held_over: BTreeSet::new(),
            hold: BTreeSet::new(),
            back_off: BACK_OFF,
            last_error: None,
            tally: Tally::default(),
        })
    }

    /// These frontends may be other than desired.
    pub fn mark(&mut self, keys: impl IntoIterator<Item = Entry>) {
        self.dirty.extend(keys);
    }

    /// Every frontend may be other than desired.
    pub fn mark_all(&mut self, desired: &Desired) {
        self.dirty = desired.entries().chain(self.actual.entries()).collect();
    }

    /// From now on nothing of what the maps hold is taken away, until it has been desired or [`Applier::let_go`] is called.
    pub fn hold(&mut self) {
        self.hold = self.actual.entries().collect();
    }

    /// Ends [`Applier::hold`].
    pub fn let_go(&mut self) {
        self.hold.clear();
        self.dirty.extend(std::mem::take(&mut self.held_over));
    }

    /// Compares the maps with what they should hold, as soon as nothing is retired, and repairs them.
    pub fn verify(&mut self) {
        if self.phase == Phase::Steady {
            self.phase = Phase::Verify;
        }
    }

    /// Does what can be done now without waiting.
    pub fn step(&mut self, desired: &Desired) -> Next {
        match self.phase {
            Phase::Steady => self.converge(desired),
            // Readers of a dump must not meet our own half-retired entries: let them drain first, write nothing meanwhile.
            _ if self.in_flight.is_some() => Next::default(),
            Phase::Verify if self.actual.has_retired() => self.begin_grace(),
            Phase::Suspect { rested: false } => {
                // What the failed batch has retired may still be in use, so nothing of it is cleared.
                self.in_flight = Some(Waiting::Rest);
                Next { grace: Some(self.maps.grace_period()), retry: None }
            }
            Phase::Verify | Phase::Suspect { .. } => match self.maps.dump() {
                Ok(dump) => {
                    let found = Actual::restore(&dump, self.maps.sizes());
                    if self.phase == Phase::Verify {
                        self.tally.verified += 1;
                        let drift = self.actual.drift(&found);
                        if drift > 0 {
                            tracing::error!(entries = drift, "the maps were changed by somebody else; repairing them");
                            self.tally.drift_repaired += drift as u64;
                        }
                        if drift == 0 {
                            self.phase = Phase::Steady;
                            return self.converge(desired);
                        }
                    }
                    self.actual = found;
                    self.phase = Phase::Steady;
                    self.mark_all(desired);
                    self.converge(desired)
                }
                Err(error) => self.failure(format!("{error:#}")),
            },
        }
    }

    /// The grace period of the last [`Next::grace`] is over. [`Applier::step`] is to be called next, at once or when
    /// [`Next::retry`] says so.
    pub fn grace_over(&mut self, outcome: Result<()>) -> Next {
        let Some(waiting) = self.in_flight.take() else { return Next::default() };
        self.dirty.append(&mut self.waiting);
        self.dirty.extend(self.no_room.keys());
        match (outcome, waiting) {
            (Err(error), _) => self.failure(format!("{error:#}")),
            (Ok(()), Waiting::Rest) => {
                self.phase = Phase::Suspect { rested: true };
                Next::default()
            }
            (Ok(()), Waiting::Release(retired)) => {
                for op in retired.ops(&self.actual) {
                    self.tally.operations += 1;
                    if let Err(error) = write(&mut self.maps, &op) {
                        self.tally.failed += 1;
                        return self.failure(format!("{error:#}"));
                    }
                }
                self.actual.release(retired);
                Next::default()
            }
        }
    }

    /// Whether everything has been written that there is room for.
    pub fn is_written(&self) -> bool {
        self.phase == Phase::Steady && self.dirty.is_empty() && self.waiting.is_empty()
    }

    /// What the maps hold.
    pub fn actual(&self) -> &Actual {
        &self.actual
    }

    /// Frontends for which there is no room.
    pub fn no_room(&self) -> &BTreeMap<Entry, NoRoom> {
        &self.no_room
    }

    /// Frontends that are kept although nothing desires them; see [`Applier::hold`].
    pub fn held_over(&self) -> &BTreeSet<Entry> {
        &self.held_over
    }

    /// What has been done since the start.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Why the last write or read failed; `None` when all is well again.
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    fn converge(&mut self, desired: &Desired) -> Next {
        let dirty = std::mem::take(&mut self.dirty);
        for key in &dirty {
            // Whoever states its backends now may also take it away later.
            if desired.leads_somewhere(key) {
                self.hold.remove(key);
            }
        }
        let plan = diff(&mut self.actual, desired, &dirty, &self.hold, self.in_flight.is_some());
        for key in &dirty {
            self.no_room.remove(key);
            self.held_over.remove(key);
        }
        self.no_room.extend(plan.failed);
        self.held_over.extend(plan.held_over);
        self.waiting.extend(plan.deferred);
        let failures = self.run(plan.ops);
        if let Some(text) = failures {
            return self.failure(text);
        }
        self.back_off = BACK_OFF;
        self.last_error = None;
        if self.in_flight.is_none() && self.actual.has_retired() { self.begin_grace() } else { Next::default() }
    }

    /// Writes in order. A frontend whose write failed gets no further write; the others go on.
    fn run(&mut self, ops: Vec<(Entry, MapOp)>) -> Option<String> {
        let mut failed: BTreeMap<Entry, String> = BTreeMap::new();
        for (key, op) in ops {
            if failed.contains_key(&key) {
                continue;
            }
            self.tally.operations += 1;
            if let Err(error) = write(&mut self.maps, &op) {
                self.tally.failed += 1;
                failed.insert(key, format!("{error:#}"));
            }
        }
        let more = failed.len().saturating_sub(1);
        let first = failed.into_values().next()?;
        Some(if more == 0 { first } else { format!("{first} (and {more} more)") })
    }

    fn failure(&mut self, text: String) -> Next {
        let pause = self.back_off;
        tracing::error!(retry_ms = pause.as_millis() as u64, "the maps cannot be brought up to date: {text}");
        self.back_off = (pause * 2).min(BACK_OFF_LIMIT);
        self.last_error = Some(text);
        self.phase = Phase::Suspect { rested: false };
        Next { grace: None, retry: Some(pause) }
    }

    fn begin_grace(&mut self) -> Next {
        self.in_flight = Some(Waiting::Release(self.actual.take_retired()));
        Next { grace: Some(self.maps.grace_period()), retry: None }
    }
}

fn write<M: Maps>(maps: &mut M, op: &MapOp) -> Result<()> {
    match op {
        MapOp::PutBackends { base, backends } => maps.put_backends(*base, backends),
        MapOp::SwitchSet { slot, word } => maps.switch_set(*slot, *word),
        MapOp::PutFrontend { key, value } => maps.put_frontend(key, value),
        MapOp::DeleteFrontend { key } => maps.delete_frontend(key),
        MapOp::PutRange { key, tag } => maps.put_range(key, *tag),
        MapOp::DeleteRange { key } => maps.delete_range(key),
        MapOp::SetOptions { slot, word } => maps.set_options(*slot, *word),
        MapOp::PutAddress { addr, value } => maps.put_address(addr, *value),
        MapOp::DeleteAddress { addr } => maps.delete_address(addr),
        MapOp::ClearSlot { slot } => maps.clear_slot(*slot),
    }
}

#[cfg(test)]
mod tests;
