//! SIGTERM in the middle, and outputs that nobody reads (F33).

use anyhow::{Context, Result, ensure};

use super::scene::{Scene, devices, error_of};

/// A runtime that shuts down tells its children too: what was begun is finished, and one document is printed.
#[test]
fn sigterm_at_any_call_of_a_del_does_not_stop_it_half_way() -> Result<()> {
    let scene = Scene::new("term-del")?;
    let before = scene.look()?;
    let probe = scene.pod("probe")?;
    scene.add(&probe)?;
    let calls =
        scene.calls("DEL", &probe, &scene.bridge, "openat,sendmsg,sendto,recvmsg,unlink,unlinkat,rename,setns")?;
    for (call, count) in calls {
        for which in 1..=count {
            let context = || format!("SIGTERM at {call} {which}");
            let pod = scene.pod(&format!("p-{call}-{which}"))?;
            scene.add(&pod).with_context(context)?;
            let inject = format!("inject={call}:signal=TERM:when={which}");
            let finished =
                scene.call("DEL", &pod, &scene.bridge, &["strace", "-qq", "-o", "/dev/null", "-e", &inject])?;
            // Before the plugin has begun, the signal ends it as any other process; from then on it is held back.
            if finished.status.success() {
                ensure!(finished.stdout.is_empty(), "{}: {}", context(), finished.stdout_text());
                ensure!(devices(&pod)? == ["lo"], "{}: the pod has {:?}", context(), devices(&pod)?);
                scene.is_as(&before).with_context(context)?;
            }
            scene.must("DEL", &pod, &scene.bridge).with_context(context)?;
            scene.is_as(&before).with_context(context)?;
            pod.remove_netns(&scene.lab)?;
        }
    }
    Ok(())
}

#[test]
fn sigterm_at_any_call_of_an_add_leaves_all_or_nothing() -> Result<()> {
    let scene = Scene::new("term-add")?;
    let before = scene.look()?;
    let probe = scene.pod("probe")?;
    let calls = scene.calls("ADD", &probe, &scene.bridge, "sendmsg,sendto,recvmsg,renameat,rename,setns,flock")?;
    scene.must("DEL", &probe, &scene.bridge)?;
    for (call, count) in calls {
        for which in 1..=count {
            let context = || format!("SIGTERM at {call} {which}");
            let pod = scene.pod(&format!("p-{call}-{which}"))?;
            let inject = format!("inject={call}:signal=TERM:when={which}");
            let finished =
                scene.call("ADD", &pod, &scene.bridge, &["strace", "-qq", "-o", "/dev/null", "-e", &inject])?;
            if finished.status.success() {
                ensure!(finished.json()?["ips"].is_array(), "{}: {}", context(), finished.stdout_text());
                ensure!(devices(&pod)? == ["lo", "eth0"], "{}: {:?}", context(), devices(&pod)?);
            } else if finished.status.code().is_some() {
                error_of(&finished).with_context(context)?;
                scene.is_as(&before).with_context(context)?;
            }
            scene.must("DEL", &pod, &scene.bridge).with_context(context)?;
            scene.is_as(&before).with_context(context)?;
            pod.remove_netns(&scene.lab)?;
        }
    }
    Ok(())
}

/// A runtime that is gone reads nothing: a plugin must not die of that with half of its work done.
#[test]
fn closed_outputs_do_not_stop_the_work() -> Result<()> {
    let scene = Scene::new("closed")?;
    let before = scene.look()?;
    for (name, script) in [
        ("stderr", r#"exec "$0" 2>&-"#),
        ("stdout", r#"exec "$0" >&-"#),
        ("both", r#"exec "$0" >&- 2>&-"#),
        ("reader", r#""$0" | true"#),
        ("full", r#"exec "$0" >/dev/full 2>/dev/full"#),
    ] {
        let pod = scene.pod(name)?;
        scene.call("ADD", &pod, &scene.bridge, &["sh", "-c", script])?;
        // Whether a result that nobody got counts is the runtime's to judge; it deletes in any case.
        let deleted = scene.call("DEL", &pod, &scene.bridge, &["sh", "-c", script])?;
        ensure!(deleted.status.code().is_some(), "{name}: DEL was killed: {}", deleted.status);
        ensure!(devices(&pod)? == ["lo"], "{name}: the pod has {:?}", devices(&pod)?);
        scene.is_as(&before).with_context(|| name.to_owned())?;
        // The errors, too.
        let mut bad = scene.bridge.clone();
        bad["mtu"] = "no number".into();
        let refused = scene.call("ADD", &pod, &bad, &["sh", "-c", script])?;
        ensure!(refused.status.code().is_some(), "{name}: a refused ADD was killed: {}", refused.status);
        scene.is_as(&before)?;
    }
    Ok(())
}
