//! ADD and DEL one at a time.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::kernel::{index_of, remove_link};
use super::{Pair, Series};
use crate::cni::Suite;
use crate::lab::{Lab, Node, Place, Pod};

/// ADD and DEL of one pod per suite, again and again on the same namespaces: making and removing namespaces between the
/// samples would put the kernel's clean-up of the last round into the next one.
pub(super) fn run(rounds: usize) -> Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    for (what, masquerade, bar) in [("plain", false, 0.5), ("with masquerade", true, 0.25)] {
        eprintln!("bridge and host-local {what}: {rounds} rounds");
        let [reference, ours, tool, message] = measure(rounds, masquerade).with_context(|| format!("bench {what}"))?;
        pairs
            .push(Pair::new("cni-add", format!("ADD {what}"), "ms", &ours.add, ("reference", &reference.add)).bar(bar));
        pairs.push(Pair::new("cni-del", format!("DEL {what}"), "ms", &ours.del, ("reference", &reference.del)));
        if !masquerade {
            pairs.push(
                Pair::new("cni-del", format!("DEL {what}"), "ms", &ours.del, ("ip link del", &tool.del)).bar(1.15),
            );
            pairs.push(Pair::new("cni-del", format!("DEL {what}"), "ms", &ours.del, ("one message", &message.del)));
        }
    }
    Ok(pairs)
}

/// The samples of one side, in ms.
#[derive(Default)]
struct Side {
    add: Series,
    del: Series,
}

/// The four sides: the reference, ours, and two pods of ours whose veth pair the kernel just removes: asked by a program that
/// does nothing else, and by one message of a program that runs already (which the tick and the grace periods favour: a
/// process that was just started has set one going).
fn measure(rounds: usize, masquerade: bool) -> Result<[Side; 4]> {
    let lab = Lab::new("bench-cni")?;
    // On a real disk: a lease that is not on one costs nothing to write down.
    let leases = tempfile::tempdir_in("/var/tmp").context("make a directory for leases in /var/tmp")?;
    let suites = [Suite::reference()?, Suite::ours()?, Suite::ours()?, Suite::ours()?];
    let mut places: Vec<(Suite, Node, Pod, Value)> = Vec::new();
    for (name, suite) in ["reference", "ours", "tool", "message"].into_iter().zip(suites) {
        let node = lab.node(name)?;
        let pod = lab.pod(&node, &format!("{name}-pod"))?;
        let config = config(&leases.path().join(name), masquerade);
        // A pod that stays: the bridge keeps a port, as on a node in use.
        let resident = lab.pod(&node, &format!("{name}-resident"))?;
        timed(&suite, &node, "ADD", "resident", &resident, &config)?;
        places.push((suite, node, pod, config));
    }
    let mut sides: [Side; 4] = std::array::from_fn(|_| Side::default());
    // The first rounds warm caches and are not counted.
    for round in 0..rounds + 3 {
        for step in 0..4 {
            let index = (round + step) % 4;
            let (suite, node, pod, config) = &places[index];
            let id = format!("container-{round}");
            let add = timed(suite, node, "ADD", &id, pod, config)?;
            let link = index_of(pod, "eth0")?;
            let del = match index {
                2 | 3 => {
                    let took = if index == 2 { run_ip(pod)? } else { remove_link(pod, link)? };
                    timed(suite, node, "DEL", &id, pod, config)?;
                    took
                }
                _ => timed(suite, node, "DEL", &id, pod, config)?,
            };
            if round >= 3 {
                sides[index].add.push(add.as_secs_f64() * 1000.0);
                sides[index].del.push(del.as_secs_f64() * 1000.0);
            }
        }
    }
    Ok(sides)
}

/// A bridge as clusters have it; leases below `leases`.
pub(super) fn config(leases: &Path, masquerade: bool) -> Value {
    json!({
        "cniVersion": "1.0.0", "name": "bench", "type": "bridge", "bridge": "cni0",
        "isDefaultGateway": true, "hairpinMode": true, "ipMasq": masquerade,
        "ipam": {"type": "host-local", "dataDir": leases, "ranges": [[{"subnet": "10.88.0.0/16"}]]}
    })
}

/// One call: from before the start of the process to its end. Everything around it (namespace, files) is ready before.
fn timed(suite: &Suite, node: &Node, verb: &str, id: &str, pod: &Place, config: &Value) -> Result<Duration> {
    let (mut command, _input) = command(suite, node, verb, id, pod, config)?;
    node.enter(|| {
        let start = Instant::now();
        let mut child = command.spawn().context("start bridge")?;
        let status = child.wait().context("wait for bridge")?;
        let took = start.elapsed();
        if !status.success() {
            let mut said = String::new();
            child.stdout.take().map(|mut pipe| pipe.read_to_string(&mut said)).transpose()?;
            bail!("{} {verb}: {status}: {said}", suite.name);
        }
        Ok(took)
    })
}

/// `ip link del`, timed as a plugin is.
fn run_ip(pod: &Pod) -> Result<Duration> {
    let mut command = Command::new("ip");
    command.args(["link", "del", "dev", "eth0"]).stdin(Stdio::null()).current_dir("/");
    pod.enter(|| {
        let start = Instant::now();
        let status = command.status().context("start ip")?;
        let took = start.elapsed();
        if !status.success() {
            bail!("ip link del: {status}");
        }
        Ok(took)
    })
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
    let path = node.write(&format!("config-{verb}.json"), config.to_string())?;
    let input = File::open(&path).with_context(|| format!("open {}", path.display()))?;
    let mut command = Command::new(suite.binary("bridge"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("CNI_PATH", &suite.bin);
    command.env("CNI_COMMAND", verb).env("CNI_CONTAINERID", id).env("CNI_NETNS", pod.netns()).env("CNI_IFNAME", "eth0");
    command.stdin(input.try_clone()?).stdout(Stdio::piped()).stderr(Stdio::inherit()).current_dir("/");
    Ok((command, input))
}
