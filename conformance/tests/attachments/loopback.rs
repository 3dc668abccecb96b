//! loopback beside other plugins and beside the end of a pod.

use anyhow::Result;
use fairlead_conformance::cni::Call;
use serde_json::json;

use super::scene::{Scene, bridge};

#[test]
fn lo_and_eth0_come_up_at_the_same_time() -> Result<()> {
    let scene = Scene::new("lo-beside", json!({"type": "loopback"}))?;
    let mut network = bridge();
    network["cniVersion"] = "1.1.0".into();
    network["name"] = "other".into();
    for number in 0..10 {
        let pod = scene.pod(&format!("pod-{number}"))?;
        let job = |plugin: &str, config| scene.suite.plugin(plugin, "ADD", &Call::new(pod.name(), &pod), config);
        let (lo, eth0) = std::thread::scope(|scope| {
            let lo = scope.spawn(|| scene.node.output(&job("loopback", &scene.config)));
            let eth0 = scope.spawn(|| scene.node.output(&job("bridge", &network)));
            (lo.join().expect("no panic"), eth0.join().expect("no panic"))
        });
        lo?.success()?;
        eth0?.success()?;
        let links = pod.sh("ip -br addr")?;
        for words in ["127.0.0.1/8", "10.88.0.", "fd00:88::"] {
            assert!(links.contains(words), "no {words} in\n{links}");
        }
    }
    Ok(())
}

#[test]
fn del_leaves_the_lo_of_another_pod_alone() -> Result<()> {
    let scene = Scene::new("lo-recycled", json!({"type": "loopback"}))?;
    let (old, new) = (scene.pod("old")?, scene.pod("new")?);
    scene.add(&old)?;
    let result = scene.add(&new)?;
    scene.call("DEL", "old", new.netns(), &scene.config)?.success()?;
    scene.must("CHECK", &new, &result)?;
    for pod in [&old, &new] {
        scene.must("DEL", pod, &scene.config)?;
        assert!(!pod.sh("ip link show lo")?.contains("UP"));
        assert!(scene.refused("CHECK", pod, &result)?.contains("loopback interface is down"));
        // And it can begin again.
        scene.add(pod)?;
    }
    Ok(())
}

#[test]
fn a_foreign_address_is_refused_and_lo_is_as_it_was() -> Result<()> {
    let scene = Scene::new("lo-foreign", json!({"type": "loopback"}))?;
    let pod = scene.pod("pod")?;
    pod.sh("ip addr add 10.1.2.3/32 dev lo")?;
    let words = scene.refused("ADD", &pod, &scene.config)?;
    assert!(words.contains("loopback interface found with non-loopback address \"10.1.2.3\""), "{words}");
    let lo = pod.sh("ip link show lo")?;
    assert!(!lo.contains("UP") && !lo.contains("alias"), "{lo}");
    Ok(())
}
