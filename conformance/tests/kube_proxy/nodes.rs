//! What a Node object decides: the zone that hints are for, and whether a load balancer should send traffic here.

use anyhow::{Context, Result};
use fairlead_conformance::limit::{patience, until};
use fairlead_conformance::snapshot::Snapshot;
use serde_json::{Value, json};

use super::health;
use super::play::step;
use super::side::{At, NODES, Side, ZONES, far, own};
use super::stage::Stage;

const NUMBER: u8 = 153;
const ZONE: &str = "topology.kubernetes.io/zone";

/// The node moves to the zone of another one, and back.
pub fn zones(stage: &mut Stage) -> Result<()> {
    let writes = stage.sides().map(|side| {
        let at = At { side, number: NUMBER };
        let slice = at.slice("zoned", "1", 0, &[own(1).for_zones(&["own"]), far(1).for_zones(&["far"])]);
        step("zoned", [at.service("zoned", 0, json!({})), slice]).writes
    });
    stage.write(&writes.into_iter().flatten().collect::<Vec<_>>())?;
    stage.settle()?;
    for side in stage.sides() {
        answered_by(stage, side, "own1")?;
        label(stage, side, ZONES[2])?;
        answered_by(stage, side, "far1").context("after the node's zone became the far one's")?;
        label(stage, side, ZONES[side.own])?;
        answered_by(stage, side, "own1").context("after the node's zone was its own again")?;
    }
    Ok(())
}

fn label(stage: &Stage, side: Side<'_>, zone: &str) -> Result<()> {
    let patch = json!({"metadata": {"labels": {ZONE: zone}}});
    stage.cluster.api().patch(&node(side), "", &patch).map(drop)
}

fn answered_by(stage: &Stage, side: Side<'_>, role: &str) -> Result<()> {
    let [address, _] = At { side, number: NUMBER }.cluster_ips(0);
    until(&format!("{} to let {role} alone answer", side.member().name()), patience(10), || {
        let probed = stage.probe(side.client(), &format!("tcp:{address}:80"), &[])?;
        let roles: Vec<String> = probed.answered.keys().map(|pod| side.role_of(pod)).collect();
        Ok((roles == [role] && probed.lost == 0).then_some(()))
    })
}

/// `/healthz` and `/livez` as they are, with the autoscaler's taint, and while the Node is being deleted.
pub fn eligibility(stage: &mut Stage) -> Result<[Snapshot; 2]> {
    let mut facts = [Snapshot::default(), Snapshot::default()];
    let taint = json!([{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule", "value": "1"}]);
    for side in stage.sides() {
        let facts = &mut facts[side.own];
        let api = stage.cluster.api();
        tell(facts, "ordinary", side, "200")?;
        api.patch(&node(side), "", &json!({"spec": {"taints": taint}}))?;
        tell(facts, "tainted", side, "503")?;
        api.patch(
            &node(side),
            "",
            &json!({"spec": {"taints": null}, "metadata": {"finalizers": ["judge.example/stay"]}}),
        )?;
        tell(facts, "ordinary again", side, "200")?;
        api.delete(&node(side))?;
        tell(facts, "being deleted", side, "503")?;
    }
    Ok(facts)
}

/// Waits for this status of `/healthz`, then tells all.
fn tell(facts: &mut Snapshot, when: &str, side: Side<'_>, healthz: &str) -> Result<()> {
    let url = |path: &str| format!("http://127.0.0.1:10256/{path}");
    let place = &side.member().node;
    until(&format!("/healthz of {} to say {healthz}, {when}", side.member().name()), patience(10), || {
        Ok((health::get(place, &url("healthz")).0 == healthz).then_some(()))
    })?;
    for path in ["healthz", "livez", "elsewhere"] {
        health::tell(facts, &format!("{when}: {path}"), health::get(place, &url(path)));
    }
    let [four, six] = side.member().addresses();
    for (family, address) in [(4, four), (6, six)] {
        let url = format!("http://{}/healthz", std::net::SocketAddr::new(address, 10256));
        facts.add(format!("{when}: healthz at IPv{family}"), health::get(place, &url).0);
    }
    Ok(())
}

fn node(side: Side<'_>) -> Value {
    json!({"kind": "Node", "metadata": {"name": NODES[side.own]}})
}
