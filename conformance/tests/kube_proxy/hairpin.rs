//! A pod that asks the service it is behind.

use anyhow::Result;
use fairlead_conformance::snapshot::Snapshot;
use serde_json::json;

use super::play::{step, told};
use super::side::{At, PODS, own};
use super::stage::Stage;

const NUMBER: u8 = 152;

/// It alone is behind it: by ClusterIP and by node port.
pub fn facts(stage: &mut Stage) -> Result<[Snapshot; 2]> {
    let writes = stage.sides().map(|side| {
        let at = At { side, number: NUMBER };
        let ports = |number: u16| json!([{"name": "tcp", "protocol": "TCP", "port": number}, {"name": "udp", "protocol": "UDP", "port": number}]);
        let mut slice = at.slice("self", "1", 0, &[own(1)]);
        slice["ports"] = ports(8080);
        step("self", [at.service("self", 0, json!({"type": "NodePort", "ports": ports(80)})), slice]).writes
    });
    stage.write(&writes.into_iter().flatten().collect::<Vec<_>>())?;
    stage.settle()?;
    let mut facts = [Snapshot::default(), Snapshot::default()];
    for side in stage.sides() {
        let at = At { side, number: NUMBER };
        let pod = PODS[side.own][0];
        let (place, asker) = (side.member().pod(pod), side.member().pod_addresses(pod));
        let ([cluster_ip, _], [node, _]) = (at.cluster_ips(0), side.member().addresses());
        for protocol in ["tcp", "udp-connected", "udp"] {
            let port = at.node_port(0, u16::from(protocol != "tcp"));
            for (what, target) in [("ClusterIP", format!("{cluster_ip}:80")), ("NodePort", format!("{node}:{port}"))] {
                let probed = stage.probe(place, &format!("{protocol}:{target}"), &[])?;
                for (fact, value) in told(&format!("{protocol} {what}"), &probed, &side, Some(asker)) {
                    facts[side.own].add(fact, value);
                }
            }
        }
    }
    Ok(facts)
}
