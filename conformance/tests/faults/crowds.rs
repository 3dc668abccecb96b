//! Many at once (F3), and two about the same pod (F5).

use anyhow::{Result, ensure};
use fairlead_conformance::lab::{Finished, Job};
use serde_json::json;

use super::scene::{Scene, devices, error_of};

/// Starts all of them at the same time.
fn together(scene: &Scene, jobs: &[Job]) -> Result<Vec<Finished>> {
    std::thread::scope(|scope| {
        let running: Vec<_> = jobs.iter().map(|job| scope.spawn(|| scene.node.output(job))).collect();
        running.into_iter().map(|one| one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

#[test]
fn pods_of_a_crowd_get_addresses_of_their_own_until_there_are_no_more() -> Result<()> {
    let mut scene = Scene::new("crowd")?;
    scene.bridge["ipam"]["ranges"] =
        json!([[{"subnet": "10.88.0.0/24", "rangeStart": "10.88.0.10", "rangeEnd": "10.88.0.49"}]]);
    let before = scene.look()?;
    let pods = (0..50).map(|number| scene.pod(&format!("p{number}"))).collect::<Result<Vec<_>>>()?;
    let jobs: Vec<Job> = pods.iter().map(|pod| scene.job("ADD", pod, &scene.bridge)).collect();
    let mut addresses = Vec::new();
    for finished in together(&scene, &jobs)? {
        if finished.status.success() {
            addresses.push(finished.json()?["ips"][0]["address"].as_str().unwrap_or_default().to_owned());
        } else {
            let said = error_of(&finished)?;
            ensure!(said.contains("no IP addresses available"), "{said}");
        }
    }
    addresses.sort();
    addresses.dedup();
    ensure!(addresses.len() == 40, "40 addresses and 50 pods: {} have one", addresses.len());
    let jobs: Vec<Job> = pods.iter().map(|pod| scene.job("DEL", pod, &scene.bridge)).collect();
    for finished in together(&scene, &jobs)? {
        finished.success()?;
    }
    scene.is_as(&before)
}

/// Runtimes may lose count: whatever order the kernel sees them in, a last DEL leaves nothing.
#[test]
fn add_and_del_of_one_pod_at_once_leave_nothing_behind_the_last_del() -> Result<()> {
    let scene = Scene::new("both")?;
    let before = scene.look()?;
    for round in 0..20 {
        let pod = scene.pod(&format!("p{round}"))?;
        let verbs = if round % 2 == 0 { ["ADD", "DEL", "ADD"] } else { ["DEL", "ADD", "DEL"] };
        let jobs: Vec<Job> = verbs.iter().map(|verb| scene.job(verb, &pod, &scene.bridge)).collect();
        for (verb, finished) in verbs.iter().zip(together(&scene, &jobs)?) {
            if *verb == "DEL" {
                finished.success()?;
            } else if !finished.status.success() {
                error_of(&finished)?;
            }
        }
        scene.must("DEL", &pod, &scene.bridge)?;
        ensure!(devices(&pod)? == ["lo"], "the pod has {:?}", devices(&pod)?);
        scene.is_as(&before)?;
    }
    Ok(())
}

/// The runtime gave up on an ADD that hangs, deletes, and the ADD goes on afterwards: GC clears what it made.
#[test]
fn a_del_overtakes_a_slow_add_and_gc_clears_up() -> Result<()> {
    let scene = Scene::new("slow")?;
    let before = scene.look()?;
    let probe = scene.pod("probe")?;
    let calls = scene.calls("ADD", &probe, &scene.bridge, "sendmsg,sendto")?;
    scene.must("DEL", &probe, &scene.bridge)?;
    for (call, count) in calls {
        for which in 1..=count {
            let pod = scene.pod(&format!("p-{call}-{which}"))?;
            // Long enough for the DEL to come and go.
            let inject = format!("inject={call}:delay_enter=150000:when={which}");
            let slow =
                scene.job("ADD", &pod, &scene.bridge).under(&["strace", "-qq", "-o", "/dev/null", "-e", &inject]);
            let quick = scene.job("DEL", &pod, &scene.bridge);
            let finished = together(&scene, &[slow, quick])?;
            if !finished[0].status.success() {
                error_of(&finished[0])?;
            }
            let mut gc = scene.bridge.clone();
            gc["cni.dev/valid-attachments"] = json!([]);
            scene.must("GC", &pod, &gc)?;
            ensure!(devices(&pod)? == ["lo"], "{call} {which}: the pod has {:?}", devices(&pod)?);
            scene.is_as(&before)?;
            pod.remove_netns(&scene.lab)?;
        }
    }
    Ok(())
}
