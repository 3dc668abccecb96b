//! The surface of a loop that has nothing else to do: its servers, its socket, its files.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use fairlead_ebpf_shared::FrontendKey;
use fairlead_proxy_model::{Engine, Entry, Family, NodeFact, ObjectName, Protocol, Recomputed, Settings, frontend_key};
use serde_json::json;
use tempfile::TempDir;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::questions::Question;
use super::socket::ask;
use super::{Attention, Options, Surface, View};
use crate::health::NodeState;
use crate::metrics::Observation;
use crate::state::{self, StateDir, Status};

const LIMIT: Duration = Duration::from_secs(20);

/// A loop's state with one frontend.
struct Core {
    engine: Engine,
    services: usize,
}

impl Core {
    fn new() -> Self {
        Self { engine: Engine::new(Settings::new("node-a")), services: 3 }
    }
}

fn key() -> FrontendKey {
    frontend_key([10, 96, 0, 1].into(), 80, Protocol::Tcp)
}

impl View for Core {
    fn status(&self) -> Status {
        Status {
            version: "1".to_owned(),
            pid: 7,
            started: 0,
            node: "node-a".to_owned(),
            source: "directory /there".to_owned(),
            files: Some(1),
            services: self.services,
            slices: 0,
            ready: true,
            restored: 0,
            held_over: Vec::new(),
            tally: Default::default(),
            last_error: None,
            problems: Vec::new(),
        }
    }

    fn observe(&self) -> Observation {
        Observation { services: self.services, ..Observation::default() }
    }

    fn owners(&self, each: &mut dyn FnMut(&FrontendKey, &ObjectName, &str)) {
        each(&key(), &ObjectName::new("shop", "cart"), "http");
    }

    fn engine(&self) -> &Engine {
        &self.engine
    }
}

fn free_addr() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port")
}

fn options() -> Options {
    Options {
        node: "node-a".to_owned(),
        families: vec![Family::V4, Family::V6],
        node_state: NodeState::Missing,
        healthz: Some(free_addr()),
        metrics: Some(free_addr()),
        hard_fail: false,
        health_timeout: Duration::from_secs(60),
        proxy_mode: "nftables",
        configz: json!({"mode": "nftables"}),
        events: false,
    }
}

fn start(options: Options, directory: &TempDir) -> Surface {
    Surface::start(options, StateDir::open(directory.path()).expect("a state directory")).expect("a surface")
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { timeout(LIMIT, test).await.expect("in time") });
}

/// Attends until `work`, which runs on another thread, is done.
async fn attend_until<T: Send + 'static>(
    surface: &mut Surface,
    core: &Core,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let mut work = spawn_blocking(work);
    loop {
        tokio::select! {
            done = &mut work => return done.expect("a thread"),
            attention = surface.next() => surface.attend(attention.expect("no failure"), core),
        }
    }
}

/// Head and body of the answer, once somebody listens.
fn get(addr: SocketAddr, path: &str) -> String {
    let start = std::time::Instant::now();
    let mut stream = loop {
        match TcpStream::connect(addr) {
            Ok(stream) => break stream,
            Err(error) => assert!(start.elapsed() < LIMIT, "{addr}: {error}"),
        }
    };
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn servers_answer_from_the_loops_state() {
    run(async {
        let (directory, options, mut core) = (tempfile::tempdir().expect("a directory"), options(), Core::new());
        let (healthz, metrics) = (options.healthz.expect("set"), options.metrics.expect("set"));
        let mut surface = start(options, &directory);
        let answer = attend_until(&mut surface, &core, move || get(healthz, "/healthz")).await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\"nodeEligible\":false"), "{answer}");
        let node = NodeFact {
            name: "node-a".into(),
            zone: None,
            addresses: Vec::new(),
            pod_cidrs: Vec::new(),
            deleting: false,
            to_be_deleted_taint: false,
        };
        for (node, code) in [
            (Some(node.clone()), "200"),
            (Some(NodeFact { deleting: true, ..node.clone() }), "503"),
            (Some(NodeFact { to_be_deleted_taint: true, ..node }), "503"),
            (None, "503"),
        ] {
            surface.node(node.as_ref());
            let answer = attend_until(&mut surface, &core, move || get(healthz, "/healthz")).await;
            assert_eq!(answer.split(' ').nth(1), Some(code), "{node:?}: {answer}");
            let answer = attend_until(&mut surface, &core, move || get(healthz, "/livez")).await;
            assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        }

        core.services = 41;
        surface.queued(2, 3);
        surface.synced(true);
        surface.queued(1, 0);
        surface.synced(false);
        surface.synced(false);
        let answer = attend_until(&mut surface, &core, move || get(metrics, "/metrics")).await;
        for line in [
            "fairlead_proxy_services 41",
            "fairlead_proxy_event_to_map_duration_seconds_count 1",
            "kubeproxy_sync_full_proxy_rules_duration_seconds_count{ip_family=\"IPv6\"} 1",
            "kubeproxy_sync_partial_proxy_rules_duration_seconds_count{ip_family=\"IPv6\"} 1",
            "kubeproxy_sync_proxy_rules_service_changes_total 3",
        ] {
            assert!(answer.lines().any(|told| told == line), "{line} is not in\n{answer}");
        }
        let answer = attend_until(&mut surface, &core, move || get(metrics, "/configz")).await;
        assert!(answer.ends_with("\r\n\r\n{\"kubeproxy.config.k8s.io\":{\"mode\":\"nftables\"}}"), "{answer}");
    });
}

