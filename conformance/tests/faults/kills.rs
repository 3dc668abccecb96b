//! SIGKILL in GC and CHECK (F1), and of one of two processes that work for each other (F2).

use anyhow::{Context, Result, ensure};
use fairlead_conformance::limit::{patience, until};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::scene::{Scene, devices, error_of};

/// Of these nothing is left by a process that dies before them.
const WITHOUT_TRACE: [&str; 12] = [
    "execve",
    "brk",
    "mmap",
    "munmap",
    "mprotect",
    "arch_prctl",
    "set_tid_address",
    "set_robust_list",
    "rseq",
    "prlimit64",
    "getrandom",
    "read",
];

fn points(
    scene: &Scene,
    verb: &str,
    pod: &fairlead_conformance::lab::Pod,
    config: &Value,
) -> Result<Vec<(String, usize)>> {
    let mut counts = scene.calls(verb, pod, config, "all")?;
    counts.retain(|name, _| !WITHOUT_TRACE.contains(&name.as_str()));
    Ok(counts.into_iter().flat_map(|(name, count)| (1..=count).map(move |which| (name.clone(), which))).collect())
}

#[test]
fn a_gc_killed_anywhere_is_finished_by_the_next_one() -> Result<()> {
    let scene = Scene::new("kill-gc")?;
    let kept = scene.pod("kept")?;
    let with_result = scene.add(&kept)?;
    let before = scene.look()?;
    let mut gc = scene.bridge.clone();
    gc["cni.dev/valid-attachments"] = json!([{"containerID": "kept", "ifname": "eth0"}]);
    let lost = scene.pod("lost")?;
    scene.add(&lost)?;
    let points = points(&scene, "GC", &kept, &gc)?;
    scene.is_as(&before).context("GC")?;
    for (name, which) in &points {
        scene.add(&lost)?;
        let inject = format!("inject={name}:signal=KILL:when={which}");
        scene.call("GC", &kept, &gc, &["strace", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", &inject])?;
        scene.must("GC", &kept, &gc).with_context(|| format!("after a GC killed at {name} {which}"))?;
        scene.is_as(&before).with_context(|| format!("killed at {name} {which}"))?;
        ensure!(devices(&lost)? == ["lo"], "killed at {name} {which}: the pod has {:?}", devices(&lost)?);
    }
    println!("GC: killed at {} system calls", points.len());
    scene.must("CHECK", &kept, &with_result).map(|_| ())
}

#[test]
fn a_check_killed_anywhere_has_changed_nothing() -> Result<()> {
    let scene = Scene::new("kill-check")?;
    let pod = scene.pod("p")?;
    let with_result = scene.add(&pod)?;
    let before = scene.look()?;
    let points = points(&scene, "CHECK", &pod, &with_result)?;
    for (name, which) in &points {
        let inject = format!("inject={name}:signal=KILL:when={which}");
        scene.call(
            "CHECK",
            &pod,
            &with_result,
            &["strace", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", &inject],
        )?;
        ensure!(scene.look()? == before, "killed at {name} {which}: {:?}", scene.look()?);
    }
    println!("CHECK: killed at {} system calls", points.len());
    scene.must("CHECK", &pod, &with_result).map(|_| ())
}

/// An IPAM plugin of somebody else, as a script. It keeps what it gave in `$LEASES`.
fn foreign(scene: &Scene, script: &str) -> Result<(Value, std::path::PathBuf)> {
    let leases = scene.node.dir().join("foreign-leases");
    std::fs::create_dir_all(&leases)?;
    let text = format!("#!/bin/sh\ncat >/dev/null\nleases={}\n{script}\n", leases.display());
    let file = scene.node.write("foreign/foreign-ipam", text)?;
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let mut config = scene.bridge.clone();
    config["ipam"] = json!({"type": "foreign-ipam"});
    Ok((config, leases))
}

fn job(
    scene: &Scene,
    verb: &str,
    pod: &fairlead_conformance::lab::Pod,
    config: &Value,
) -> fairlead_conformance::lab::Job {
    let path = format!("{}:{}", scene.suite.bin.display(), scene.node.dir().join("foreign").display());
    scene.job(verb, pod, config).env("CNI_PATH", path)
}

#[test]
fn an_ipam_plugin_that_is_killed_leaves_no_device() -> Result<()> {
    let scene = Scene::new("kill-ipam")?;
    let before = scene.look()?;
    let script = "case $CNI_COMMAND in ADD) : >$leases/$CNI_CONTAINERID; kill -9 $$;; DEL) rm -f $leases/$CNI_CONTAINERID;; esac";
    let (config, leases) = foreign(&scene, script)?;
    let pod = scene.pod("p")?;
    let finished = scene.node.output(&job(&scene, "ADD", &pod, &config))?;
    let said = error_of(&finished)?;
    ensure!(said.contains("foreign-ipam"), "it does not say who failed: {said}");
    scene.node.output(&job(&scene, "DEL", &pod, &config))?.success()?;
    ensure!(std::fs::read_dir(&leases)?.count() == 0, "the foreign lease was not given back");
    ensure!(devices(&pod)? == ["lo"], "the pod has {:?}", devices(&pod)?);
    scene.is_as(&before)
}

#[test]
fn a_caller_that_is_killed_while_ipam_works_leaves_nothing_a_del_does_not_clear() -> Result<()> {
    let scene = Scene::new("kill-caller")?;
    let before = scene.look()?;
    // It says that it has begun, waits until it is let go, and has given an address when its caller is long dead.
    let script = "case $CNI_COMMAND in ADD) : >$leases/begun; read go <$leases/go; : >$leases/$CNI_CONTAINERID; \
                  echo '{\"cniVersion\": \"1.1.0\", \"ips\": [{\"address\": \"10.88.0.9/24\"}]}';; DEL) rm -f $leases/$CNI_CONTAINERID;; esac";
    let (config, leases) = foreign(&scene, script)?;
    let pod = scene.pod("p")?;
    scene.node.sh(&format!("mkfifo {}", leases.join("go").display()))?;
    // Opened for both, a pipe waits for nobody at its other end.
    let mut go = std::fs::File::options().read(true).write(true).open(leases.join("go"))?;
    let mut running = scene.node.start(&job(&scene, "ADD", &pod, &config))?;
    running.close_stdin();
    until("IPAM to have begun", patience(10), || Ok(leases.join("begun").exists().then_some(())))?;
    running.signal(Signal::SIGKILL)?;
    running.wait(patience(10))?;
    std::io::Write::write_all(&mut go, b"go\n")?;
    // Whether the child lives on is its own matter; a DEL that comes afterwards gives back what it took.
    let lease = leases.join("p");
    let _ = until("the child to end, if it lives", patience(1), || Ok(lease.exists().then_some(())));
    scene.node.output(&job(&scene, "DEL", &pod, &config))?.success()?;
    ensure!(!lease.exists(), "the foreign lease was not given back");
    ensure!(devices(&pod)? == ["lo"], "the pod has {:?}", devices(&pod)?);
    scene.is_as(&before)
}
