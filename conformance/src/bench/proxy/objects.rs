//! Services and slices by the thousand, and writers that keep a pace.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};

use crate::kubernetes::Api;

/// Connections that write at the same time.
const WRITERS: usize = 8;
/// Endpoints of each service.
pub(super) const ENDPOINTS: u32 = 10;
/// Namespace of everything that is measured.
pub(super) const NAMESPACE: &str = "bench";

/// The namespace's object.
pub(super) fn namespace() -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
}

/// The address of service `number`: 10.96.16.0 and up.
pub(super) fn address(number: u32) -> String {
    let [_, _, high, low] = (number + 16 * 256).to_be_bytes();
    format!("10.96.{high}.{low}")
}

/// Service `number`, with one port.
pub(super) fn service(number: u32) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("s{number}"), "namespace": NAMESPACE},
        "spec": {"clusterIP": address(number), "ports": [{"name": "main", "protocol": "TCP", "port": 80}]},
    })
}

/// Its slice, of ten endpoints that are nowhere; another `turn`, other endpoints.
pub(super) fn slice(number: u32, turn: u32) -> Value {
    let endpoint = |index: u32| {
        let [_, a, b, c] = (number * 16 + (index + turn) % 16).to_be_bytes();
        json!({"addresses": [format!("10.{}.{b}.{c}", 128 + a)], "conditions": {"ready": true}})
    };
    slice_of(number, (0..ENDPOINTS).map(endpoint).collect())
}

/// Its slice with these endpoints, on port 8080.
pub(super) fn slice_of(number: u32, endpoints: Vec<Value>) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": format!("s{number}"), "namespace": NAMESPACE,
            "labels": {"kubernetes.io/service-name": format!("s{number}")},
        },
        "endpoints": endpoints, "ports": [{"name": "main", "protocol": "TCP", "port": 8080}],
    })
}

/// Creates services from `from` up to `to`, each with its slice.
pub(super) fn fill(api: &Api, from: u32, to: u32) -> Result<()> {
    let next = AtomicU64::new(from.into());
    each_writer(|| {
        api.visit(|visit| {
            while let Some(number) = take(&next, to) {
                visit.create(&service(number))?;
                visit.create(&slice(number, 0))?;
            }
            Ok(())
        })
    })
}

/// Replaces the slices of `services` in turn, `rate` a second for so long. Gives the number of changes and the time they took.
pub(super) fn storm(api: &Api, services: u32, rate: u32, lasting: Duration) -> Result<(u64, Duration)> {
    let total = u64::from(rate) * lasting.as_secs();
    let (next, start) = (AtomicU64::new(0), Instant::now());
    each_writer(|| {
        api.visit(|visit| {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                // Three times its time is enough for a server that cannot keep the pace.
                if number >= total || start.elapsed() > lasting * 3 {
                    next.fetch_sub(1, Ordering::Relaxed);
                    return Ok(());
                }
                let due = Duration::from_secs_f64(number as f64 / f64::from(rate));
                std::thread::sleep(due.saturating_sub(start.elapsed()));
                let number = u32::try_from(number)?;
                visit.replace(&slice(number % services, 1 + number / services))?;
            }
        })
    })?;
    Ok((next.load(Ordering::Relaxed), start.elapsed()))
}

fn each_writer(work: impl Fn() -> Result<()> + Sync) -> Result<()> {
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(&work)).collect();
        let end = |writer: std::thread::ScopedJoinHandle<'_, Result<()>>| {
            writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        writers.into_iter().try_for_each(end)
    })
}

fn take(next: &AtomicU64, to: u32) -> Option<u32> {
    let number = u32::try_from(next.fetch_add(1, Ordering::Relaxed)).ok()?;
    (number < to).then_some(number)
}
