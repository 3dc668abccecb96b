//! The configuration file and the node's addresses, changed under a running proxy.

use std::fs;

use anyhow::{Context, Result};
use fairlead_conformance::limit::{patience, until};

use crate::stage::{SERVERS, Stage, service};

/// A configuration in which NodePorts are served at these networks.
fn configured(networks: &str, more: &str) -> String {
    format!(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: nftables\n\
         nodePortAddresses: [{networks}]\n{more}"
    )
}

/// Waits until a connection to `target` is answered, or not.
fn answered(stage: &Stage, target: &str, expected: bool) -> Result<()> {
    until(&format!("{target} to be answered: {expected}"), patience(20), || {
        Ok((stage.ask(target, 1)?.answered == u64::from(expected)).then_some(()))
    })
}

fn stage(name: &str) -> Result<Stage> {
    let stage = Stage::new(name, &[8081])?;
    for address in ["10.1.0.1", "10.2.0.1"] {
        stage.node.sh(&format!("ip addr add {address}/32 dev lo"))?;
    }
    let text = service("web", "10.96.0.10", "TCP", &[8081]);
    let text = text.replace("spec:\n", "spec:\n  type: NodePort\n").replace("port: 80}", "port: 80, nodePort: 30080}");
    stage.write("web.yaml", &text)?;
    Ok(stage)
}

#[test]
fn node_ports_follow_the_configuration_file_and_the_nodes_addresses() -> Result<()> {
    let stage = stage("reload")?;
    let path = stage.node.write("config.yaml", configured("10.1.0.0/16, 'fd00::/8'", ""))?;
    let mut proxy = stage.proxy(&["--config", &path.display().to_string()])?;
    answered(&stage, "tcp:10.1.0.1:30080", true)?;
    answered(&stage, "tcp:10.2.0.1:30080", false)?;
    // Nobody asked for the servers' own address.
    answered(&stage, &format!("tcp:{SERVERS}:30080"), false)?;

    // The file, replaced as editors do.
    stage.node.write("config.yaml", configured("10.2.0.0/16, 'fd00::/8'", ""))?;
    answered(&stage, "tcp:10.2.0.1:30080", true)?;
    answered(&stage, "tcp:10.1.0.1:30080", false)?;
    // An address that comes, and goes.
    stage.node.sh("ip addr add 10.2.0.2/32 dev lo")?;
    answered(&stage, "tcp:10.2.0.2:30080", true)?;
    stage.node.sh("ip addr del 10.2.0.2/32 dev lo")?;
    stage.node.sh("ip addr add 10.2.0.3/32 dev lo")?;
    answered(&stage, "tcp:10.2.0.3:30080", true)?;
    answered(&stage, "tcp:10.96.0.10:80", true)?;
    proxy.stop()
}

#[test]
fn a_wrong_file_keeps_the_last_good_configuration_and_says_so() -> Result<()> {
    let stage = stage("wrong-reload")?;
    let good = configured("10.1.0.0/16, 'fd00::/8'", "");
    let path = stage.node.write("config.yaml", &good)?;
    let mut proxy = stage.proxy(&["--config", &path.display().to_string()])?;
    answered(&stage, "tcp:10.1.0.1:30080", true)?;

    let is_told = |status: &serde_json::Value, words: &str| {
        let problems = status["daemon"]["problems"].as_array().into_iter().flatten();
        problems
            .filter(|problem| problem["severity"] == "error")
            .any(|problem| problem["text"].as_str().is_some_and(|text| text.contains(words)))
    };
    for (wrong, words) in [
        (configured("eth0", ""), "nodePortAddresses: \"eth0\" is not allowed"),
        (configured("10.2.0.0/16", "oomScoreAdj: low\n"), "oomScoreAdj: \"low\" is not allowed"),
        ("mode: [".to_owned(), "unclosed"),
    ] {
        // In place, as somebody without manners does.
        fs::write(&path, wrong)?;
        stage
            .status_with(words, |status| is_told(status, words))
            .with_context(|| format!("{:#}", stage.json("status").unwrap_or_default()))?;
        answered(&stage, "tcp:10.1.0.1:30080", true)?;
        answered(&stage, "tcp:10.2.0.1:30080", false)?;
    }
    fs::remove_file(&path)?;
    stage.status_with("that it is gone", |status| is_told(status, "No such file"))?;

    // Good again, with something that a running proxy cannot take up.
    stage.node.write("config.yaml", configured("10.1.0.0/16, 10.2.0.0/16", "healthzBindAddress: 127.0.0.1:1\n"))?;
    answered(&stage, "tcp:10.2.0.1:30080", true)?;
    stage.status_with("no error", |status| !is_told(status, ""))?;
    until("the log to name what waits for a restart", patience(10), || {
        Ok(proxy.stderr_text()?.contains("healthzBindAddress").then_some(()))
    })
    .context("the log")?;
    assert!(proxy.is_alive()?);
    proxy.stop()
}
