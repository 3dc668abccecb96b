//! The surface's beginning: socket, servers, queues.

use std::time::Duration;

use anyhow::{Error, Result, anyhow};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

use super::clock::Clock;
use super::http::{self, keep_serving};
use super::options::Options;
use super::{Surface, socket};
use crate::events::{Event, Events};
use crate::health::Health;
use crate::health::services::ServiceHealth;
use crate::metrics::Metrics;
use crate::metrics::server::{Configz, Pages};
use crate::state::{Journal, StateDir};

/// How long an event about a fatal failure has to get out.
const LAST_WORDS: Duration = Duration::from_secs(1);

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
            self.tasks.push(tokio::spawn(keep_serving("the health server", addr, failed, handler)));
        }
        if let Some(addr) = options.metrics {
            let pages = Pages::new(self.metrics.clone(), observe, options.proxy_mode, self.configz.clone());
            let handler = move |request: hyper::Request<hyper::body::Incoming>| {
                let pages = pages.clone();
                async move { pages.answer(request.uri().path()).await }
            };
            let failed = failed("FailedToStartMetricServer");
            self.tasks.push(tokio::spawn(keep_serving("the metrics server", addr, failed, handler)));
        }
    }
}
