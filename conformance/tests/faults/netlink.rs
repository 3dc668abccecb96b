//! The kernel says no in the middle (F10), or says that what it told has changed meanwhile (F11).

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};

use super::scene::{Scene, devices, error_of, with_result};

/// Calls by which a plugin talks to the kernel over netlink.
const CALLS: &str = "sendmsg,sendto,recvmsg,recvfrom";

/// Each netlink call of ADD and of DEL fails once with this error.
fn every_call_fails(name: &str, error: &str, must_succeed: bool) -> Result<()> {
    let scene = Scene::new(name)?;
    let before = scene.look()?;
    let pod = scene.pod("traced")?;
    let adds = scene.calls("ADD", &pod, &scene.bridge, CALLS)?;
    let dels = scene.calls("DEL", &pod, &scene.bridge, CALLS)?;
    let (mut tried, mut refused) = (0, 0);
    for (verb, counts) in [("ADD", &adds), ("DEL", &dels)] {
        for (call, count) in counts {
            for which in 1..=*count {
                let context = || format!("{verb} with {error} at {call} {which}");
                let pod = scene.pod(&format!("{}-{call}-{which}", verb.to_lowercase()))?;
                if verb == "DEL" {
                    scene.add(&pod).with_context(context)?;
                }
                let inject = format!("inject={call}:error={error}:when={which}");
                let finished = scene.call(
                    verb,
                    &pod,
                    &scene.bridge,
                    &["strace", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", &inject],
                )?;
                tried += 1;
                if !finished.status.success() {
                    refused += 1;
                    error_of(&finished).with_context(context)?;
                    ensure!(!must_succeed, "{}: {}", context(), finished.stdout_text());
                    if verb == "ADD" {
                        // Taken back by itself, as far as the kernel let it.
                        ensure!(devices(&pod)? == ["lo"] || scene.look()? != before, "{}: eth0 is left", context());
                    }
                }
                scene.must("DEL", &pod, &scene.bridge).with_context(context)?;
                ensure!(devices(&pod)? == ["lo"], "{}: the pod has {:?}", context(), devices(&pod)?);
                scene.is_as(&before).with_context(context)?;
                pod.remove_netns(&scene.lab)?;
            }
        }
    }
    println!("{error}: {tried} netlink calls, {refused} times told as an error");
    // Nothing of it stays in the way of the next one.
    let next = scene.pod("next")?;
    let with_result = scene.add(&next)?;
    scene.must("CHECK", &next, &with_result).map(|_| ())
}

#[test]
fn an_interrupted_netlink_call_is_made_again() -> Result<()> {
    every_call_fails("eintr", "EINTR", true)
}

#[test]
fn a_busy_kernel_is_asked_again_or_the_error_is_told() -> Result<()> {
    every_call_fails("ebusy", "EBUSY", false)
}

#[test]
fn a_lost_answer_is_asked_for_again_or_the_error_is_told() -> Result<()> {
    every_call_fails("enobufs", "ENOBUFS", false)
}

#[test]
fn a_kernel_without_memory_is_told() -> Result<()> {
    every_call_fails("enomem", "ENOMEM", false)
}

/// Links come and go while others are listed: such a list is marked by the kernel (`NLM_F_DUMP_INTR`) and asked for again.
#[test]
fn pods_come_and_go_while_links_come_and_go() -> Result<()> {
    let scene = Scene::new("churn")?;
    // Enough links for a list of several messages.
    let crowd: String = (0..150).fold(String::new(), |text, number| {
        text + &format!("link add crowd{number} type veth peer name mob{number}\n")
    });
    let file = scene.node.write("crowd", crowd)?;
    scene.node.sh(&format!("ip -batch {}", file.display()))?;
    let churn: String = (0..50).fold(String::new(), |text, number| {
        text + &format!("link add c{number} type veth peer name d{number}\nlink del c{number}\n")
    });
    let churn = scene.node.write("churn", churn)?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    // Two of them meet now and then: what is there already, or gone already, is part of the disturbance.
                    let _ = scene.node.sh(&format!("ip -force -batch {}", churn.display()));
                }
            });
        }
        let worked = (0..30).try_for_each(|number| -> Result<()> {
            let pod = scene.pod(&format!("p{number}"))?;
            let with_result = scene.add(&pod)?;
            scene.must("CHECK", &pod, &with_result)?;
            if number % 3 == 0 {
                pod.remove_netns(&scene.lab)?;
            }
            let mut gc = scene.bridge.clone();
            gc["cni.dev/valid-attachments"] = serde_json::json!([{"containerID": pod.name(), "ifname": "eth0"}]);
            scene.must("GC", &pod, &gc)?;
            scene.must("DEL", &pod, &with_result)?;
            let left = scene.look()?;
            ensure!(left["leases"].is_empty(), "after DEL of {}: {:?}", pod.name(), left["leases"]);
            ensure!(!left["devices"].iter().any(|name| name.starts_with("veth")), "{:?}", left["devices"]);
            Ok(())
        });
        done.store(true, Ordering::Relaxed);
        worked
    })?;
    let result = scene.must("ADD", &scene.pod("last")?, &scene.bridge)?.json()?;
    ensure!(with_result(&scene.bridge, &result)["prevResult"]["ips"].as_array().is_some_and(|ips| ips.len() == 2));
    Ok(())
}
