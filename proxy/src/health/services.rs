//! The ports at which load balancers ask whether this node has an endpoint of a Service (`healthCheckNodePort`).
//!
//! As kube-proxy's (`pkg/proxy/healthcheck/service_health.go`, v1.37.2): one listener per Service, family and address at
//! which NodePorts are served, any path, and 200 while the node has a ready endpoint of that family and the proxy keeps up.
//! Other than there, a port that cannot be bound is tried again every few seconds, not at the next change of some Service.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fairlead_proxy_model::{Family, HealthCheck, ObjectName};
use hyper::StatusCode;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::Health;
use crate::events::{Event, Events};
use crate::surface::http::{BIND_AGAIN, Reach, Reply, listen, reply, serve, with_number};

/// Pauses before the first attempts to bind: a listener of another Service that has just given the port up is closed by then.
const SOON: [Duration; 3] = [Duration::ZERO, Duration::from_millis(10), Duration::from_millis(200)];

/// At which addresses NodePorts are served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Addresses {
    /// At all of the node's.
    #[default]
    All,
    /// At these.
    These(BTreeSet<IpAddr>),
}

/// All such ports. A listener lives as long as its Service wants it.
pub struct ServiceHealth {
    node: String,
    health: Health,
    events: Events,
    addresses: Addresses,
    services: BTreeMap<ObjectName, Instance>,
}

struct Instance {
    check: HealthCheck,
    counts: [Arc<AtomicU32>; 2],
    listeners: BTreeMap<IpAddr, Listener>,
}

/// Ends with its owner.
struct Listener(JoinHandle<()>);

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl ServiceHealth {
    /// None yet.
    pub fn new(node: String, health: Health, events: Events) -> Self {
        Self { node, health, events, addresses: Addresses::All, services: BTreeMap::new() }
    }

    /// What `service` wants from now on; `None`: nothing. Counts are replaced, listeners are left alone unless the port or the
    /// families are others. To be called within the runtime.
    pub fn set(&mut self, service: &ObjectName, wanted: Option<HealthCheck>) {
        let Some(check) = wanted else {
            if self.services.remove(service).is_some() {
                tracing::info!(%service, "the health check port is closed");
            }
            return;
        };
        let same_port = self.services.get(service).is_some_and(|instance| instance.check.port == check.port);
        if !same_port {
            self.services.remove(service);
            tracing::info!(%service, port = check.port, "the health check port is opened");
        }
        let instance = self.services.entry(service.clone()).or_insert_with(|| Instance {
            check,
            counts: Default::default(),
            listeners: BTreeMap::new(),
        });
        instance.check = check;
        for (count, wanted) in instance.counts.iter().zip([check.v4, check.v6]) {
            count.store(wanted.unwrap_or(0), Ordering::Relaxed);
        }
        self.settle(service);
    }

    /// The addresses have changed: closes and opens what is to be.
    pub fn set_addresses(&mut self, addresses: Addresses) {
        if self.addresses != addresses {
            self.addresses = addresses;
            for service in self.services.keys().cloned().collect::<Vec<_>>() {
                self.settle(&service);
            }
        }
    }

    /// How many Services have such a port.
    pub fn len(&self) -> usize {
        self.services.len()
    }

    /// Opens and closes listeners of one service until they are as wanted.
    fn settle(&mut self, service: &ObjectName) {
        let Some(instance) = self.services.get_mut(service) else { return };
        let Instance { check, counts, listeners } = instance;
        let has = |addr: &IpAddr| match Family::of(*addr) {
            Family::V4 => check.v4.is_some(),
            Family::V6 => check.v6.is_some(),
        };
        let everywhere = BTreeSet::from([Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()]);
        let offered = match &self.addresses {
            Addresses::All => &everywhere,
            Addresses::These(addresses) => addresses,
        };
        let wanted: BTreeSet<IpAddr> = offered.iter().filter(|addr| has(addr)).copied().collect();
        listeners.retain(|addr, _| wanted.contains(addr));
        for addr in wanted {
            let [v4, v6] = &*counts;
            let count = Arc::clone(if addr.is_ipv4() { v4 } else { v6 });
            listeners.entry(addr).or_insert_with(|| {
                let task = keep_open(
                    SocketAddr::new(addr, check.port),
                    service.clone(),
                    count,
                    self.node.clone(),
                    self.health.clone(),
                    self.events.clone(),
                );
                Listener(tokio::spawn(task))
            });
        }
    }
}

/// Binds, however often that takes, and answers.
async fn keep_open(
    addr: SocketAddr,
    service: ObjectName,
    count: Arc<AtomicU32>,
    node: String,
    health: Health,
    events: Events,
) {
    let mut told = None;
    let mut pauses = SOON.into_iter();
    let listener = loop {
        let soon = pauses.next();
        sleep(soon.unwrap_or(BIND_AGAIN)).await;
        match listen(addr, Reach::Own) {
            Ok(listener) => break listener,
            Err(error) => {
                let text = error.to_string();
                if pauses.len() == 0 && told.as_ref() != Some(&text) {
                    // The sentence is kube-proxy's: people search for it.
                    let port = addr.port();
                    let note = format!("node {node} failed to start healthcheck \"{service}\" on port {port}: {error}");
                    tracing::error!(address = %addr, "{note}");
                    events.send(Event::service(&service, "FailedToStartServiceHealthcheck", "Listen", note));
                    told = Some(text);
                }
            }
        }
    };
    serve(listener, move |_| {
        let answer = answer(&service, count.load(Ordering::Relaxed), health.is_healthy());
        async move { answer }
    })
    .await;
}

/// Byte for byte kube-proxy's body, tabs included.
fn answer(service: &ObjectName, count: u32, healthy: bool) -> Reply {
    let code = if count > 0 && healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let (namespace, name) = (Value::from(&*service.namespace), Value::from(&*service.name));
    let body = format!(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": {namespace},\n\t\t\"name\": {name}\n\t}},\n\
         \t\"localEndpoints\": {count},\n\t\"serviceProxyHealthy\": {healthy}\n}}"
    );
    with_number(reply(code, "application/json", body), "x-load-balancing-endpoint-weight", count)
}

#[cfg(test)]
mod tests;
