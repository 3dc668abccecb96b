//! Lists of plugins called as a runtime calls them: one process for each plugin, what is between two of them not counted.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::cni::Suite;
use crate::lab::{Node, Place};

/// What is measured: the lists a node may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `bridge` with `host-local`.
    Plain,
    /// The same with `ipMasq`.
    Masquerade,
    /// That, then `portmap`, `firewall`, `tuning` and `bandwidth`.
    Chain,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Plain, Self::Masquerade, Self::Chain];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Masquerade => "with masquerade",
            Self::Chain => "full chain",
        }
    }

    /// The configurations in order; leases below `leases`, this port of the node published.
    pub(super) fn list(self, leases: &Path, port: u16) -> Vec<Value> {
        let mut list = vec![bridge(leases, self != Self::Plain)];
        if self == Self::Chain {
            let limit = json!({"ingressRate": 80_000_000, "ingressBurst": 8_000_000, "egressRate": 80_000_000, "egressBurst": 8_000_000});
            list.extend([
                portmap(port),
                plugin("firewall", json!({})),
                plugin("tuning", json!({"sysctl": {"net.ipv4.conf.all.log_martians": "1"}})),
                plugin("bandwidth", json!({"runtimeConfig": {"bandwidth": limit}})),
            ]);
        }
        list
    }
}

/// A bridge as clusters have it.
pub(super) fn bridge(leases: &Path, masquerade: bool) -> Value {
    plugin(
        "bridge",
        json!({
            "bridge": "cni0", "isDefaultGateway": true, "hairpinMode": true, "ipMasq": masquerade,
            "ipam": {"type": "host-local", "dataDir": leases, "ranges": [[{"subnet": "10.88.0.0/15"}]]}
        }),
    )
}

/// One published port.
pub(super) fn portmap(port: u16) -> Value {
    let mappings = json!([{"hostPort": port, "containerPort": 80, "protocol": "tcp"}]);
    plugin("portmap", json!({"snat": true, "runtimeConfig": {"portMappings": mappings}}))
}

pub(super) fn plugin(name: &str, fields: Value) -> Value {
    let mut config = json!({"cniVersion": "1.0.0", "name": "bench", "type": name});
    if let (Some(config), Value::Object(fields)) = (config.as_object_mut(), fields) {
        config.extend(fields);
    }
    config
}

/// ADD of a whole list: the time its processes took, and the last result.
pub(super) fn add(suite: &Suite, node: &Node, list: &[Value], id: &str, pod: &Place) -> Result<(Duration, Value)> {
    let (mut took, mut result) = (Duration::ZERO, Value::Null);
    for config in list {
        let (time, stdout) = call(suite, node, "ADD", &with_result(config, &result), id, pod)?;
        took += time;
        result = serde_json::from_slice(&stdout).with_context(|| format!("read the result of {}", config["type"]))?;
    }
    Ok((took, result))
}

/// DEL of a whole list, backwards, with the result: the time its processes took.
pub(super) fn del(
    suite: &Suite,
    node: &Node,
    list: &[Value],
    id: &str,
    pod: &Place,
    result: &Value,
) -> Result<Duration> {
    let turns = list.iter().rev().map(|config| call(suite, node, "DEL", &with_result(config, result), id, pod));
    turns.map(|turn| turn.map(|(took, _)| took)).sum()
}

fn with_result(config: &Value, result: &Value) -> Value {
    let mut config = config.clone();
    if !result.is_null() {
        config["prevResult"] = result.clone();
    }
    config
}

/// One call: from before the start of the process to its end. Everything around it (namespace, files) is ready before.
fn call(suite: &Suite, node: &Node, verb: &str, config: &Value, id: &str, pod: &Place) -> Result<(Duration, Vec<u8>)> {
    let (mut command, _input) = command(suite, node, verb, id, pod, config)?;
    let (took, output) = node.enter(|| {
        let start = Instant::now();
        let child = command.spawn().context("start a plugin")?;
        let output = child.wait_with_output().context("wait for a plugin")?;
        Ok((start.elapsed(), output))
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout);
        bail!("{} {verb} by {}: {}: {said}", suite.name, config["type"], output.status);
    }
    Ok((took, output.stdout))
}

/// The plugin with its configuration in a file as standard input, and the environment of a runtime.
pub(super) fn command(
    suite: &Suite,
    node: &Node,
    verb: &str,
    id: &str,
    pod: &Place,
    config: &Value,
) -> Result<(Command, File)> {
    let plugin = config["type"].as_str().unwrap_or_default();
    let path = node.write(&format!("config-{plugin}-{verb}.json"), config.to_string())?;
    let input = File::open(&path).with_context(|| format!("open {}", path.display()))?;
    let mut command = Command::new(suite.binary(plugin));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("CNI_PATH", &suite.bin);
    command.env("CNI_COMMAND", verb).env("CNI_CONTAINERID", id).env("CNI_NETNS", pod.netns()).env("CNI_IFNAME", "eth0");
    command.stdin(input.try_clone()?).stdout(Stdio::piped()).stderr(Stdio::null()).current_dir("/");
    Ok((command, input))
}
