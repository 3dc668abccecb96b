//! The control plane itself: up in seconds, says what it is told, and is gone afterwards.

use anyhow::{Result, ensure};
use fairlead_conformance::kubernetes::ControlPlane;
use fairlead_conformance::lab::Lab;
use serde_json::json;

#[test]
fn a_control_plane_keeps_what_it_was_told_when_the_server_is_killed() -> Result<()> {
    let lab = Lab::new("control-plane")?;
    let node = lab.node("control")?;
    node.sh("ip addr add 172.30.0.1/24 dev lo")?;
    let mut plane = ControlPlane::start(&node, &["172.30.0.1".parse()?])?;
    let object = json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "kept"}});
    plane.api().put(&object)?;
    plane.kill_server()?;
    ensure!(plane.api().get("/api/v1/namespaces/kept").is_err(), "a server that was killed answers");
    plane.start_server()?;
    let (status, _) = plane.api().get("/api/v1/namespaces/kept")?;
    ensure!(status == 200, "status {status} for what was written before");
    Ok(())
}
