//! Listeners that come and go with their Services, on the loopback of a namespace of the test's own.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use fairlead_proxy_model::{Family, HealthCheck, ObjectName};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::super::{Health, NodeState};
use super::{Addresses, ServiceHealth, answer};
use crate::events::Events;
use crate::metrics::Metrics;
use crate::surface::clock::turned::Hands;

const LIMIT: Duration = Duration::from_secs(20);

struct Stage {
    services: ServiceHealth,
    health: Health,
    hands: Hands,
    metrics: Metrics,
}

fn stage() -> Stage {
    let (clock, hands) = Hands::new();
    let metrics = Metrics::new(clock.clone(), &[Family::V4]);
    let health = Health::new(clock, Duration::from_secs(60), &[Family::V4], NodeState::Staying, metrics.clone());
    health.updated();
    let mut services = ServiceHealth::new("node-a".to_owned(), health.clone(), Events::nowhere(metrics.clone()));
    services.set_addresses(Addresses::These(BTreeSet::from([IpAddr::from([127, 0, 0, 1])])));
    Stage { services, health, hands, metrics }
}

/// A port that nobody has at the moment.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}

/// The whole answer; `None`: nobody listens.
async fn get(port: u16, path: &str) -> Option<String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    spawn_blocking(move || {
        let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).ok()?;
        stream.set_read_timeout(Some(LIMIT)).expect("a limit");
        stream.write_all(request.as_bytes()).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    })
    .await
    .expect("a thread")
}

/// Asks until the answer is as wanted.
async fn until(port: u16, wanted: impl Fn(Option<&str>) -> bool) -> Option<String> {
    let start = Instant::now();
    loop {
        let answer = get(port, "/").await;
        if wanted(answer.as_deref()) {
            return answer;
        }
        assert!(start.elapsed() < LIMIT, "port {port} still says {answer:?}");
        sleep(Duration::from_millis(5)).await;
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

#[test]
fn the_body_is_kube_proxys() {
    let reply = answer(&ObjectName::new("shop", "cart"), 2, true);
    assert_eq!(reply.headers()["x-load-balancing-endpoint-weight"], "2");
    assert_eq!(reply.headers()["content-type"], "application/json");
    assert_eq!(reply.headers()["x-content-type-options"], "nosniff");
    let body = "{\n\t\"service\": {\n\t\t\"namespace\": \"shop\",\n\t\t\"name\": \"cart\"\n\t},\n\t\"localEndpoints\": 2,\n\t\"serviceProxyHealthy\": true\n}";
    assert_eq!(super::super::tests::read(reply), (200, body.to_owned()));
    let codes = [(0, true), (0, false), (1, false), (1, true)];
    let codes = codes.map(|(count, healthy)| answer(&ObjectName::new("a", "b"), count, healthy).status().as_u16());
    assert_eq!(codes, [503, 503, 503, 200]);
}

#[test]
fn a_port_lives_as_long_as_its_service_wants_it() {
    runtime().block_on(async {
        let Stage { mut services, health, hands, .. } = stage();
        let (service, other) = (ObjectName::new("shop", "cart"), ObjectName::new("shop", "till"));
        let port = free_port();
        let wants = |port, count| Some(HealthCheck { port, v4: Some(count), v6: None });
        services.set(&service, wants(port, 0));
        let text = until(port, |text| text.is_some()).await.expect("an answer");
        assert!(text.starts_with("HTTP/1.1 503 "), "{text}");

        services.set(&service, wants(port, 3));
        let text = get(port, "/any/path?at=all").await.expect("the same listener");
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        assert!(text.contains("x-load-balancing-endpoint-weight: 3\r\n"), "{text}");
        assert!(text.contains("\"localEndpoints\": 3,"), "{text}");

        health.queued();
        hands.pass(Duration::from_secs(61));
        let text = get(port, "/").await.expect("an answer");
        assert!(text.starts_with("HTTP/1.1 503 ") && text.contains("\"serviceProxyHealthy\": false"), "{text}");
        health.updated();

        let next = free_port();
        services.set(&service, wants(next, 3));
        until(next, |text| text.is_some_and(|text| text.contains(" 200 "))).await;
        until(port, |text| text.is_none()).await;

        // Two Services swap: the port goes from one to the other without the pause of a failed bind.
        services.set(&service, None);
        services.set(&other, wants(next, 1));
        until(next, |text| text.is_some_and(|text| text.contains("\"till\""))).await;
        assert_eq!(services.len(), 1);
        services.set(&other, None);
        until(next, |text| text.is_none()).await;
    });
}

#[test]
fn addresses_and_families_are_the_node_ports_own() {
    runtime().block_on(async {
        let Stage { mut services, .. } = stage();
        let (service, port) = (ObjectName::new("shop", "cart"), free_port());
        services.set(&service, Some(HealthCheck { port, v4: None, v6: Some(1) }));
        assert!(services.services[&service].listeners.is_empty(), "a Service without IPv4 is not answered for at IPv4");
        services.set(&service, Some(HealthCheck { port, v4: Some(1), v6: None }));
        until(port, |text| text.is_some()).await;
        services.set_addresses(Addresses::These(BTreeSet::new()));
        until(port, |text| text.is_none()).await;
        services.set_addresses(Addresses::All);
        until(port, |text| text.is_some()).await;
        let open: Vec<String> = services.services[&service].listeners.keys().map(ToString::to_string).collect();
        assert_eq!(open, ["0.0.0.0"]);
    });
}

#[test]
fn a_port_that_is_taken_is_told_of_once_and_tried_again() {
    runtime().block_on(async {
        let Stage { health, metrics, .. } = stage();
        let taken = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let port = taken.local_addr().expect("an address").port();
        let (clock, _) = Hands::new();
        let (events, outbox) = Events::queue("node-a".to_owned(), clock, metrics);
        let (told, mut notes) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(outbox.run(move |request| {
            let told = told.clone();
            async move {
                let body: serde_json::Value = serde_json::from_slice(request.body())?;
                told.send(format!("{} {} {}", body["reason"], body["regarding"], body["note"]))?;
                Ok(hyper::StatusCode::CREATED)
            }
        }));
        let mut services = ServiceHealth::new("node-a".to_owned(), health, events);
        services.set_addresses(Addresses::These(BTreeSet::from([IpAddr::from([127, 0, 0, 1])])));
        services.set(&ObjectName::new("shop", "cart"), Some(HealthCheck { port, v4: Some(1), v6: None }));
        let note = tokio::time::timeout(LIMIT, notes.recv()).await.expect("an event in time").expect("an event");
        assert_eq!(
            note,
            format!(
                "\"FailedToStartServiceHealthcheck\" {{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"name\":\"cart\",\
                 \"namespace\":\"shop\"}} \"node node-a failed to start healthcheck \\\"shop/cart\\\" on port {port}: \
                 Address already in use (os error 98)\""
            )
        );
        drop(taken);
        until(port, |text| text.is_some_and(|text| text.contains("\"cart\""))).await;
        assert!(notes.try_recv().is_err(), "told once");
    });
}
