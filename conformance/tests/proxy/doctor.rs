//! `doctor`: a node on which the proxy can work, and the same node with this and that in the way.

use anyhow::{Context, Result};
use fairlead_conformance::dist;
use fairlead_conformance::lab::{Finished, Job};
use fairlead_conformance::limit::patience;
use fairlead_conformance::traffic;
use serde_json::Value;

use crate::stage::{Stage, service};

fn doctor(stage: &Stage, args: &[&str]) -> Result<Finished> {
    let job = Job::new(dist::proxy()?).arg("doctor").arg("--bpffs-root").arg(stage.node.bpffs());
    stage.node.output(&job.args(args).log("doctor"))
}

/// What doctor finds for a proxy of this stage, as JSON, with its exit status.
fn findings(stage: &Stage, args: &[&str]) -> Result<(Value, bool)> {
    let cgroup = stage.node.cgroup_root().display().to_string();
    let source = stage.source().display().to_string();
    let finished = doctor(stage, &[&["--cgroup-root", &cgroup, "--source", &source, "-o", "json"], args].concat())?;
    Ok((finished.json().with_context(|| finished.stderr_text())?, finished.status.success()))
}

/// State and text of what was found of this kind.
fn of<'a>(findings: &'a Value, what: &str) -> Vec<(&'a str, &'a str)> {
    let rows = findings["findings"].as_array().into_iter().flatten().filter(|row| row["what"] == what);
    rows.map(|row| (row["state"].as_str().unwrap_or(""), row["found"].as_str().unwrap_or(""))).collect()
}

#[test]
fn a_node_is_found_good_before_a_proxy_runs_and_while_it_runs() -> Result<()> {
    let stage = Stage::new("doctor", &[8081])?;
    stage.write("web.yaml", &service("web", "10.96.0.10", "TCP", &[8081]))?;
    let (before, can_work) = findings(&stage, &[])?;
    assert!(can_work && before["canWork"] == true, "{before:#}");
    for what in ["kernel", "privileges", "bpffs", "programs", "source"] {
        assert!(matches!(of(&before, what)[..], [("ok", _)]), "{what}: {before:#}");
    }
    let programs = of(&before, "programs")[0].1;
    assert!(programs.starts_with("none are in the kernel yet; it takes all "), "{programs}");
    assert_eq!(of(&before, "health port"), [("ok", "0.0.0.0:10256 is free")]);

    let mut proxy = stage.proxy(&[])?;
    let (running, can_work) = findings(&stage, &[])?;
    assert!(can_work, "{running:#}");
    let programs = of(&running, "programs");
    assert!(matches!(programs[..], [("ok", text)] if text.ends_with("are attached; a proxy runs")), "{running:#}");
    for (what, address) in [("health port", "0.0.0.0:10256"), ("metrics port", "127.0.0.1:10249")] {
        let expected = format!("{address} is the proxy's that runs");
        assert_eq!(of(&running, what), [("ok", expected.as_str())]);
    }
    proxy.stop()?;
    let (after, _) = findings(&stage, &[])?;
    assert!(matches!(of(&after, "programs")[..], [("note", _)]), "{after:#}");
    Ok(())
}

#[test]
fn what_is_in_the_way_is_named_with_what_to_do() -> Result<()> {
    let stage = Stage::new("hindered", &[])?;
    let mut holder = stage.node.start(&traffic::serve("holder", &["tcp:10256"])?)?;
    holder.wait_ready(patience(10))?;
    stage.node.run(&[
        "sh",
        "-c",
        "nft add table ip kube-proxy; nft add table ip6 nat; nft add chain ip6 nat KUBE-SERVICES; \
         ip link add kube-ipvs0 type bridge; sysctl -qw net.ipv4.ip_forward=0; \
         sysctl -qw net.ipv4.ip_local_port_range='20000 60999'",
    ])?;
    let (found, can_work) = findings(&stage, &["--metrics-bind-address=127.0.0.1:7"])?;
    assert!(can_work, "{found:#}");
    let expected = format!("0.0.0.0:10256 is taken by fairlead-lab (process {})", holder.pid());
    assert_eq!(of(&found, "health port"), [("warning", expected.as_str())]);
    assert_eq!(of(&found, "metrics port"), [("ok", "127.0.0.1:7 is free")]);
    let others = of(&found, "other proxies");
    let has = |words: &str| others.iter().any(|(_, text)| text.contains(words));
    assert!(has("(table ip kube-proxy, chain KUBE-SERVICES of ip6tables)") && has("kube-ipvs0"), "{others:?}");
    assert!(of(&found, "forwarding").iter().any(|row| row.0 == "warning"), "{found:#}");
    assert!(matches!(of(&found, "port range")[..], [("warning", text)] if text.starts_with("2768 of")), "{found:#}");

    // What makes it impossible: no cgroup of version 2, a file that cannot be meant, nobody at the API server's address.
    let cgroup = doctor(&stage, &["--cgroup-root", "/proc"])?;
    assert!(!cgroup.status.success());
    let told = cgroup.stdout_text();
    assert!(told.contains("bad      /proc is not a cgroup of version 2\n"), "{told}");
    assert!(told.trim_end().ends_with("the proxy cannot work here: 1 hindrance"), "{told}");
    let config = stage.node.write("config.yaml", "kind: Other\n")?;
    let (found, can_work) = findings(&stage, &["--config", &config.display().to_string()])?;
    assert!(!can_work, "{found:#}");
    assert!(matches!(of(&found, "configuration")[..], [("bad", text)] if text.contains("apiVersion is missing")));
    let server = doctor(&stage, &["--master", "http://127.0.0.1:9", "-o", "json"])?;
    assert!(!server.status.success());
    let rows = server.json()?;
    let rows = of(&rows, "API server");
    assert!(!rows.is_empty() && rows.iter().all(|row| row.0 == "bad" && row.1.contains("refused")), "{rows:?}");
    holder.stop()
}
