//! The text that Prometheus reads, as a golden; names, types and helps against kube-proxy's where its source is at hand.
//!
//! `FAIRLEAD_UPDATE_GOLDENS=1 cargo test -p fairlead-proxy metrics` writes the golden anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use fairlead_proxy_model::Family;
use http_body_util::BodyExt;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::server::{Configz, Pages};
use super::{Metrics, Observation, Round};
use crate::apply::Tally;
use crate::sources::Severity;
use crate::surface::clock::turned::Hands;

/// Everything counted once, so that every series shows.
fn busy() -> Metrics {
    let (clock, hands) = Hands::new();
    let metrics = Metrics::new(clock, &[Family::V4, Family::V6]);
    metrics.queued(3, 7);
    hands.pass(Duration::from_secs(2));
    let at = |seconds: i64| (1_795_464_000 + seconds) * 1_000_000_000;
    metrics.synced(&Round {
        took: Duration::from_micros(1500),
        full: false,
        waited: vec![Duration::from_micros(700), Duration::from_micros(1500)],
        triggered: vec![(Family::V4, at(1)), (Family::V6, at(0)), (Family::V4, at(-5)), (Family::V4, at(9))],
    });
    metrics.synced(&Round { took: Duration::from_secs(40), full: true, ..Round::default() });
    metrics.queued(0, 2);
    for (healthz, code) in [(true, 200), (true, 503), (true, 200), (false, 200)] {
        metrics.probed(healthz, code);
    }
    metrics.conntrack(Family::V4, Duration::from_millis(3), 4);
    metrics.sockets_ended(1);
    metrics.request("POST", 201, "10.0.0.1:6443", Duration::from_millis(30));
    metrics.request("GET", 0, "10.0.0.1:6443", Duration::from_secs(5));
    metrics.watch_restarted("services", "gone");
    metrics.event_dropped();
    metrics.health_check_ports(2);
    let seen = Observation {
        ready: true,
        services: 3,
        slices: 7,
        frontends: 5,
        fill: vec![("BACKENDS", 12, 262_144), ("SETS", 5, 65_536)],
        programs: vec![("no_backend", 2), ("translated", 1000)],
        tally: Tally { operations: 40, failed: 1, verified: 2, drift_repaired: 3 },
        problems: vec![(Severity::Error, 1), (Severity::Warning, 0), (Severity::Notice, 4)],
        no_room: 0,
        held_over: 1,
        no_local: vec![("internal", Family::V4, 1), ("external", Family::V6, 0)],
        watches: vec![("services".to_owned(), true), ("endpointslices".to_owned(), false)],
    };
    metrics.observe(&seen);
    metrics.observe(&seen);
    metrics
}

#[test]
fn the_text_is_the_goldens() {
    let text = String::from_utf8(busy().own_text()).expect("text");
    let version = format!("version=\"{}\"", env!("CARGO_PKG_VERSION"));
    let text = text.replace(&version, "version=\"x.y.z\"");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/metrics/golden.txt");
    if std::env::var_os("FAIRLEAD_UPDATE_GOLDENS").is_some() {
        fs::write(&golden, &text).expect("write the golden");
    }
    let expected = fs::read_to_string(&golden).unwrap_or_default();
    for (line, (told, wanted)) in text.lines().zip(expected.lines()).enumerate() {
        assert_eq!(told, wanted, "line {}", line + 1);
    }
    assert_eq!(text.lines().count(), expected.lines().count());
}

