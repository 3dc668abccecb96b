//! Against an API server that breaks on command: after each script what we hold is what the server holds.

mod access;
mod faults;
mod following;

use std::collections::BTreeMap;
use std::time::Duration;

use fairlead_conformance::scripted::{Fault, For, Server};
use fairlead_proxy_model::Change;
use serde_json::json;
use tokio::time::timeout;

use super::*;

/// Nothing here takes a tenth of this.
fn patience() -> Duration {
    let factor = std::env::var("FAIRLEAD_PATIENCE").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    Duration::from_secs(20) * factor
}

/// Short enough to be waited for.
const LIMITS: Limits = Limits {
    watch: Duration::from_millis(900),
    list: Duration::from_millis(500),
    initial: Duration::from_secs(5),
    pages: Duration::from_secs(3600),
    proof: Duration::from_millis(100),
};

fn config(server: &Server) -> KubernetesConfig {
    KubernetesConfig { kubeconfig: None, master: Some(server.url()), qps: 0.0, burst: 1 }
}

/// A service whose address tells which state it is in.
fn put_service(server: &Server, number: u8, state: u8) {
    server.put(json!({
        "kind": "Service", "apiVersion": "v1",
        "metadata": {"name": format!("web-{number}"), "namespace": "default"},
        "spec": {"clusterIP": format!("10.96.{state}.{number}"), "ports": [{"port": 80}]}
    }));
}

fn put_slice(server: &Server, number: u8, state: u8) {
    server.put(json!({
        "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1",
        "metadata": {
            "name": format!("web-{number}-a"), "namespace": "default",
            "labels": {"kubernetes.io/service-name": format!("web-{number}")}
        },
        "addressType": "IPv4", "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [format!("10.244.{state}.{number}")]}]
    }));
}

fn put_node(server: &Server, number: u8) {
    server.put(json!({
        "kind": "Node", "apiVersion": "v1", "metadata": {"name": format!("node-{number}")},
        "status": {"addresses": [{"type": "InternalIP", "address": format!("192.0.2.{number}")}]}
    }));
}

/// A source, and what its changes come to.
struct Stage {
    source: Kubernetes,
    held: BTreeMap<String, String>,
    /// How often something was taken away.
    deletions: usize,
}

impl Stage {
    async fn open(server: &Server) -> Self {
        let source = Kubernetes::open_with(&config(server), None, LIMITS).await.expect("open");
        Self { source, held: BTreeMap::new(), deletions: 0 }
    }

    fn take_in(&mut self) {
        let mut changes = Vec::new();
        while self.source.load(100, &mut changes) {}
        for change in changes {
            let (name, state) = match change {
                Change::PutService(fact) => (format!("Service {}", fact.name), Some(fact.cluster_ips[0].to_string())),
                Change::PutSlice(fact) => {
                    (format!("EndpointSlice {}", fact.name), fact.endpoints.first().map(|known| known.addr.to_string()))
                }
                Change::PutNode(fact) => (format!("Node {}", fact.name), Some(fact.addresses[0].to_string())),
                Change::DeleteService(name) => (format!("Service {name}"), None),
                Change::DeleteSlice(name) => (format!("EndpointSlice {name}"), None),
                Change::DeleteNode(name) => (format!("Node {name}"), None),
                Change::OwnAddresses(_) => panic!("not from an API server"),
            };
            match state {
                Some(state) => _ = self.held.insert(name, state),
                None => {
                    assert!(self.held.remove(&name).is_some(), "{name} was not there");
                    self.deletions += 1;
                }
            }
        }
    }

    /// Takes in changes until it is as wanted.
    async fn until(&mut self, what: &str, wanted: impl Fn(&Self) -> bool) {
        let waited = timeout(patience(), async {
            while !wanted(self) {
                self.source.changed().await.expect("a source does not end");
                self.take_in();
            }
        });
        if waited.await.is_err() {
            panic!("{what}: not within {:?}\n{:#?}\n{:#?}", patience(), self.held, self.source.problems());
        }
    }

    async fn synced(server: &Server) -> Self {
        let mut stage = Self::open(server).await;
        stage.until("the first lists", |stage| stage.source.is_synced()).await;
        stage
    }

    /// Until what we hold is what the server holds.
    async fn same(&mut self, server: &Server) {
        self.until("the server's state", |stage| stage.is_same(server)).await;
    }

    fn is_same(&self, server: &Server) -> bool {
        let mut names = Vec::new();
        names.extend(server.names("EndpointSlice").into_iter().map(|name| format!("EndpointSlice {name}")));
        names.extend(server.names("Node").into_iter().map(|name| format!("Node {}", name.trim_start_matches('/'))));
        names.extend(server.names("Service").into_iter().map(|name| format!("Service {name}")));
        let held: Vec<&String> = self.held.keys().collect();
        held == names.iter().collect::<Vec<_>>() && self.last_state(server)
    }

    /// Services and slices are in the state that was put last.
    fn last_state(&self, server: &Server) -> bool {
        self.held.iter().all(|(name, state)| server.text(name).is_some_and(|text| text.contains(&format!("{state:?}"))))
    }

    fn problems(&self) -> Vec<String> {
        self.source.problems().iter().map(ToString::to_string).collect()
    }

    /// Until this was asked of Services.
    async fn asks(&mut self, server: &Server, expected: &[&str]) {
        let asked = async {
            while Stage::asked(server) != expected {
                tokio::task::yield_now().await;
            }
        };
        let waited = timeout(patience(), asked).await;
        assert!(waited.is_ok(), "{:?} and not {expected:?}", Stage::asked(server));
        self.take_in();
    }

    /// What was asked of Services, in short.
    fn asked(server: &Server) -> Vec<String> {
        let requests = server.requests().into_iter().filter(|request| request.path == "/api/v1/services");
        let names = requests.map(|request| match request {
            request if request.parameter("sendInitialEvents").is_some() => "streamed list",
            request if request.is_watch() => "watch",
            request if request.parameter("continue").is_some() => "next page",
            request if request.parameter("limit") == Some("1") => "version",
            request if request.parameter("limit").is_none() => "whole list",
            _ => "page",
        });
        names.map(str::to_owned).collect()
    }
}

/// A small world, and a source that has it.
async fn world() -> (Server, Stage) {
    let server = Server::start().expect("a port");
    for number in 1..=3 {
        put_service(&server, number, 0);
        put_slice(&server, number, 0);
        put_node(&server, number);
    }
    let mut stage = Stage::synced(&server).await;
    stage.same(&server).await;
    assert_eq!(stage.deletions, 0);
    (server, stage)
}

const SERVICES: &str = "/api/v1/services";

fn fault(server: &Server, which: For, fault: Fault) {
    server.fault(which, SERVICES, fault);
}
