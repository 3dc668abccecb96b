//! Events as the API server gets them, and how many of them, on tokio's own paused clock.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::anyhow;
use fairlead_proxy_model::{Family, ObjectName};
use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::time::{Instant, advance, pause, sleep};

use super::{Event, Events, QUEUE};
use crate::convert::event::NOTE_LIMIT;
use crate::metrics::Metrics;
use crate::surface::clock::turned::Hands;

type Posted = Arc<Mutex<Vec<(String, Value)>>>;

/// Events whose API server answers with `codes` in turn, the last one for ever; 0: not at all.
fn server(codes: &'static [u16]) -> (Events, Posted, Metrics) {
    let (clock, _) = Hands::new();
    let metrics = Metrics::new(clock.clone(), &[Family::V4]);
    let (events, outbox) = Events::queue("node-a".to_owned(), clock, metrics.clone());
    let posted = Posted::default();
    let (shared, asked) = (posted.clone(), Arc::new(Mutex::new(0)));
    tokio::spawn(outbox.run(move |request| {
        let (shared, asked) = (shared.clone(), asked.clone());
        async move {
            let mut asked = asked.lock().expect("a count");
            let code = codes[codes.len().min(*asked + 1) - 1];
            *asked += 1;
            if code == 0 {
                return Err(anyhow!("connection refused"));
            }
            if code < 300 {
                let body = serde_json::from_slice(request.body())?;
                shared.lock().expect("a list").push((request.uri().to_string(), body));
            }
            Ok(StatusCode::from_u16(code)?)
        }
    }));
    (events, posted, metrics)
}

fn dropped(metrics: &Metrics) -> String {
    let text = String::from_utf8(metrics.text()).expect("text");
    let line = text.lines().find_map(|line| line.strip_prefix("fairlead_proxy_events_dropped_total "));
    line.expect("a counter").to_owned()
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        pause();
        test.await;
    });
}

#[test]
fn an_event_is_what_the_api_server_wants() {
    run(async {
        let (events, posted, _) = server(&[201]);
        events.send(Event::starting());
        let note = "ü".repeat(NOTE_LIMIT);
        events.send(Event::service(&ObjectName::new("shop", "cart"), "MapFull", "Write", note));
        sleep(Duration::from_secs(1)).await;
        let posted = posted.lock().expect("a list");
        let (path, body) = &posted[0];
        assert_eq!(path, "/apis/events.k8s.io/v1/namespaces/default/events");
        assert_eq!(
            *body,
            json!({
                "apiVersion": "events.k8s.io/v1",
                "kind": "Event",
                "metadata": {"namespace": "default", "name": "node-a.18eac4fec7008001"},
                "eventTime": "2026-11-23T20:00:00.000000Z",
                "type": "Normal",
                "reason": "Starting",
                "action": "StartKubeProxy",
                "note": "",
                "regarding": {"apiVersion": "v1", "kind": "Node", "name": "node-a"},
                "reportingController": "fairlead-proxy",
                "reportingInstance": "fairlead-proxy-node-a",
            })
        );
        let (path, body) = &posted[1];
        assert_eq!(path, "/apis/events.k8s.io/v1/namespaces/shop/events");
        assert_eq!(
            body["regarding"],
            json!({"apiVersion": "v1", "kind": "Service", "namespace": "shop", "name": "cart"})
        );
        assert_eq!(body["type"], "Warning");
        assert_eq!(body["note"].as_str().map(str::len), Some(NOTE_LIMIT));
    });
}

#[test]
fn what_was_said_a_moment_ago_is_not_said_again() {
    run(async {
        let (events, posted, metrics) = server(&[201]);
        let event = || Event::node("FailedToStartMetricServer", "StartKubeProxy", "taken".to_owned());
        for _ in 0..3 {
            events.send(event());
            sleep(Duration::from_secs(100)).await;
        }
        assert_eq!(posted.lock().expect("a list").len(), 1);
        sleep(Duration::from_secs(400)).await;
        events.send(event());
        sleep(Duration::from_secs(1)).await;
        assert_eq!(posted.lock().expect("a list").len(), 2, "after ten minutes it is news again");
        assert_eq!(dropped(&metrics), "0");
    });
}

#[test]
fn a_flood_is_bounded() {
    run(async {
        let (events, posted, metrics) = server(&[201]);
        let start = Instant::now();
        for number in 0..QUEUE + 7 {
            events.send(Event::node("MapFull", "Write", format!("{number}")));
        }
        assert_eq!(start.elapsed(), Duration::ZERO, "whoever sends waits for nothing");
        assert_eq!(dropped(&metrics), "7");
        sleep(Duration::from_secs(1)).await;
        assert_eq!(posted.lock().expect("a list").len(), 20);
        sleep(Duration::from_secs(95)).await;
        assert_eq!(posted.lock().expect("a list").len(), 29, "one more every ten seconds");
        advance(Duration::from_secs(3600)).await;
        sleep(Duration::from_secs(3600)).await;
        assert_eq!(posted.lock().expect("a list").len(), QUEUE);
    });
}

#[test]
fn an_api_server_that_is_away_is_asked_again() {
    run(async {
        let (events, posted, metrics) = server(&[0, 503, 429, 201]);
        events.send(Event::starting());
        sleep(Duration::from_secs(29)).await;
        assert!(posted.lock().expect("a list").is_empty());
        sleep(Duration::from_secs(2)).await;
        assert_eq!(posted.lock().expect("a list").len(), 1);
        assert_eq!(dropped(&metrics), "0");

        let (events, posted, metrics) = server(&[403]);
        events.send(Event::starting());
        sleep(Duration::from_secs(1)).await;
        assert_eq!(dropped(&metrics), "1", "what is not allowed is not asked for again");
        assert!(posted.lock().expect("a list").is_empty());

        let (events, _, metrics) = server(&[0]);
        events.send(Event::starting());
        sleep(Duration::from_secs(200)).await;
        assert_eq!(dropped(&metrics), "1", "for ever is too long");
    });
}