#[test]
fn verbs_ask_through_the_socket() {
    run(async {
        let (directory, mut core) = (tempfile::tempdir().expect("a directory"), Core::new());
        let path = directory.path().to_owned();
        let asks = {
            let path = path.clone();
            move || ask::<Status>(&path, &Question::Status)
        };
        assert_eq!(asks().expect("no error"), None, "nobody is there");
        let mut surface = start(options(), &directory);
        core.services = 12;
        let told = attend_until(&mut surface, &core, asks.clone()).await.expect("an answer").expect("a daemon");
        assert_eq!(told, core.status());
        let other_version = {
            let path = path.clone();
            move || ask::<u64>(&path, &Question::Status).expect_err("no number").to_string()
        };
        let error = attend_until(&mut surface, &core, other_version).await;
        assert_eq!(error, "read the daemon's answer: is it another version?");
        drop(surface);
        // The socket's file is still there, as after SIGKILL.
        assert!(path.join("socket").exists());
        assert_eq!(spawn_blocking(asks).await.expect("a thread").expect("no error"), None);
        let removed = state::remove(&path).expect("removed");
        assert!(removed.iter().any(|line| line.ends_with("/socket")), "{removed:?}");
    });
}

#[test]
fn a_state_directory_may_have_a_long_name() {
    run(async {
        let (outer, core) = (tempfile::tempdir().expect("a directory"), Core::new());
        let directory = tempfile::Builder::new().prefix(&"long-".repeat(40)).tempdir_in(&outer).expect("a directory");
        let path = directory.path().to_owned();
        let mut surface = start(options(), &directory);
        let asks = move || ask::<Status>(&path, &Question::Status);
        assert!(attend_until(&mut surface, &core, asks).await.expect("an answer").is_some());
    });
}

#[test]
fn files_are_written_when_they_may_be() {
    run(async {
        let (directory, mut core) = (tempfile::tempdir().expect("a directory"), Core::new());
        let mut surface = start(options(), &directory);
        let told = || state::read_status(directory.path()).expect("a file").map(|status| status.services);
        let owners = || state::read_owners(directory.path()).expect("a file");
        surface.report(&core);
        assert_eq!(told(), Some(3), "the first at once");
        assert_eq!(owners()["10.96.0.1:80/TCP"].service, "shop/cart");
        core.services = 4;
        // Nothing owns it in this engine.
        let gone = Recomputed { touched: [Entry::Frontend(key())].into(), ..Recomputed::default() };
        surface.recomputed(&gone, &core.engine);
        surface.report(&core);
        core.services = 5;
        surface.report(&core);
        assert_eq!(told(), Some(3), "the next after a second");
        assert!(owners().is_empty(), "owners at once: a line is cheap");
        let attention = surface.next().await.expect("no failure");
        assert!(matches!(attention, Attention::Tell), "{attention:?}");
        surface.attend(attention, &core);
        assert_eq!(told(), Some(5));
        core.services = 6;
        surface.finish(&core);
        assert_eq!(told(), Some(6), "the last at once");
    });
}

#[test]
fn an_address_that_is_taken_ends_the_daemon_only_on_request() {
    run(async {
        let (directory, core) = (tempfile::tempdir().expect("a directory"), Core::new());
        let taken = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let addr = taken.local_addr().expect("an address");
        let mut surface = start(Options { healthz: Some(addr), hard_fail: true, ..options() }, &directory);
        let error = surface.next().await.expect_err("a failure").to_string();
        let expected = format!(
            "listen on {addr} for the health server: Address already in use (os error 98); bindAddressHardFail is set"
        );
        assert_eq!(error, expected);
        drop(surface);

        let mut surface = start(Options { healthz: Some(addr), ..options() }, &directory);
        drop(taken);
        let answer = attend_until(&mut surface, &core, move || get(addr, "/livez")).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    });
}
