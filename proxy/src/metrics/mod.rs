//! What is counted, and the server at `metricsBindAddress` that tells it.
//!
//! What happens is counted when it happens; what is (map fill, the programs' counters, how many Services) is asked of the
//! loop at each scrape, so that nobody pays for it in between.

mod names;
mod process;
pub mod server;

use std::sync::Arc;
use std::time::Duration;

use fairlead_proxy_model::Family;
use prometheus::{Encoder, IntCounter, Registry, TextEncoder};

use crate::apply::Tally;
use crate::sources::Severity;
use crate::surface::clock::{Clock, unix_seconds};
use names::{KubeProxy, Maker, Own};

/// The content type of what [`Metrics::text`] gives.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A handle to all counters.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    kube_proxy: KubeProxy,
    own: Own,
    clock: Clock,
    /// Seconds since 1970; what was triggered before cannot have waited for us.
    started: f64,
    families: Vec<Family>,
}

/// How a round went that brought the maps up to date.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Round {
    /// From taking the changes in to the last write.
    pub took: Duration,
    /// Every frontend was compared: at the start, after a failure, at a verification. Otherwise what changed.
    pub full: bool,
    /// How long ago each of the applied changes was read by the daemon.
    pub waited: Vec<Duration>,
    /// When each applied slice was changed by what the cluster did, nanoseconds since 1970, and its family.
    pub triggered: Vec<(Family, i64)>,
}

