//! What the daemon shows: health, metrics, events, files and the socket of the verbs. The loop owns one [`Surface`].
//!
//! Decides no Service and writes no map. Servers run as tasks on the loop's own thread and share only [`Health`], [`Metrics`]
//! and [`Events`]; whatever they need to know of the loop's state they ask, and the loop answers from [`Surface::attend`] when
//! it gets to it. So nothing here is locked while something is decided.
//!
//! ```text
//! loop { select! { …, attention = surface.next() => surface.attend(attention?, &core) } }
//! take in:      surface.queued(services, slices); surface.recomputed(&engine.recompute(), &engine)
//! after a round: surface.synced(full) once all is written; surface.report(&core) always
//! at the end:   surface.finish(&core)
//! ```

pub mod clock;
pub mod explain;
pub mod http;
mod options;
pub mod questions;
pub mod socket;
mod start;
#[cfg(test)]
mod tests;

use std::time::Duration;

use anyhow::{Error, Result};
use fairlead_ebpf_shared::FrontendKey;
use fairlead_proxy_model::{Engine, Entry, Family, NodeFact, Notice, ObjectName, Recomputed, Subject, frontend_name};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use self::clock::Clock;
pub use self::options::Options;
use self::socket::Asked;
use crate::events::{Event, Events, Outbox};
use crate::health::services::{Addresses, ServiceHealth};
use crate::health::{Health, NodeState};
use crate::metrics::server::Configz;
use crate::metrics::{Metrics, Observation, Round};
use crate::state::{Journal, Owner, StateDir, Status};

/// `status.json` is written at most once in this time …
const TELL_PAUSE: Duration = Duration::from_secs(1);
/// … and takes at most this part of the loop's.
const TELL_SHARE: u32 = 100;

/// What the surface needs to see of the loop's state.
pub trait View {
    /// What `status` tells.
    fn status(&self) -> Status;
    /// What a scrape tells.
    fn observe(&self) -> Observation;
    /// Calls `each` with every frontend that is desired, its service and the port's name.
    fn owners(&self, each: &mut dyn FnMut(&FrontendKey, &ObjectName, &str));
    /// Facts and decisions.
    fn engine(&self) -> &Engine;
}

/// What [`Surface::next`] wants of the loop.
#[derive(Debug)]
pub enum Attention {
    /// A verb asks.
    Asked(Asked),
    /// `/metrics` is scraped.
    Scrape(oneshot::Sender<()>),
    /// It is time to write `status.json`.
    Tell,
}

/// See the module.
pub struct Surface {
    /// Whether the proxy keeps up.
    pub health: Health,
    /// What is counted.
    pub metrics: Metrics,
    /// What is told to Kubernetes.
    pub events: Events,
    services: ServiceHealth,
    /// What it means that there is no Node object.
    absent_node: NodeState,
    outbox: Option<Outbox>,
    clock: Clock,
    questions: mpsc::Receiver<Asked>,
    scrapes: mpsc::Receiver<oneshot::Sender<()>>,
    configz: Configz,
    failures: mpsc::Receiver<Error>,
    state_dir: StateDir,
    journal: Journal,
    /// When `status.json` may be written again.
    may_tell: Instant,
    untold: bool,
    /// Since when changes wait, on the steady clock, and how many.
    waiting: Vec<(Duration, usize)>,
    triggered: Vec<(Family, i64)>,
    rounds: u64,
    tasks: Vec<JoinHandle<()>>,
}

