//! The peers file: good and bad, at the start and while the agent runs, and every way files are replaced.

use std::fs;
use std::os::unix::fs::symlink;

use anyhow::{Context, Result};
use fairlead_conformance::limit::patience;
use fairlead_conformance::snapshot::Snapshot;
use fairlead_conformance::traffic;
use nix::sys::signal::Signal;

use crate::stage::{Stage, assert_reaches, peers, serve};

/// The file of two nodes of which the second claims the subnet of the first.
fn doubly_claimed() -> String {
    peers(2).replace("10.244.2.0/24", "10.244.1.0/24")
}

#[test]
fn a_node_that_comes_and_goes_disturbs_nobody() -> Result<()> {
    let mut stage = Stage::new("ov-reload", 3)?;
    stage.write_peers(&peers(2))?;
    (0..2).try_for_each(|i| stage.start(i))?;
    let (a, b) = (stage.pod(0)?, stage.pod(1)?);
    let _servers = [serve(&a)?, serve(&b)?];
    let mut client = a.start(&traffic::request_until_told(&["tcp:10.244.2.2:8080"])?)?;
    client.wait_ready(patience(10))?;

    stage.write_peers(&peers(3))?;
    stage.start(2)?;
    stage.wait_peers(2)?;
    let c = stage.pod(2)?;
    let _third = serve(&c)?;
    assert_reaches(&a, "10.244.3.2")?;
    assert_reaches(&c, "10.244.2.2")?;

    stage.stop(2)?;
    stage.write_peers(&peers(2))?;
    stage.wait_peers(1)?;
    let routes = stage.nodes[0].sh("ip route show dev flannel.1")?;
    assert_eq!(routes.trim(), "10.244.2.0/24 via 10.244.2.0 proto 79 onlink");
    let rest = stage.nodes[0].sh("bridge fdb show dev flannel.1")?
        + &stage.nodes[0].sh("ip neigh show dev flannel.1 nud permanent")?;
    assert!(!rest.contains("192.168.77.3") && !rest.contains("10.244.3.0"), "{rest}");

    let report = traffic::finish(&mut client)?.into_iter().next().context("no report")?;
    assert!(report.sent > 0);
    assert_eq!(report.unanswered(), 0, "{report:?}");
    // What was there was not touched: the log of operations names the third node's entries alone.
    let log = stage.agent(0)?.stderr_text()?;
    let after_start = log.split_once("ready").map_or("", |(_, after)| after);
    let steps: Vec<&str> = after_start.lines().filter(|line| line.contains("step=")).collect();
    assert!(!steps.is_empty(), "{log}");
    assert!(steps.iter().all(|line| !line.contains("192.168.77.2") && !line.contains("10.244.2.0")), "{steps:#?}");
    Ok(())
}

#[test]
fn a_bad_file_while_running_is_told_once_and_the_last_good_one_stays() -> Result<()> {
    let mut stage = Stage::running("ov-bad", 2, &peers(2))?;
    let (a, b) = (stage.pod(0)?, stage.pod(1)?);
    let _servers = [serve(&a)?, serve(&b)?];
    for bad in
        [doubly_claimed(), String::new(), peers(2).replace("    ", "\t").replace("  -", "\t-"), "nodes: [".into()]
    {
        stage.write_peers(&bad)?;
        let status = stage.wait_status(0, "the file error", |status| !status["fileError"].is_null())?;
        assert_eq!((&status["peersProgrammed"], &status["healthy"]), (&1.into(), &false.into()), "{status}");
        assert_reaches(&a, "10.244.2.2")?;
        stage.agent(0)?.signal(Signal::SIGHUP)?;
        stage.write_peers(&peers(2))?;
        stage.wait_peers(1)?;
    }
    fs::remove_file(stage.peers_path(0))?;
    let status = stage.wait_status(0, "the missing file", |status| !status["fileError"].is_null())?;
    assert!(status["fileError"].as_str().is_some_and(|error| error.contains("peers.yaml")), "{status}");
    assert_reaches(&a, "10.244.2.2")?;
    let log = stage.agent(0)?.stderr_text()?;
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("both claim the subnet")).collect();
    assert_eq!(lines.len(), 1, "{log}");
    for word in ["peers.yaml:4:", "node-a", "node-b", "10.244.1.0/24", "at line 3"] {
        assert!(lines[0].contains(word), "{word}: {}", lines[0]);
    }
    Ok(())
}

#[test]
fn a_bad_file_at_the_start_is_one_line_and_leaves_nothing() -> Result<()> {
    let stage = Stage::new("ov-start", 2)?;
    let node = &stage.nodes[0];
    let before = Snapshot::network(node)?;
    for (text, words) in [
        (doubly_claimed(), ["peers.yaml:4:", "both claim the subnet 10.244.1.0/24"]),
        (peers(2).replace("node-a", "node-x"), ["node-a", "the file has node-x, node-b"]),
        (peers(2).replace("192.168.77.1", "192.168.99.1"), ["no interface has 192.168.99.1", "node-a"]),
    ] {
        stage.write_peers(&text)?;
        let finished = node.output(&stage.run_job(0)?)?;
        assert!(!finished.status.success());
        let error = finished.stderr_text();
        let lines: Vec<&str> = error.lines().filter(|line| !line.contains(" INFO ")).collect();
        assert_eq!(lines.len(), 1, "{error}");
        words.iter().for_each(|word| assert!(lines[0].contains(word), "{word}: {error}"));
        assert_eq!(before.diff(&Snapshot::network(node)?).len(), 0);
        for left in ["fairlead", "flannel"] {
            assert!(!node.run_dir().join(left).exists(), "/run/{left} is left");
        }
    }
    Ok(())
}

/// A file is replaced by rename (the stage does), written in place, and swapped under its link as a ConfigMap is.
#[test]
fn every_way_of_replacing_the_file_is_noticed() -> Result<()> {
    let mut stage = Stage::new("ov-ways", 3)?;
    let mount = stage.nodes[0].dir().join("config");
    let version = |n: u8, text: &str| -> Result<()> {
        let dir = mount.join(format!("..v{n}"));
        fs::create_dir_all(&dir)?;
        fs::write(dir.join("peers.yaml"), text)?;
        symlink(format!("..v{n}"), mount.join("..data_tmp"))?;
        fs::rename(mount.join("..data_tmp"), mount.join("..data"))?;
        Ok(())
    };
    version(1, &peers(1))?;
    symlink("..data/peers.yaml", mount.join("peers.yaml"))?;
    symlink(mount.join("peers.yaml"), stage.peers_path(0))?;
    stage.start(0)?;
    stage.wait_peers(0)?;
    version(2, &peers(2))?;
    // The node's own path is one link further away: the directory it leads to is watched as well.
    stage.wait_peers(1)?;
    fs::write(mount.join("..data/peers.yaml"), peers(3))?;
    stage.wait_peers(2)?;
    stage.nodes[0].write("peers.yaml", peers(1))?;
    stage.wait_peers(0)?;
    fs::write(stage.peers_path(0), peers(2))?;
    stage.wait_peers(1)
}
