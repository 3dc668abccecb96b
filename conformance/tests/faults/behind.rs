//! Somebody deletes behind us (F12), or was there before us (F13).

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::scene::{Scene, devices, error_of, with_result};

/// ADD, CHECK and DEL of pod after pod while `deed` is done to the node again and again.
fn while_somebody(name: &str, deed: &str) -> Result<()> {
    let scene = Scene::new(name)?;
    let done = AtomicBool::new(false);
    let deeds = AtomicUsize::new(0);
    let mut refused = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // It may be gone already.
                let _ = scene.node.run(&["sh", "-c", deed]);
                deeds.fetch_add(1, Ordering::Relaxed);
            }
        });
        let worked = (0..40).try_for_each(|number| -> Result<()> {
            let pod = scene.pod(&format!("p{number}"))?;
            let added = scene.call("ADD", &pod, &scene.bridge, &[])?;
            if !added.status.success() {
                refused += 1;
                error_of(&added)?;
            } else {
                let result = with_result(&scene.bridge, &added.json()?);
                let checked = scene.call("CHECK", &pod, &result, &[])?;
                if !checked.status.success() {
                    error_of(&checked)?;
                }
            }
            scene.must("DEL", &pod, &scene.bridge)?;
            ensure!(devices(&pod)? == ["lo"], "{} has {:?}", pod.name(), devices(&pod)?);
            pod.remove_netns(&scene.lab)
        });
        done.store(true, Ordering::Relaxed);
        worked
    })?;
    println!("{name}: {} deeds, {refused} of 40 ADDs refused", deeds.into_inner());
    let left = scene.look()?;
    ensure!(left["leases"].is_empty(), "leases are left: {:?}", left["leases"]);
    ensure!(!left["devices"].iter().any(|name| name.starts_with("veth")), "devices are left: {:?}", left["devices"]);
    // When it has stopped, everything is as it should be without anybody's help.
    let pod = scene.pod("after")?;
    let with_result = scene.add(&pod)?;
    scene.must("CHECK", &pod, &with_result).map(|_| ())
}

#[test]
fn the_bridge_is_deleted_again_and_again() -> Result<()> {
    while_somebody("no-bridge", "ip link del cni0")
}

#[test]
fn the_rules_are_flushed_again_and_again() -> Result<()> {
    while_somebody("no-rules", "nft flush ruleset")
}

#[test]
fn the_bridges_addresses_are_flushed_again_and_again() -> Result<()> {
    while_somebody("no-addresses", "ip addr flush dev cni0")
}

#[test]
fn ports_that_were_flushed_do_not_stop_a_pod_from_going_and_the_next_from_coming() -> Result<()> {
    let scene = Scene::new("no-ports")?;
    for round in 0..3 {
        let pod = scene.pod(&format!("p{round}"))?;
        let result = scene.add(&pod)?["prevResult"].clone();
        let portmap = with_result(&scene.portmap, &result);
        scene.must("ADD", &pod, &portmap)?;
        scene.must("CHECK", &pod, &portmap)?;
        scene.node.sh("nft flush ruleset")?;
        if round == 1 {
            // The runtime may also try again, which heals it.
            scene.must("ADD", &pod, &portmap)?;
            scene.must("CHECK", &pod, &portmap)?;
        }
        scene.must("DEL", &pod, &portmap)?;
        scene.must("DEL", &pod, &scene.bridge)?;
        let rules = scene.node.sh("nft list ruleset")?;
        ensure!(!rules.contains("10.88.0."), "{rules}");
    }
    Ok(())
}

/// Names are derived from the attachment or drawn by lot; either way one may be taken.
#[test]
fn a_taken_name_on_the_node_is_somebody_elses() -> Result<()> {
    let scene = Scene::new("taken")?;
    let pod = scene.pod("p")?;
    let host_end =
        |config: &Value| config["prevResult"]["interfaces"][1]["name"].as_str().unwrap_or_default().to_owned();
    let name = host_end(&scene.add(&pod)?);
    scene.must("DEL", &pod, &scene.bridge)?;
    // An ordinary bridge of somebody who chose that very name.
    scene.node.sh(&format!("ip link add {name} type bridge"))?;
    let with_result = scene.add(&pod).context("ADD beside a device of that name")?;
    ensure!(host_end(&with_result) != name, "it says the stranger's {name} is its own");
    scene.must("CHECK", &pod, &with_result)?;
    scene.must("DEL", &pod, &with_result)?;
    ensure!(devices(&scene.node)?.contains(&name), "the stranger's {name} is gone");
    ensure!(devices(&pod)? == ["lo"], "the pod has {:?}", devices(&pod)?);
    Ok(())
}