impl Surface {
    /// From now on events are sent with `post`. Once; further calls do nothing.
    pub fn send_events<F, Fut>(&mut self, post: F)
    where
        F: Fn(::http::Request<Vec<u8>>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<hyper::StatusCode>> + Send + 'static,
    {
        if let Some(outbox) = self.outbox.take() {
            self.tasks.push(tokio::spawn(outbox.run(post)));
        }
    }

    /// Waits until something wants the loop. May be dropped and called again. Error: the daemon is to end.
    pub async fn next(&mut self) -> Result<Attention> {
        let may_tell = self.may_tell;
        tokio::select! {
            Some(error) = self.failures.recv() => Err(error),
            Some(asked) = self.questions.recv() => Ok(Attention::Asked(asked)),
            Some(done) = self.scrapes.recv() => Ok(Attention::Scrape(done)),
            () = sleep_until(may_tell), if self.untold => Ok(Attention::Tell),
            else => std::future::pending().await,
        }
    }

    /// Does what [`Surface::next`] wanted.
    pub fn attend(&mut self, attention: Attention, view: &dyn View) {
        match attention {
            Attention::Asked((question, back)) => {
                // Whoever asked may have gone.
                let _ = back.send(questions::answer(&question, view));
            }
            Attention::Scrape(done) => {
                self.metrics.observe(&view.observe());
                self.metrics.health_check_ports(self.services.len());
                let _ = done.send(());
            }
            Attention::Tell => self.report(view),
        }
    }

    /// Changes were taken in: so many of Services, so many of slices.
    pub fn queued(&mut self, services: usize, slices: usize) {
        if services + slices > 0 {
            self.waiting.push((self.clock.now().steady, services + slices));
        }
        self.health.queued();
        self.metrics.queued(services, slices);
    }

    /// A slice was taken in that says when it was changed (nanoseconds since 1970).
    pub fn triggered(&mut self, family: Family, at: i64) {
        self.triggered.push((family, at));
    }

    /// Everything that was queued is in the maps; `full`: all of them were compared, not only what changed.
    pub fn synced(&mut self, full: bool) {
        self.health.updated();
        let waiting = std::mem::take(&mut self.waiting);
        let triggered = std::mem::take(&mut self.triggered);
        if waiting.is_empty() && !full {
            return;
        }
        let now = self.clock.now().steady;
        let since = |then: &Duration| now.saturating_sub(*then);
        let took = waiting.first().map_or(Duration::ZERO, |(then, _)| since(then));
        // The first round is a start: how long a restart takes is another figure than how fast a change is.
        let waited = match self.rounds {
            0 => Vec::new(),
            _ => waiting.iter().flat_map(|(then, count)| std::iter::repeat_n(since(then), *count)).collect(),
        };
        self.rounds += 1;
        self.metrics.synced(&Round { took, full, waited, triggered });
    }

    /// Another configuration holds.
    pub fn configured(&mut self, effective: &Value) {
        self.configz.replace(effective);
    }

    /// What has become of the node's own object. A source without API server need not have one.
    pub fn node(&mut self, node: Option<&NodeFact>) {
        self.health.node(match node {
            Some(node) if node.deleting || node.to_be_deleted_taint => NodeState::Leaving,
            Some(_) => NodeState::Staying,
            None => self.absent_node,
        });
    }

    /// What the engine has decided anew: owners of frontends, health check ports, conflicts.
    pub fn recomputed(&mut self, news: &Recomputed, engine: &Engine) {
        for key in news.touched.iter().filter_map(|entry| match entry {
            Entry::Frontend(key) => Some(key),
            Entry::Address(_) => None,
        }) {
            match engine.owner(key) {
                Some(frontend) => {
                    let owner = Owner { service: frontend.service.to_string(), port: frontend.port.to_string() };
                    self.journal.put(&frontend_name(key), &owner);
                }
                None => self.journal.delete(&frontend_name(key)),
            }
        }
        for (service, wanted) in &news.health_checks {
            self.services.set(service, *wanted);
        }
        for notice in &news.notices_new {
            let reason = match notice {
                Notice::Conflict { .. } => "FrontendConflict",
                Notice::TooManyEndpoints { .. } => "TooManyEndpoints",
                Notice::SctpNotServed { .. } | Notice::NoLocalEndpoint { .. } | Notice::Orphan { .. } => continue,
            };
            if let Subject::Service(service) = notice.subject() {
                self.events.send(Event::service(service, reason, "Decide", notice.to_string()));
            }
        }
    }

    /// A frontend does not fit into the maps.
    pub fn no_room(&self, service: &ObjectName, text: &str) {
        self.events.send(Event::service(service, "MapFull", "Write", text.to_owned()));
    }

    /// At which addresses NodePorts, and so health check ports, are served.
    pub fn addresses(&mut self, addresses: Addresses) {
        self.services.set_addresses(addresses);
    }

    /// Writes what the verbs read when no daemon runs: owners now, the status now or as soon as it may be.
    pub fn report(&mut self, view: &dyn View) {
        if let Err(error) = self.journal.flush(view) {
            tracing::warn!("`services` will show old names when no daemon runs: {error:#}");
        }
        if Instant::now() < self.may_tell {
            self.untold = true;
        } else {
            self.tell(view);
        }
    }

    /// The last words: the status as it is now.
    pub fn finish(&mut self, view: &dyn View) {
        self.tell(view);
    }

    fn tell(&mut self, view: &dyn View) {
        let start = Instant::now();
        if let Err(error) = self.state_dir.write_status(&view.status()) {
            tracing::warn!("`status` will show an old state when no daemon runs: {error:#}");
        }
        self.untold = false;
        let now = Instant::now();
        self.may_tell = now + TELL_PAUSE.max((now - start) * TELL_SHARE);
    }
}

impl Drop for Surface {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}
