//! Bodies, codes and headers over time, as `pkg/proxy/healthcheck/healthcheck_test.go` (v1.37.2) expects them of kube-proxy.

use std::time::Duration;

use fairlead_proxy_model::Family;
use http_body_util::BodyExt;
use hyper::header::CONTENT_TYPE;

use super::{Health, NodeState};
use crate::metrics::Metrics;
use crate::surface::clock::turned::Hands;
use crate::surface::http::Reply;

const BOTH: [Family; 2] = [Family::V4, Family::V6];

fn health(node: NodeState) -> (Health, Hands, Metrics) {
    let (clock, hands) = Hands::new();
    let metrics = Metrics::new(clock.clone(), &BOTH);
    (Health::new(clock, Duration::from_secs(60), &BOTH, node, metrics.clone()), hands, metrics)
}

/// Code and body.
pub fn read(reply: Reply) -> (u16, String) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let code = reply.status().as_u16();
    let body = runtime.block_on(reply.into_body().collect()).expect("a body").to_bytes();
    (code, String::from_utf8(body.to_vec()).expect("text"))
}

fn codes(health: &Health) -> [u16; 2] {
    ["/healthz", "/livez"].map(|path| health.answer(path).status().as_u16())
}

#[test]
fn bodies_are_kube_proxys() {
    let (health, hands, _) = health(NodeState::Staying);
    let starting = r#"{"lastUpdated":"2026-11-23T20:00:00Z","currentTime":"2026-11-23T20:00:00Z","nodeEligible":true,"healthy":true}"#;
    assert_eq!(read(health.answer("/healthz")), (200, starting.to_owned()), "nothing applied yet is no fault");

    hands.pass(Duration::from_millis(1500));
    health.updated();
    hands.pass(Duration::from_secs(2));
    let steady = r#"{"lastUpdated":"2026-11-23T20:00:03.5Z","currentTime":"2026-11-23T20:00:03.5Z","nodeEligible":true,"healthy":true,"status":{"IPv4":{"lastUpdated":"2026-11-23T20:00:01.5Z","healthy":true},"IPv6":{"lastUpdated":"2026-11-23T20:00:01.5Z","healthy":true}}}"#;
    assert_eq!(read(health.answer("/healthz")), (200, steady.to_owned()));
    assert_eq!(read(health.answer("/livez")), (200, steady.replace(r#""nodeEligible":true,"#, "")));

    health.queued();
    hands.pass(Duration::from_secs(60));
    let late = r#"{"lastUpdated":"2026-11-23T20:00:01.5Z","currentTime":"2026-11-23T20:01:03.5Z","nodeEligible":true,"healthy":false,"status":{"IPv4":{"lastUpdated":"2026-11-23T20:00:01.5Z","healthy":false},"IPv6":{"lastUpdated":"2026-11-23T20:00:01.5Z","healthy":false}}}"#;
    assert_eq!(read(health.answer("/healthz")), (503, late.to_owned()));
    assert_eq!(read(health.answer("/livez")), (503, late.replace(r#""nodeEligible":true,"#, "")));

    let reply = health.answer("/healthz");
    assert_eq!(reply.headers()[CONTENT_TYPE], "application/json");
    assert_eq!(reply.headers()["x-content-type-options"], "nosniff");
    assert_eq!(health.answer("/").status(), 404);
}

#[test]
fn the_oldest_change_decides() {
    let (health, hands, _) = health(NodeState::Staying);
    health.queued();
    hands.pass(Duration::from_secs(600));
    assert_eq!(codes(&health), [200, 200], "before the first state is applied nobody is late");
    health.updated();
    health.queued();
    hands.pass(Duration::from_secs(59));
    health.queued();
    assert_eq!(codes(&health), [200, 200]);
    hands.set_back(Duration::from_secs(3600));
    assert_eq!(codes(&health), [200, 200], "who sets the wall clock changes nothing");
    hands.pass(Duration::from_secs(1));
    assert_eq!(codes(&health), [503, 503], "the second change does not make the first younger");
    assert!(!health.is_healthy());
    health.updated();
    assert_eq!(codes(&health), [200, 200]);
    hands.pass(Duration::from_secs(36_000));
    assert_eq!(codes(&health), [200, 200], "where nothing changes nothing is late");
}

#[test]
fn a_node_that_goes_is_not_eligible_but_alive() {
    let (health, hands, _) = health(NodeState::Missing);
    assert_eq!(codes(&health), [503, 200], "no Node object yet");
    health.updated();
    health.node(NodeState::Staying);
    assert_eq!(codes(&health), [200, 200]);
    hands.pass(Duration::from_secs(10));
    health.node(NodeState::Leaving);
    let (code, body) = read(health.answer("/healthz"));
    assert_eq!(code, 503);
    assert!(
        body.starts_with(
            r#"{"lastUpdated":"2026-11-23T20:00:00Z","currentTime":"2026-11-23T20:00:10Z","nodeEligible":false,"healthy":true,"#
        ),
        "{body}"
    );
    assert!(health.is_healthy(), "a load balancer's port does not ask for the node");
    assert_eq!(codes(&health), [503, 200]);
    health.node(NodeState::Staying);
    assert_eq!(codes(&health), [200, 200], "the taint was taken away again");
}

#[test]
fn probes_are_counted() {
    let (health, _, metrics) = health(NodeState::Missing);
    codes(&health);
    codes(&health);
    let text = String::from_utf8(metrics.text()).expect("text");
    for line in ["kubeproxy_proxy_healthz_total{code=\"503\"} 2", "kubeproxy_proxy_livez_total{code=\"200\"} 2"] {
        assert!(text.lines().any(|told| told == line), "{line} is not in {text}");
    }
}
