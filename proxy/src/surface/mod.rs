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
pub mod questions;
pub mod socket;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Error, Result, anyhow};
use fairlead_ebpf_shared::FrontendKey;
use fairlead_proxy_model::{Engine, Entry, Family, NodeFact, Notice, ObjectName, Recomputed, Subject, frontend_name};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use self::clock::Clock;
use self::http::{Reach, keep_serving};
use self::socket::Asked;
use crate::config::{Config, SourceConfig};
use crate::events::{Event, Events, Outbox};
use crate::health::services::{Addresses, ServiceHealth};
use crate::health::{Health, NodeState};
use crate::metrics::server::{Configz, Pages};
use crate::metrics::{Metrics, Observation, Round};
use crate::state::{Journal, Owner, StateDir, Status};

/// `status.json` is written at most once in this time …
const TELL_PAUSE: Duration = Duration::from_secs(1);
/// … and takes at most this part of the loop's.
const TELL_SHARE: u32 = 100;
/// How long an event about a fatal failure has to get out.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How the surface is to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// This node's name.
    pub node: String,
    /// The families that the node has.
    pub families: Vec<Family>,
    /// What it means that there is no Node object for this node.
    pub node_state: NodeState,
    /// Where `/healthz` and `/livez` are; `None`: nowhere.
    pub healthz: Option<SocketAddr>,
    /// Where `/metrics` is; `None`: nowhere.
    pub metrics: Option<SocketAddr>,
    /// An address that cannot be bound ends the daemon.
    pub hard_fail: bool,
    /// A change that waits this long is too late: twice kube-proxy's syncPeriod.
    pub health_timeout: Duration,
    /// What `/proxyMode` says.
    pub proxy_mode: &'static str,
    /// What `/configz` says, in kube-proxy's form.
    pub configz: Value,
    /// There is an API server that takes events.
    pub events: bool,
}

impl Options {
    /// As the configuration has it.
    pub fn new(config: &Config) -> Self {
        let of_cluster = matches!(config.source, SourceConfig::Kubernetes(_));
        Self {
            node: config.node.clone(),
            families: families(),
            node_state: if of_cluster { NodeState::Missing } else { NodeState::Staying },
            healthz: config.healthz,
            metrics: config.metrics,
            hard_fail: config.bind_hard_fail,
            health_timeout: config.sync_period * 2,
            proxy_mode: config.mode.name(),
            configz: config.effective.clone(),
            events: of_cluster,
        }
    }
}

/// The families that this node has. IPv4 is always there; a kernel may be started without IPv6.
fn families() -> Vec<Family> {
    let has_ipv6 = Path::new("/proc/net/if_inet6").exists();
    if has_ipv6 { vec![Family::V4, Family::V6] } else { vec![Family::V4] }
}

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
    /// Opens the socket and starts the servers; within the runtime. An address that cannot be bound is no error here: it is
    /// tried again, or comes out of [`Surface::next`] with [`Options::hard_fail`].
    pub fn start(options: Options, state_dir: StateDir) -> Result<Self> {
        let clock = Clock::real();
        let metrics = Metrics::new(clock.clone(), &options.families);
        let (events, outbox) = if options.events {
            let (events, outbox) = Events::queue(options.node.clone(), clock.clone(), metrics.clone());
            (events, Some(outbox))
        } else {
            (Events::nowhere(metrics.clone()), None)
        };
        let health =
            Health::new(clock.clone(), options.health_timeout, &options.families, options.node_state, metrics.clone());
        let (ask, questions) = mpsc::channel(1);
        let (observe, scrapes) = mpsc::channel(1);
        let (fail, failures) = mpsc::channel(2);
        let socket = socket::bind(state_dir.path())?;
        let journal = Journal::new(state_dir.path());
        let mut surface = Self {
            services: ServiceHealth::new(options.node.clone(), health.clone(), events.clone()),
            health,
            metrics,
            events,
            absent_node: options.node_state,
            outbox,
            clock,
            questions,
            scrapes,
            configz: Configz::new(&options.configz),
            failures,
            state_dir,
            journal,
            may_tell: Instant::now(),
            untold: false,
            waiting: Vec::new(),
            triggered: Vec::new(),
            rounds: 0,
            tasks: vec![tokio::spawn(socket::serve(socket, ask))],
        };
        surface.serve(&options, observe, fail);
        Ok(surface)
    }

    fn serve(&mut self, options: &Options, observe: mpsc::Sender<oneshot::Sender<()>>, fail: mpsc::Sender<Error>) {
        let failed = |reason: &'static str| {
            let (events, fail, hard) = (self.events.clone(), fail.clone(), options.hard_fail);
            move |text: String| {
                events.send(Event::node(reason, "StartKubeProxy", text.clone()));
                if !hard {
                    tracing::error!("{text}; trying again every {} s", http::BIND_AGAIN.as_secs());
                    return true;
                }
                let fail = fail.clone();
                tokio::spawn(async move {
                    sleep(LAST_WORDS).await;
                    let _ = fail.send(anyhow!("{text}; bindAddressHardFail is set")).await;
                });
                false
            }
        };
        if let Some(addr) = options.healthz {
            let health = self.health.clone();
            let handler = move |request: hyper::Request<hyper::body::Incoming>| {
                let answer = health.answer(request.uri().path());
                async move { answer }
            };
            let failed = failed("FailedToStartProxierHealthcheck");
            self.tasks.push(tokio::spawn(keep_serving("the health server", addr, Reach::Both, failed, handler)));
        }
        if let Some(addr) = options.metrics {
            let pages = Pages::new(self.metrics.clone(), observe, options.proxy_mode, self.configz.clone());
            let handler = move |request: hyper::Request<hyper::body::Incoming>| {
                let pages = pages.clone();
                async move { pages.answer(request.uri().path()).await }
            };
            let failed = failed("FailedToStartMetricServer");
            self.tasks.push(tokio::spawn(keep_serving("the metrics server", addr, Reach::Both, failed, handler)));
        }
    }

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