/// What is, at a scrape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// The first complete state is in the maps.
    pub ready: bool,
    /// Services that the source states.
    pub services: usize,
    /// EndpointSlices that it states.
    pub slices: usize,
    /// Frontends in the maps.
    pub frontends: usize,
    /// Map, entries in use, entries at the most.
    pub fill: Vec<(&'static str, u64, u64)>,
    /// The programs' counters.
    pub programs: Vec<(&'static str, u64)>,
    /// What the applier did.
    pub tally: Tally,
    /// Of what an operator should know.
    pub problems: Vec<(Severity, usize)>,
    /// Frontends that do not fit.
    pub no_room: usize,
    /// Frontends kept from before.
    pub held_over: usize,
    /// Service ports without an endpoint on this node: policy (`internal` or `external`), family, how many.
    pub no_local: Vec<(&'static str, Family, usize)>,
    /// Kind of object, whether its list is complete and its watch open.
    pub watches: Vec<(String, bool)>,
}

impl Metrics {
    /// All at zero. `families` are those the node has: what concerns both is told of each.
    pub fn new(clock: Clock, families: &[Family]) -> Self {
        let registry = Registry::new();
        let make = Maker(&registry);
        let (kube_proxy, own) = (KubeProxy::new(&make), Own::new(&make));
        own.build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        // What may never happen here is told as such: kube-proxy looks through conntrack in every round.
        for family in families {
            kube_proxy.conntrack.with_label_values(&[family.name()]);
            kube_proxy.conntrack_deleted.with_label_values(&[family.name()]);
        }
        let started = unix_seconds(clock.now().wall);
        Self(Arc::new(Inner { registry, kube_proxy, own, clock, started, families: families.to_vec() }))
    }

    /// Changes were taken in that are not applied yet.
    pub fn queued(&self, services: usize, slices: usize) {
        let Inner { kube_proxy, .. } = &*self.0;
        for (total, pending, count) in [
            (&kube_proxy.services_total, &kube_proxy.services_pending, services),
            (&kube_proxy.slices_total, &kube_proxy.slices_pending, slices),
        ] {
            total.inc_by(count as u64);
            pending.add(count as i64);
        }
        self.stamp(&kube_proxy.last_queued);
    }

    /// Everything that was queued is applied.
    pub fn synced(&self, round: &Round) {
        let Inner { kube_proxy, own, .. } = &*self.0;
        let seconds = round.took.as_secs_f64();
        for name in self.families() {
            kube_proxy.sync.with_label_values(&[name]).observe(seconds);
            let kind = if round.full { &kube_proxy.sync_full } else { &kube_proxy.sync_partial };
            kind.with_label_values(&[name]).observe(seconds);
        }
        for waited in &round.waited {
            own.event_to_map.observe(waited.as_secs_f64());
        }
        let now = unix_seconds(self.0.clock.now().wall);
        for (family, triggered) in &round.triggered {
            let triggered = *triggered as f64 / 1e9;
            if triggered >= self.0.started {
                kube_proxy.programming.with_label_values(&[family.name()]).observe((now - triggered).max(0.0));
            }
        }
        kube_proxy.services_pending.set(0);
        kube_proxy.slices_pending.set(0);
        self.stamp(&kube_proxy.last_synced);
    }

    /// `/healthz` (or `/livez`) was answered with this code.
    pub fn probed(&self, healthz: bool, code: u16) {
        let Inner { kube_proxy, .. } = &*self.0;
        let counter = if healthz { &kube_proxy.healthz } else { &kube_proxy.livez };
        counter.with_label_values(&[code.to_string()]).inc();
    }

    /// Conntrack was cleared of what leads to removed endpoints.
    pub fn conntrack(&self, family: Family, took: Duration, deleted: u64) {
        let Inner { kube_proxy, own, .. } = &*self.0;
        let name = &[family.name()];
        kube_proxy.conntrack.with_label_values(name).observe(took.as_secs_f64());
        kube_proxy.conntrack_deleted.with_label_values(name).inc_by(deleted);
        own.flows_deleted.with_label_values(&["conntrack"]).inc_by(deleted);
    }

    /// Connected UDP sockets of removed endpoints were ended.
    pub fn sockets_ended(&self, count: u64) {
        self.0.own.flows_deleted.with_label_values(&["socket"]).inc_by(count);
    }

    /// The API server answered a request, or did not (`code` is 0 then).
    pub fn request(&self, method: &str, code: u16, host: &str, took: Duration) {
        let Inner { kube_proxy, .. } = &*self.0;
        // What client-go writes when there was no answer.
        let text = if code == 0 { "<error>".to_owned() } else { code.to_string() };
        kube_proxy.requests.with_label_values(&[&text, method, host]).inc();
        kube_proxy.request_duration.with_label_values(&[method, host]).observe(took.as_secs_f64());
    }

    /// A watch of the API server had to be opened again.
    pub fn watch_restarted(&self, resource: &str, reason: &str) {
        self.0.own.watch_restarts.with_label_values(&[resource, reason]).inc();
    }

    /// An event of ours was not sent.
    pub fn event_dropped(&self) {
        self.0.own.events_dropped.inc();
    }

    /// How many Services have a health check port.
    pub fn health_check_ports(&self, count: usize) {
        self.0.own.health_check_ports.set(count as i64);
    }

    /// Takes over what is.
    pub fn observe(&self, seen: &Observation) {
        let Inner { kube_proxy, own, .. } = &*self.0;
        let Observation { ready, services, slices, frontends, fill, programs, tally, problems, .. } = seen;
        own.ready.set(i64::from(*ready));
        own.services.set(*services as i64);
        own.slices.set(*slices as i64);
        own.frontends.set(*frontends as i64);
        for (map, used, size) in fill {
            own.used.with_label_values(&[map]).set(*used as i64);
            own.size.with_label_values(&[map]).set(*size as i64);
        }
        for (reason, count) in programs {
            set(&own.programs.with_label_values(&[reason]), *count);
        }
        set(&own.operations, tally.operations);
        set(&own.failed, tally.failed);
        set(&own.verified, tally.verified);
        set(&own.drift, tally.drift_repaired);
        for (severity, count) in problems {
            own.problems.with_label_values(&[severity.name()]).set(*count as i64);
        }
        own.no_room.set(seen.no_room as i64);
        own.held_over.set(seen.held_over as i64);
        for (policy, family, count) in &seen.no_local {
            kube_proxy.no_local.with_label_values(&[policy, family.name()]).set(*count as i64);
        }
        for (resource, synced) in &seen.watches {
            own.watch_synced.with_label_values(&[resource]).set(i64::from(*synced));
        }
    }

    /// Everything, in the text format 0.0.4, sorted by name and labels; with `process_*` of this process.
    pub fn text(&self) -> Vec<u8> {
        let mut text = self.own_text();
        text.extend_from_slice(process::text().as_bytes());
        text
    }

    /// [`Metrics::text`] without what depends on the machine.
    fn own_text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.0.registry.gather(), &mut text) {
            tracing::warn!("encode the metrics: {error}");
        }
        text
    }

    fn stamp(&self, gauge: &prometheus::GaugeVec) {
        let now = unix_seconds(self.0.clock.now().wall);
        for name in self.families() {
            gauge.with_label_values(&[name]).set(now);
        }
    }

    fn families(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.0.families.iter().map(|family| family.name())
    }
}

/// A counter that somebody else counts.
fn set(counter: &IntCounter, value: u64) {
    counter.reset();
    counter.inc_by(value);
}

#[cfg(test)]
mod tests;
