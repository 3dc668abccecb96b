//! Brings the maps to what is desired, and back to it when something goes wrong.
//!
//! There is one way back from everything: a write that failed, a dump that shows drift, a predecessor that was killed. Let a
//! grace period pass, read the maps, take them for what they are, diff against what is desired.

mod clients;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result};
use fairlead_ebpf_shared::Reason;
use fairlead_proxy_model::{Actual, Desired, Entry, MapOp, NoRoom, Retired, diff};
use serde::{Deserialize, Serialize};

use crate::maps::{GracePeriod, Host, Maps};
use clients::Clients;
use write::{can_share_a_call, write, write_together};

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

/// What the programs are to know of the node itself.
#[derive(Default)]
struct Told {
    host: Host,
    /// Whether they may know something else.
    stale: bool,
}

/// Whether what an earlier version attached is still to be taken away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Predecessors {
    /// As soon as everything is written.
    #[default]
    Waiting,
    /// Not before [`Applier::let_go`]: what they serve may be in what is not known yet.
    Held,
    Gone,
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
    host: Told,
    predecessors: Predecessors,
    clients: Clients,
    back_off: Duration,
    last_error: Option<String>,
    tally: Tally,
}

impl<M: Maps> Applier<M> {
    /// Takes the maps as a predecessor left them. Waits for a grace period: the predecessor may have retired regions just
    /// before it was killed. Writes nothing.
    pub fn restore(mut maps: M) -> Result<Self> {
        maps.grace_period()().context("wait for a grace period before the maps are read")?;
        let dump = maps.dump().context("read the maps as they were left")?;
        let actual = Actual::restore(&dump, maps.sizes());
        maps.rest();
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
            host: Told::default(),
            predecessors: Predecessors::default(),
            clients: Clients::default(),
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
        if self.predecessors == Predecessors::Waiting {
            self.predecessors = Predecessors::Held;
        }
    }

    /// Ends [`Applier::hold`].
    pub fn let_go(&mut self) {
        self.hold.clear();
        if self.predecessors == Predecessors::Held {
            self.predecessors = Predecessors::Waiting;
        }
        self.dirty.extend(std::mem::take(&mut self.held_over));
    }

    /// What the programs are to know of the node itself; written with the next step.
    pub fn set_host(&mut self, host: Host) {
        self.host.stale |= self.host.host != host;
        self.host.host = host;
    }

    /// Compares the maps with what they should hold, as soon as nothing is retired, and repairs them.
    pub fn verify(&mut self) {
        if self.phase == Phase::Steady {
            self.phase = Phase::Verify;
        }
        self.host.stale = true;
        self.clients.look_again();
    }

    /// Does what can be done now without waiting.
    pub fn step(&mut self, desired: &Desired) -> Next {
        let next = self.advance(desired);
        self.maps.rest();
        next
    }

    fn advance(&mut self, desired: &Desired) -> Next {
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
                for op in retired.ops(&self.actual).collect::<Vec<_>>() {
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

    /// What the programs have counted, in [`Reason`] order.
    pub fn counters(&self) -> Result<[u64; Reason::ALL.len()]> {
        self.maps.counters()
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
        let failures = self.run(plan.ops).or_else(|| self.tell_host());
        if let Some(text) = failures {
            return self.failure(text);
        }
        self.retire_predecessors();
        self.back_off = BACK_OFF;
        self.last_error = None;
        if self.in_flight.is_none() && self.actual.has_retired() { self.begin_grace() } else { Next::default() }
    }

    /// Writes in order. An entry whose write failed gets no further write; the others go on.
    fn run(&mut self, ops: Vec<(Entry, MapOp)>) -> Option<String> {
        let mut failed: BTreeMap<Entry, String> = BTreeMap::new();
        for run in ops.chunk_by(|(_, one), (_, next)| can_share_a_call(one, next)) {
            if run.len() > 1 && failed.is_empty() && write_together(&mut self.maps, run).is_ok() {
                self.tally.operations += run.len() as u64;
                continue;
            }
            for (key, op) in run {
                if failed.contains_key(key) {
                    continue;
                }
                self.tally.operations += 1;
                if let Err(error) = write(&mut self.maps, op) {
                    self.tally.failed += 1;
                    failed.insert(*key, format!("{error:#}"));
                }
            }
        }
        let more = failed.len().saturating_sub(1);
        let first = failed.into_values().next()?;
        Some(if more == 0 { first } else { format!("{first} (and {more} more)") })
    }

    fn tell_host(&mut self) -> Option<String> {
        if self.host.stale {
            if let Err(error) = self.maps.tell_host(&self.host.host) {
                return Some(format!("{error:#}"));
            }
            self.host.stale = false;
        }
        None
    }

    /// A predecessor that stays does no harm but to what has changed since: tried again with the next write.
    fn retire_predecessors(&mut self) {
        if self.predecessors != Predecessors::Waiting || !self.is_written() {
            return;
        }
        match self.maps.retire_predecessors() {
            Ok(removed) => {
                for line in removed {
                    tracing::info!("an earlier version: {line}");
                }
                self.predecessors = Predecessors::Gone;
            }
            Err(error) => tracing::error!("what an earlier version attached is still there: {error:#}"),
        }
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

#[cfg(test)]
mod tests;
