//! The agent's life: stopping, dying, starting again, beside others.

use anyhow::{Context, Result};
use fairlead_conformance::lab::Job;
use fairlead_conformance::limit::{patience, until};
use fairlead_conformance::snapshot::{Snapshot, wait_for_equal};
use fairlead_conformance::{dist, traffic};

use crate::stage::{NAMES, Stage, assert_reaches, peers, serve, settled};

#[test]
fn traffic_outlives_the_agent_and_a_restart_changes_nothing() -> Result<()> {
    let mut stage = Stage::running("ov-life", 2, &peers(2))?;
    let (a, b) = (stage.pod(0)?, stage.pod(1)?);
    let _servers = [serve(&a)?, serve(&b)?];
    let mut client = a.start(&traffic::request_until_told(&["tcp:10.244.2.2:8080", "udp:10.244.2.2:8080"])?)?;
    client.wait_ready(patience(10))?;
    let shape = |stage: &Stage| stage.nodes[0].sh("ip -d link show flannel.1");
    let before = shape(&stage)?;
    stage.agent(0)?.kill()?;
    let dead = stage.verb(0, &["status"])?;
    assert!(!dead.status.success() && dead.stdout_text().contains("not running"), "{}", dead.stdout_text());
    stage.start(0)?;
    stage.stop(0)?;
    stage.start(0)?;
    assert_eq!(shape(&stage)?, before);
    let log = stage.agent(0)?.stderr_text()?;
    assert!(!log.contains("step="), "a restart did something: {log}");
    for report in traffic::finish(&mut client)? {
        assert!(report.sent > 0);
        assert_eq!(report.unanswered(), 0, "{report:?}");
    }
    Ok(())
}

/// Killed after its first, second … step, the agent leaves what its next life completes and `cleanup` takes away.
#[test]
fn an_agent_killed_at_any_step_is_completed_or_cleaned_up() -> Result<()> {
    for clean in [false, true] {
        let mut stage = Stage::new("ov-kill", 1)?;
        stage.write_peers(&peers(3))?;
        settled(&stage)?;
        let before = Snapshot::network(&stage.nodes[0])?;
        for steps in 0..12 {
            let mut agent = stage.nodes[0].start(&stage.run_job(0)?.log(format!("killed-{steps}")))?;
            until("some steps or the end of them", patience(10), || {
                let log = agent.stderr_text()?;
                let done = log.matches("step=").count() >= steps && log.contains("starting");
                Ok((done || log.contains("ready")).then_some(()))
            })?;
            agent.kill()?;
            if !clean {
                stage.start(0)?;
                assert_eq!(stage.status(0)?["healthy"], true, "after {steps} steps");
                stage.stop(0)?;
            }
            stage.verb(0, &["cleanup"])?.success()?;
            stage.nodes[0].sh("sysctl -qw net.ipv4.ip_forward=0")?;
            wait_for_equal(&before, patience(10), || Snapshot::network(&stage.nodes[0]))?;
            for left in ["fairlead", "flannel"] {
                assert!(!stage.nodes[0].run_dir().join(left).exists(), "/run/{left} is left after {steps} steps");
            }
        }
    }
    Ok(())
}

#[test]
fn a_full_disk_is_one_line_and_leaves_nothing() -> Result<()> {
    let stage = Stage::new("ov-full", 1)?;
    stage.write_peers(&peers(1))?;
    settled(&stage)?;
    let node = &stage.nodes[0];
    node.sh("mkdir /run/full")?;
    node.sh("mount -t tmpfs -o size=4k tmpfs /run/full")?;
    node.sh("dd if=/dev/zero of=/run/full/fill bs=4096 count=2").unwrap_err();
    let before = Snapshot::network(node)?;
    let job = stage.run_job(0)?.args(["--state-dir", "/run/full"]);
    let refused = node.output(&job)?;
    assert!(!refused.status.success());
    let error = refused.stderr_text();
    let lines: Vec<&str> = error.lines().filter(|line| !line.contains(" INFO ")).collect();
    assert_eq!(lines.len(), 1, "{error}");
    assert!(lines[0].contains("/run/full/status.json") && lines[0].contains("No space left"), "{error}");
    assert_eq!(node.sh("ls -A /run/full")?.trim(), "fill");
    wait_for_equal(&before, patience(10), || Snapshot::network(node))?;
    node.sh("umount /run/full")?;
    Ok(())
}

#[test]
fn peers_that_vanished_while_the_agent_was_away_are_cleared_at_the_start() -> Result<()> {
    let mut stage = Stage::running("ov-away", 3, &peers(3))?;
    stage.stop(0)?;
    stage.write_peers(&peers(2))?;
    stage.start(0)?;
    let left = stage.nodes[0].sh("ip route")? + &stage.nodes[0].sh("ip neigh")? + &stage.nodes[0].sh("bridge fdb")?;
    assert!(!left.contains("10.244.3.0") && !left.contains("dst 192.168.77.3"), "{left}");
    Ok(())
}

