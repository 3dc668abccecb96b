//! What goes on after an endpoint is gone: UDP flows that connection tracking leads there, and connected UDP sockets that
//! were led there. Flows are forgotten, sockets ended, so that the next datagram or connect finds an endpoint that serves.
//! TCP and SCTP live on.
//!
//! Decides by the facts (`table`, `plan`: pure), acts on a thread of its own (`kernel`), never in the loop. Looks at the kernel
//! when a UDP front loses an endpoint, gets its first or goes, and at everything after the start and at each verification.
//! A new start of the daemon ends nothing that is right: what serves is compared with what is, not with what was.
//!
//! A socket is ended only if it was led there through a front: the hook left in it what was asked for (`ORIGINS`). One that
//! connected to an endpoint's own address has nothing of ours in it, and is never touched.

mod kernel;
mod plan;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fairlead_ebpf_shared::FrontendKey;
use fairlead_proxy_model::{Engine, Family, ObjectName};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep_until};

pub use kernel::Kernel;
pub use plan::Order;

use crate::metrics::Metrics;
use plan::Due;
use table::{Front, Table};

/// A run is followed by a pause ten times as long, between these: however many changes come, a tenth of a CPU is used.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// After a failure; twice as long after each further one, up to a minute or so.
const RETRY_PAUSE: Duration = Duration::from_secs(2);
const MOST_DOUBLINGS: u32 = 5;

/// Ends what is stale. May wait for the kernel.
pub trait Clean: Send {
    /// Does as ordered, as far as possible.
    fn clean(&mut self, order: &Order) -> Cleaned;
}

/// Leaves everything as it is.
#[cfg(test)]
#[derive(Debug)]
pub struct Nothing;

#[cfg(test)]
impl Clean for Nothing {
    fn clean(&mut self, _: &Order) -> Cleaned {
        Cleaned::default()
    }
}

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// For each family that was looked through: how long it took, and how many flows were deleted.
    pub flows: Vec<(Family, Duration, u64)>,
    /// How many sockets were ended.
    pub sockets: u64,
    /// What went wrong and may go right the next time.
    pub failed: Vec<String>,
    /// What this kernel cannot do.
    pub impossible: Vec<String>,
}

impl Cleaned {
    /// Counts it.
    pub fn count(&self, metrics: &Metrics) {
        for (family, took, deleted) in &self.flows {
            metrics.conntrack(*family, *took, *deleted);
        }
        metrics.sockets_ended(self.sockets);
    }
}

/// Knows what is due, and has it done.
pub struct Flows {
    table: Table,
    due: Due,
    /// Fronts that were in the maps before the start, until it is known which of them are gone.
    inherited: BTreeSet<Front>,
    cleaner: Arc<Mutex<Box<dyn Clean>>>,
    run: Option<Run>,
    /// Everything that is due is in the maps, so that who comes again comes elsewhere.
    may_run: bool,
    not_before: Option<Instant>,
    /// Runs that failed, one after the other.
    failures: u32,
    /// What has been logged.
    told: BTreeSet<String>,
}

struct Run {
    task: JoinHandle<(Cleaned, Duration)>,
    due: Due,
}

impl Flows {
    /// `inherited`: the frontends that were in the maps before this start; those that nobody states any more are cleaned up
    /// after with the first complete [`Flows::review`].
    pub fn new(cleaner: Box<dyn Clean>, inherited: impl IntoIterator<Item = FrontendKey>) -> Self {
        Self {
            table: Table::default(),
            due: Due::default(),
            inherited: inherited.into_iter().filter_map(|key| Front::of(&key)).collect(),
            cleaner: Arc::new(Mutex::new(cleaner)),
            run: None,
            may_run: false,
            not_before: None,
            failures: 0,
            told: BTreeSet::new(),
        }
    }

    /// The facts of these services, or of their endpoints, are others than before. Costs what they have.
    pub fn touched<'a>(&mut self, engine: &Engine, services: impl IntoIterator<Item = &'a ObjectName>) {
        for name in services {
            for shift in self.table.take_up(engine, name) {
                self.due.add(&shift);
                // It waits until it is in the maps.
                self.may_run = false;
            }
        }
    }

    /// Everything is to be looked at. `complete`: every service there is has been touched; otherwise what is not known is left
    /// alone.
    pub fn review(&mut self, complete: bool) {
        if complete {
            self.due.fronts.append(&mut self.inherited);
        }
        if !self.due.fronts.is_empty() || !self.table.is_empty() {
            self.due.restore(Due { all: Some(complete), ..Due::default() });
        }
    }

    /// What is due may be done: the maps are up to date. It is begun at once, or when a run or the pause after it is over.
    pub fn start(&mut self) {
        self.may_run = true;
        if self.run.is_none() && self.not_before.is_none_or(|at| at <= Instant::now()) {
            self.begin();
        }
    }

    /// Waits until something was done, and logs it. For ever, if nothing is due. May be dropped and asked for again.
    pub async fn finished(&mut self) -> Cleaned {
        loop {
            if let Some(run) = &mut self.run {
                let outcome = (&mut run.task).await;
                let due = self.run.take().map(|run| run.due).unwrap_or_default();
                let (cleaned, took) = outcome.unwrap_or_else(|error| {
                    let failed = vec![format!("the thread that ends stale flows: {error}")];
                    (Cleaned { failed, ..Cleaned::default() }, Duration::ZERO)
                });
                self.end(&cleaned, due, took);
                return cleaned;
            }
            match self.not_before {
                Some(at) if self.may_run && !self.due.is_nothing() => sleep_until(at).await,
                _ => pending().await,
            }
            self.begin();
        }
    }

    fn begin(&mut self) {
        if self.due.is_nothing() {
            return;
        }
        let due = std::mem::take(&mut self.due);
        let order = due.order(&self.table);
        let cleaner = self.cleaner.clone();
        let task = spawn_blocking(move || {
            let begun = std::time::Instant::now();
            // What a panic left is as good as what a failure leaves: a cleaner keeps nothing half done.
            let cleaned = cleaner.lock().unwrap_or_else(PoisonError::into_inner).clean(&order);
            (cleaned, begun.elapsed())
        });
        self.run = Some(Run { task, due });
    }

    fn end(&mut self, cleaned: &Cleaned, due: Due, took: Duration) {
        let pause = if cleaned.failed.is_empty() {
            self.failures = 0;
            (took * 10).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
        } else {
            self.due.restore(due);
            self.failures = (self.failures + 1).min(MOST_DOUBLINGS + 1);
            RETRY_PAUSE * (1 << (self.failures - 1))
        };
        self.not_before = Some(Instant::now() + pause);
        let flows: u64 = cleaned.flows.iter().map(|(_, _, deleted)| deleted).sum();
        if flows + cleaned.sockets > 0 {
            tracing::info!(flows, sockets = cleaned.sockets, "ended UDP flows and sockets of endpoints that are gone");
        }
        for text in cleaned.failed.iter().chain(&cleaned.impossible) {
            if self.told.insert(text.clone()) {
                tracing::warn!("UDP clients of endpoints that are gone: {text}");
            }
        }
        if cleaned.failed.is_empty() {
            self.told.retain(|text| cleaned.impossible.contains(text));
        }
    }
}