#[test]
fn pending_changes_are_those_since_the_last_round() {
    let text = String::from_utf8(busy().own_text()).expect("text");
    for line in [
        "kubeproxy_sync_proxy_rules_endpoint_changes_total 9",
        "kubeproxy_sync_proxy_rules_endpoint_changes_pending 2",
        "kubeproxy_sync_proxy_rules_service_changes_pending 0",
        // Of the four slices one was changed before the daemon started, and one by a clock that is ahead of ours.
        "kubeproxy_network_programming_duration_seconds_count{ip_family=\"IPv4\"} 2",
        "kubeproxy_network_programming_duration_seconds_sum{ip_family=\"IPv4\"} 1",
        "kubeproxy_network_programming_duration_seconds_count{ip_family=\"IPv6\"} 1",
        // What somebody else counts does not grow by being looked at.
        "fairlead_proxy_programs_total{reason=\"translated\"} 1000",
    ] {
        assert!(text.lines().any(|told| told == line), "{line} is not in\n{text}");
    }
}

/// Name → type, of everything that is told.
fn told_types(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect()
}

/// Every name of kube-proxy's own is either told or listed with its reason, and the list lists nothing else.
#[test]
fn the_table_in_the_docs_is_complete() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let docs = fs::read_to_string(docs).expect("the table");
    let text = String::from_utf8(busy().text()).expect("text");
    let told = told_types(&text);
    let rows = docs.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let rows: BTreeMap<&str, &str> = rows.collect();
    for name in told.keys() {
        let row = rows.get(name).unwrap_or_else(|| panic!("{name} is told and not in the table"));
        assert!(!row.contains("not here"), "{name} is told, and the table says it is not");
    }
    for (name, row) in rows.iter().filter(|(name, _)| name.starts_with("kubeproxy_")) {
        assert_eq!(told.contains_key(name), !row.contains("not here"), "{name}:{row}");
    }
    // `pkg/proxy/metrics/metrics.go` of v1.37.2 describes 29 metrics.
    assert_eq!(rows.keys().filter(|name| name.starts_with("kubeproxy_")).count(), 29);
}

#[test]
fn pages_are_kube_proxys() {
    let (observe, mut scrapes) = mpsc::channel::<oneshot::Sender<()>>(1);
    let metrics = busy();
    let configz = Configz::new(&json!({"bindAddress": "0.0.0.0"}));
    let pages = Pages::new(metrics.clone(), observe, "nftables", configz.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let get = async |path: &str| {
        let reply = pages.answer(path).await;
        let (code, headers) = (reply.status().as_u16(), reply.headers().clone());
        let body = reply.into_body().collect().await.expect("a body").to_bytes();
        let body = String::from_utf8(body.to_vec()).expect("text");
        (code, headers["content-type"].to_str().expect("text").to_owned(), body)
    };
    runtime.block_on(async {
        let plain = "text/plain; charset=utf-8".to_owned();
        assert_eq!(get("/healthz").await, (200, plain.clone(), "ok".to_owned()));
        assert_eq!(get("/proxyMode").await, (200, plain.clone(), "nftables".to_owned()));
        let page = |address: &str| {
            let text = format!(r#"{{"kubeproxy.config.k8s.io":{{"bindAddress":"{address}"}}}}"#);
            (200, "application/json".to_owned(), text)
        };
        assert_eq!(get("/configz").await, page("0.0.0.0"));
        configz.replace(&json!({"bindAddress": "::"}));
        assert_eq!(get("/configz").await, page("::"));
        assert_eq!(get("/").await, (404, plain, "404 page not found\n".to_owned()));

        // A scrape waits for the loop to say what is.
        let answer_scrape = async {
            let done = scrapes.recv().await.expect("a scrape");
            metrics.observe(&Observation { services: 11, ..Observation::default() });
            done.send(()).expect("somebody waits");
        };
        let ((code, kind, body), ()) = tokio::join!(get("/metrics"), answer_scrape);
        assert_eq!((code, &*kind), (200, "text/plain; version=0.0.4; charset=utf-8"));
        assert!(body.contains("\nfairlead_proxy_services 11\n"));
        assert!(body.contains("\nprocess_resident_memory_bytes "));
        drop(scrapes);
        assert_eq!(get("/metrics").await.0, 200, "a loop that has ended is no reason to say nothing");
    });
}
