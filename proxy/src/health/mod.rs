//! Whether this node's proxy keeps up, and whether its node is there to stay: `/healthz`, `/livez` and the ports that load
//! balancers ask.
//!
//! The rules and the bodies are kube-proxy's (`pkg/proxy/healthcheck/proxy_health.go`, v1.37.2). Where `/healthz` says no
//! because the node is going, `/livez` still says yes: a liveness probe must ask the latter, or the proxy is restarted again
//! and again on a node that drains.

pub mod services;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fairlead_proxy_model::Family;
use hyper::StatusCode;
use serde::Serialize;

use crate::metrics::Metrics;
use crate::surface::clock::{Clock, rfc3339};
use crate::surface::http::{Reply, not_found, reply};

/// What is known of the node's own Node object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// There is none, and there should be.
    Missing,
    /// It is being deleted, or the cluster autoscaler has chosen it (the taint `ToBeDeletedByClusterAutoscaler`).
    Leaving,
    /// It is there to stay; or the source knows no nodes, as a directory of files need not.
    Staying,
}

/// A handle to what the servers tell; the loop writes, they read.
#[derive(Clone)]
pub struct Health {
    state: Arc<Mutex<State>>,
    clock: Clock,
    timeout: Duration,
    metrics: Metrics,
}

struct State {
    progress: BTreeMap<Family, Progress>,
    node: NodeState,
}

#[derive(Default)]
struct Progress {
    /// `None`: nothing has been applied yet, and that is not held against us.
    updated: Option<SystemTime>,
    /// When the oldest change came that is not applied, on the steady clock.
    queued: Option<Duration>,
}

/// The body of `/healthz` and `/livez`. The names and their order are kube-proxy's.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    last_updated: String,
    current_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_eligible: Option<bool>,
    healthy: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    status: BTreeMap<&'static str, FamilyBody>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FamilyBody {
    last_updated: String,
    healthy: bool,
}

/// Go's zero time, for what never happened.
const NEVER: &str = "0001-01-01T00:00:00Z";

impl Health {
    /// Changes that wait for longer than `timeout` (kube-proxy: twice its syncPeriod) are too late. `families` are those
    /// that the node has.
    pub fn new(clock: Clock, timeout: Duration, families: &[Family], node: NodeState, metrics: Metrics) -> Self {
        let progress = families.iter().map(|family| (*family, Progress::default())).collect();
        Self { state: Arc::new(Mutex::new(State { progress, node })), clock, timeout, metrics }
    }

    /// There are changes that are not in the kernel yet.
    pub fn queued(&self) {
        let now = self.clock.now().steady;
        for progress in self.state().progress.values_mut() {
            progress.queued.get_or_insert(now);
        }
    }

    /// Everything that was queued is in the kernel.
    pub fn updated(&self) {
        let now = self.clock.now().wall;
        for progress in self.state().progress.values_mut() {
            *progress = Progress { updated: Some(now), queued: None };
        }
    }

    /// What has become of the node.
    pub fn node(&self, node: NodeState) {
        self.state().node = node;
    }

    /// Whether no change waits for too long.
    pub fn is_healthy(&self) -> bool {
        let now = self.clock.now().steady;
        self.state().progress.values().all(|progress| self.keeps_up(progress, now))
    }

    /// The answer to `path`.
    pub fn answer(&self, path: &str) -> Reply {
        let of_node = match path {
            "/healthz" => true,
            "/livez" => false,
            _ => return not_found(),
        };
        let now = self.clock.now();
        let state = self.state();
        let mut last = None;
        let mut keeps_up = true;
        let mut status = BTreeMap::new();
        for (family, progress) in &state.progress {
            let Some(updated) = progress.updated else { continue };
            last = last.max(Some(updated));
            let healthy = self.keeps_up(progress, now.steady);
            keeps_up &= healthy;
            status.insert(family.name(), FamilyBody { last_updated: rfc3339(updated), healthy });
        }
        let node_eligible = of_node.then_some(state.node == NodeState::Staying);
        drop(state);
        let good = keeps_up && node_eligible != Some(false);
        let body = Body {
            // Who is well says "now": older releases gave the time of the last round, changes or not, and readers kept that.
            last_updated: if good { rfc3339(now.wall) } else { last.map_or_else(|| NEVER.to_owned(), rfc3339) },
            current_time: rfc3339(now.wall),
            node_eligible,
            healthy: keeps_up,
            status,
        };
        let code = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        self.metrics.probed(of_node, code.as_u16());
        reply(code, "application/json", serde_json::to_vec(&body).unwrap_or_default())
    }

    fn keeps_up(&self, progress: &Progress, now: Duration) -> bool {
        match (progress.updated, progress.queued) {
            (Some(_), Some(queued)) => now.saturating_sub(queued) < self.timeout,
            _ => true,
        }
    }

    /// Whoever panicked while holding it left whole values.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