#[test]
fn a_second_agent_is_refused_and_another_network_is_not_disturbed() -> Result<()> {
    let mut stage = Stage::running("ov-second", 2, &peers(2))?;
    let refused = stage.nodes[0].output(&stage.run_job(0)?)?;
    assert!(!refused.status.success());
    assert!(refused.stderr_text().contains("a fairlead-overlay is running"), "{}", refused.stderr_text());

    // The same network and VNI with a directory of its own: the device is the first one's.
    let other = |stage: &Stage| -> Result<Job> {
        let job = stage.run_job(0)?.args(["--state-dir", "/run/other", "--subnet-file", "/run/other/subnet.env"]);
        Ok(job.log("other"))
    };
    let refused = stage.nodes[0].output(&other(&stage)?)?;
    assert!(!refused.status.success());
    assert!(refused.stderr_text().contains("belongs to the fairlead-overlay"), "{}", refused.stderr_text());
    assert!(!stage.nodes[0].run_dir().join("other").exists());

    // Another VNI and network: both live in one namespace.
    let second = peers(2).replace("10.244.", "10.245.").replace("nodes:", "vni: 2\nport: 8473\nnodes:");
    let path = stage.nodes[0].write("second.yaml", second)?;
    let job = Job::new(dist::overlay()?).args(["run", "--node-name", NAMES[0], "--state-dir", "/run/other"]);
    let job = job.args(["--subnet-file", "/run/other/subnet.env", "--peers"]).arg(path).notify().log("second");
    let mut agent = stage.nodes[0].start(&job)?;
    agent.wait_ready(patience(10))?;
    agent.stop()?;
    let said = stage.verb(0, &["cleanup", "--state-dir", "/run/other"])?.success()?.stdout_text();
    assert!(said.contains("flannel.2") && !said.contains("flannel.1"), "{said}");
    assert_eq!(stage.status(0)?["healthy"], true);
    stage.stop(0)
}

#[test]
fn another_vni_in_the_file_replaces_the_device() -> Result<()> {
    let stage = Stage::running("ov-vni", 2, &peers(2))?;
    stage.write_peers(&peers(2).replace("nodes:", "vni: 42\nnodes:"))?;
    for i in 0..2 {
        stage.wait_status(i, "the new device", |status| {
            status["device"]["name"] == "flannel.42" && status["healthy"] == true
        })?;
        let links = stage.nodes[i].sh("ip link show type vxlan")?;
        assert!(links.contains("flannel.42") && !links.contains("flannel.1:"), "{links}");
    }
    let (a, b) = (stage.pod(0)?, stage.pod(1)?);
    let _servers = [serve(&a)?, serve(&b)?];
    assert_reaches(&a, "10.244.2.2")
}

#[test]
fn flannels_own_device_is_taken_over_as_it_is() -> Result<()> {
    let mut stage = Stage::new("ov-take", 2)?;
    let node = &stage.nodes[0];
    node.sh("ip link add flannel.1 type vxlan id 1 local 192.168.77.1 dev eth0 dstport 8472 nolearning")?;
    node.sh("ip addr add 10.244.1.0/32 dev flannel.1")?;
    node.sh("ip link set flannel.1 up")?;
    node.sh("ip route add 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink")?;
    let index = node.json("ip -j link show flannel.1")?[0]["ifindex"].clone();
    stage.write_peers(&peers(2))?;
    stage.start(0)?;
    stage.start(1)?;
    let node = &stage.nodes[0];
    assert_eq!(node.json("ip -j link show flannel.1")?[0]["ifindex"], index);
    assert_eq!(
        node.sh("ip route show 10.244.2.0/24")?.trim(),
        "10.244.2.0/24 via 10.244.2.0 dev flannel.1 proto 79 onlink"
    );
    let (a, b) = (stage.pod(0)?, stage.pod(1)?);
    let _server = serve(&b)?;
    assert_reaches(&a, "10.244.2.2")
}

#[test]
fn a_link_of_the_same_name_that_is_no_tunnel_is_refused() -> Result<()> {
    let stage = Stage::new("ov-name", 2)?;
    stage.write_peers(&peers(2))?;
    let node = &stage.nodes[0];
    node.sh("ip link add flannel.1 type bridge")?;
    let refused = node.output(&stage.run_job(0)?)?;
    assert!(!refused.status.success());
    assert!(refused.stderr_text().contains("is not a VXLAN device but bridge"), "{}", refused.stderr_text());
    assert!(node.sh("ip -d link show flannel.1")?.contains("bridge"));
    Ok(())
}

/// Hosts switch IPv6 off by default for devices to come; the tunnel's own addresses must not fail for that.
#[test]
fn a_host_that_switches_ipv6_off_by_default_still_carries_it() -> Result<()> {
    let mut stage = Stage::new("ov-off", 1)?;
    let text = peers(2).replace("nodes:", "ipv6Network: fd00:244::/48\nnodes:");
    stage.write_peers(
        &text.replace("subnet: 10.244.1.0/24", "subnet: 10.244.1.0/24, ipv6Subnet: 'fd00:244:0:1::/64'"),
    )?;
    stage.nodes[0].sh("sysctl -qw net.ipv6.conf.default.disable_ipv6=1")?;
    stage.start(0)?;
    let addresses = stage.nodes[0].sh("ip addr show flannel.1")?;
    assert!(addresses.contains("fd00:244:0:1::/128"), "{addresses}");
    Ok(())
}

#[test]
fn without_privilege_the_advice_is_one_line() -> Result<()> {
    let stage = Stage::new("ov-user", 1)?;
    stage.write_peers(&peers(1))?;
    let binary = dist::overlay()?;
    let binary = binary.to_str().context("a path in UTF-8")?;
    let path = stage.peers_path(0);
    let path = path.to_str().context("a path in UTF-8")?;
    let job = Job::new("setpriv").args([
        "--reuid=0",
        "--regid=0",
        "--clear-groups",
        "--bounding-set=-all",
        "--inh-caps=-all",
    ]);
    let job = job.args([binary, "run", "--node-name", NAMES[0], "--peers", path]);
    let refused = stage.nodes[0].output(&job)?;
    assert!(!refused.status.success());
    let error = refused.stderr_text();
    let lines: Vec<&str> = error.lines().filter(|line| !line.contains(" INFO ")).collect();
    assert_eq!(lines.len(), 1, "{error}");
    assert!(lines[0].contains("(EPERM)") && lines[0].contains("CAP_NET_ADMIN"), "{error}");
    Ok(())
}
