//! What the proxy sets on the node beside its programs and maps, and what is left of it after `cleanup`: nothing.

use std::fs;

use anyhow::Result;
use fairlead_conformance::dist;
use fairlead_conformance::lab::Job;
use fairlead_conformance::limit::patience;
use fairlead_conformance::snapshot::{Snapshot, wait_for_equal};

use crate::stage::{Stage, service};

const ESTABLISHED: &str = "net.netfilter.nf_conntrack_tcp_timeout_established";
const CLOSE_WAIT: &str = "net.netfilter.nf_conntrack_tcp_timeout_close_wait";

/// A node with connection tracking, and no proxy yet.
fn stage(name: &str) -> Result<Stage> {
    let stage = Stage::new(name, &[8081])?;
    stage.write("web.yaml", &service("web", "10.96.0.10", "TCP", &[8081]))?;
    let rules =
        "add table inet t; add chain inet t c { type filter hook input priority 0; }; add rule inet t c ct state new";
    stage.node.run(&["nft", rules])?;
    stage.node.sh(&format!("sysctl -qw {ESTABLISHED}=432000 {CLOSE_WAIT}=60"))?;
    Ok(stage)
}

fn sysctl(stage: &Stage, key: &str) -> Result<String> {
    Ok(stage.node.sh(&format!("sysctl -n {key}"))?.trim().to_owned())
}

#[test]
fn cleanup_gives_sysctls_back_that_are_still_as_the_proxy_set_them() -> Result<()> {
    let stage = stage("sysctls")?;
    let mut proxy = stage.proxy(&["--conntrack-tcp-timeout-close-wait=30m"])?;
    assert_eq!([sysctl(&stage, ESTABLISHED)?, sysctl(&stage, CLOSE_WAIT)?], ["86400", "1800"]);
    proxy.stop()?;
    // A second one wants another value, and somebody else sets the other one.
    let mut proxy =
        stage.proxy(&["--conntrack-tcp-timeout-established=2h", "--conntrack-tcp-timeout-close-wait=30m"])?;
    assert_eq!([sysctl(&stage, ESTABLISHED)?, sysctl(&stage, CLOSE_WAIT)?], ["7200", "1800"]);
    proxy.stop()?;
    stage.node.sh(&format!("sysctl -qw {CLOSE_WAIT}=77"))?;
    let told = stage.text("cleanup")?;
    assert_eq!([sysctl(&stage, ESTABLISHED)?, sysctl(&stage, CLOSE_WAIT)?], ["432000", "77"], "{told}");
    assert!(told.contains("stays 77: somebody else has set it since"), "{told}");
    assert_eq!(stage.text("cleanup")?, "nothing was left to remove\n");
    Ok(())
}

#[test]
fn init_only_prepares_the_node_and_the_cleanup_flag_takes_it_back() -> Result<()> {
    let stage = stage("init")?;
    let job = || -> Result<Job> {
        let job = Job::new(dist::proxy()?).arg("run").arg("--source").arg(stage.source());
        let job = job.arg("--cgroup-root").arg(stage.node.cgroup_root()).arg("--bpffs-root").arg(stage.node.bpffs());
        Ok(job.log("init"))
    };
    stage.node.output(&job()?.arg("--init-only"))?.success()?;
    assert_eq!(sysctl(&stage, ESTABLISHED)?, "86400");
    let status = stage.json("status")?;
    assert_eq!(status["state"], "frozen", "{status:#}");
    assert_eq!(stage.ask("tcp:10.96.0.10:80", 1)?.answered, 0, "no Service is read");

    stage.node.output(&job()?.arg("--cleanup"))?.success()?;
    assert_eq!(sysctl(&stage, ESTABLISHED)?, "432000");
    assert!(stage.text("status")?.starts_with("state     absent"), "{}", stage.text("status")?);
    Ok(())
}

#[test]
fn a_node_is_after_cleanup_as_it_was_before_the_proxy() -> Result<()> {
    let stage = stage("as-before")?;
    // What others have, beside which nothing of theirs may go.
    stage.node.run(&["nft", "add table ip kube-proxy; add table inet fairlead_masquerade"])?;
    let others = stage.node.bpffs().join("others");
    fs::create_dir(&others)?;
    let take = || -> Result<Snapshot> {
        let mut snapshot = Snapshot::network(&stage.node)?;
        for (name, root) in [("bpffs", stage.node.bpffs()), ("run", stage.node.run_dir())] {
            let root = root.display().to_string();
            snapshot.add(
                name,
                stage.node.run(&[
                    "sh",
                    "-c",
                    &format!("find {root} -path {root}/netns -prune -o -printf '%y %P\n' | sort"),
                ])?,
            );
        }
        let programs = stage.node.cgroup_root().display().to_string();
        // One line a program that is attached there; the host's tool knows all kinds.
        snapshot
            .add("cgroup programs", stage.node.run(&["sh", "-c", &format!("bpftool cgroup show {programs} || true")])?);
        Ok(snapshot)
    };
    let before = take()?;
    let mut proxy = stage.proxy(&["--nodeport-addresses=all,localhost", "--conntrack-udp-timeout=7s"])?;
    assert_eq!(stage.ask("tcp:10.96.0.10:80", 1)?.answered, 1);
    assert!(!before.diff(&take()?).is_empty(), "a proxy that leaves no trace is none");
    proxy.stop()?;
    stage.text("cleanup")?;
    wait_for_equal(&before, patience(10), take)
}
