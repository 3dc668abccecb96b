//! Kubernetes events (`events.k8s.io/v1`): what an operator finds with `kubectl describe` where nobody reads logs.
//!
//! Never in the loop's way: an event is put into a bounded queue or dropped and counted. A task of its own sends them, a few
//! at a time; one that says what was said a moment ago is not sent again. Reasons that kube-proxy has too are spelled as its own.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Result;
use fairlead_proxy_model::ObjectName;
use http::header::CONTENT_TYPE;
use http::{Method, Request, StatusCode};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use crate::convert;
use crate::metrics::Metrics;
use crate::surface::clock::Clock;

/// Events that may wait.
const QUEUE: usize = 64;
/// Events that may be sent at once after a rest, and the time in which one more may be.
const BURST: u32 = 20;
const REFILL: Duration = Duration::from_secs(10);
/// The same event is sent once in this time.
const ONCE_IN: Duration = Duration::from_secs(600);
/// An API server that does not take an event is asked again, this often, after this pause (as client-go does).
const ATTEMPTS: u32 = 12;
const PAUSE: Duration = Duration::from_secs(10);

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Regarding {
    /// This node.
    Node,
    /// A Service.
    Service(ObjectName),
}

/// Something worth an operator's eye.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Event {
    /// What it is about.
    pub regarding: Regarding,
    /// `Warning`, not `Normal`.
    pub warning: bool,
    /// Why, one word in capitals and small letters.
    pub reason: &'static str,
    /// What was being done, one word.
    pub action: &'static str,
    /// A sentence; may be empty.
    pub note: String,
}

impl Event {
    /// kube-proxy's first: this proxy runs.
    pub fn starting() -> Self {
        let note = String::new();
        Self { regarding: Regarding::Node, warning: false, reason: "Starting", action: "StartKubeProxy", note }
    }

    /// A warning about this node.
    pub fn node(reason: &'static str, action: &'static str, note: String) -> Self {
        Self { regarding: Regarding::Node, warning: true, reason, action, note }
    }

    /// A warning about a Service.
    pub fn service(service: &ObjectName, reason: &'static str, action: &'static str, note: String) -> Self {
        Self { regarding: Regarding::Service(service.clone()), warning: true, reason, action, note }
    }
}

/// A handle to put events into.
#[derive(Clone)]
pub struct Events {
    queue: Option<mpsc::Sender<Event>>,
    metrics: Metrics,
}

/// The other end of the queue.
pub struct Outbox {
    queue: mpsc::Receiver<Event>,
    node: String,
    clock: Clock,
    metrics: Metrics,
}

impl Events {
    /// Nobody is there to send them to: a source without an API server.
    pub fn nowhere(metrics: Metrics) -> Self {
        Self { queue: None, metrics }
    }

    /// A queue, and who empties it: [`Outbox::run`] is to be spawned.
    pub fn queue(node: String, clock: Clock, metrics: Metrics) -> (Self, Outbox) {
        let (sender, queue) = mpsc::channel(QUEUE);
        (Self { queue: Some(sender), metrics: metrics.clone() }, Outbox { queue, node, clock, metrics })
    }

    /// Sends, some time; waits for nothing.
    pub fn send(&self, event: Event) {
        if let Some(queue) = &self.queue
            && queue.try_send(event).is_err()
        {
            self.metrics.event_dropped();
        }
    }
}

impl Outbox {
    /// Sends what is put in, with `post`: a request to the API server by path, and the code of its answer.
    pub async fn run<F, Fut>(mut self, post: F)
    where
        F: Fn(Request<Vec<u8>>) -> Fut,
        Fut: Future<Output = Result<StatusCode>>,
    {
        let mut sent: HashMap<Event, Instant> = HashMap::new();
        let mut tokens = BURST;
        let mut refilled = Instant::now();
        let mut number = 0_u64;
        while let Some(event) = self.queue.recv().await {
            let now = Instant::now();
            sent.retain(|_, at| now.duration_since(*at) < ONCE_IN);
            if sent.contains_key(&event) {
                continue;
            }
            while refilled + REFILL <= now && tokens < BURST {
                (tokens, refilled) = (tokens + 1, refilled + REFILL);
            }
            match tokens {
                BURST => refilled = now,
                0 => {
                    sleep_until(refilled + REFILL).await;
                    (tokens, refilled) = (1, Instant::now());
                }
                _ => {}
            }
            tokens -= 1;
            number += 1;
            if !self.deliver(&event, number, &post).await {
                self.metrics.event_dropped();
            }
            sent.insert(event, now);
        }
    }

    async fn deliver<F, Fut>(&self, event: &Event, number: u64, post: &F) -> bool
    where
        F: Fn(Request<Vec<u8>>) -> Fut,
        Fut: Future<Output = Result<StatusCode>>,
    {
        let (path, body) = convert::event::request(event, &self.node, self.clock.now().wall, number);
        for attempt in 1..=ATTEMPTS {
            let request = Request::builder()
                .method(Method::POST)
                .uri(&path)
                .header(CONTENT_TYPE, "application/json")
                .body(body.clone());
            let Ok(request) = request else { return false };
            let trouble = match post(request).await {
                Ok(code) if code.is_success() || code == StatusCode::CONFLICT => return true,
                Ok(code) if code.is_server_error() || code == StatusCode::TOO_MANY_REQUESTS => code.to_string(),
                Ok(code) => {
                    tracing::warn!(reason = event.reason, "the API server does not take the event: {code}");
                    return false;
                }
                Err(error) => format!("{error:#}"),
            };
            tracing::debug!(reason = event.reason, attempt, "the event is not sent yet: {trouble}");
            if attempt < ATTEMPTS {
                sleep(PAUSE).await;
            }
        }
        tracing::warn!(reason = event.reason, "the event was not sent in {ATTEMPTS} attempts");
        false
    }
}

#[cfg(test)]
mod tests;
