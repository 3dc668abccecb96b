//! Events: what an operator finds with `kubectl describe` after kube-proxy and after ours, told by a real API server.

use std::collections::BTreeMap;
use std::net::TcpListener;

use anyhow::{Context, Result};
use fairlead_conformance::kubernetes::{Cluster, Proxy};
use fairlead_conformance::limit::{patience, until};
use serde_json::{Value, json};

const NODES: [(&str, &str, Proxy); 2] =
    [("ev-a", "kube-proxy", Proxy::Reference), ("ev-b", "fairlead-proxy", Proxy::Ours)];
/// A health check port that somebody else has on both nodes.
const TAKEN: u16 = 32100;

#[test]
fn events_are_kube_proxys() -> Result<()> {
    let cluster = Cluster::new("events", &NODES.map(|(node, ..)| (node, "z1")))?;
    let taken = cluster
        .members
        .iter()
        .map(|member| member.node.enter(|| TcpListener::bind(("0.0.0.0", TAKEN)).context("take the port")))
        .collect::<Result<Vec<_>>>()?;
    cluster.api().put(&json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "lb", "namespace": "default"},
        "spec": {
            "type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": TAKEN,
            "ports": [{"name": "http", "port": 80}],
        },
    }))?;
    let mut running = Vec::new();
    for (number, (.., proxy)) in NODES.iter().enumerate() {
        running.push(proxy.start(cluster.plane(), &cluster.members[number])?);
    }
    for reason in ["Starting", "FailedToStartServiceHealthcheck"] {
        let [reference, ours] = NODES.map(|(node, reporter, _)| event(&cluster, reporter, reason, node));
        assert_eq!(ours?, reference?, "{reason}");
    }
    drop(taken);
    for mut proxy in running {
        proxy.kill()?;
    }
    for (number, (.., proxy)) in NODES.iter().enumerate() {
        proxy.clean(&cluster.members[number])?;
    }
    Ok(())
}

/// The event of that reason, once it is there, without what differs by time, node and language.
fn event(cluster: &Cluster, reporter: &str, reason: &str, node: &str) -> Result<BTreeMap<&'static str, Value>> {
    let what = format!("the event {reason} of {reporter}");
    until(&what, patience(30), || {
        let (code, body) = cluster.api().get("/apis/events.k8s.io/v1/namespaces/default/events")?;
        let list: Value = serde_json::from_str(&body).with_context(|| format!("{code}: {body}"))?;
        let mut events = list["items"].as_array().into_iter().flatten();
        let found = events.find(|event| event["reportingController"] == reporter && event["reason"] == reason);
        Ok(found.map(|event| {
            let mut regarding = event["regarding"].clone();
            if regarding["name"] == node {
                regarding["name"] = json!("NODE");
            }
            // The error at the end is the language's own.
            let note = event["note"].as_str().unwrap_or_default().replace(node, "NODE");
            let note = note.split(": ").next().unwrap_or_default().to_owned();
            BTreeMap::from([
                ("type", event["type"].clone()),
                ("action", event["action"].clone()),
                ("regarding", regarding),
                ("note", json!(note)),
                ("namespace", event["metadata"]["namespace"].clone()),
            ])
        }))
    })
}
