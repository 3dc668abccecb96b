//! What an ADD asks of the kernel: processes it starts, system calls it makes. Counted by `strace`, not timed.

use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::list::{self, Kind};
use super::{Pair, Series};
use crate::cni::Suite;
use crate::lab::{Lab, Node, Pod};

pub(super) fn run() -> Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    for kind in Kind::ALL {
        eprintln!("processes and system calls of ADD, {}", kind.name());
        let reference = count(&Suite::reference()?, kind)?;
        let ours = count(&Suite::ours()?, kind)?;
        let series = |value: usize| Series::from([value as f64]);
        let what = format!("processes started by ADD {}", kind.name());
        let pair =
            Pair::new("cni-calls", what, "", &series(ours.processes), ("reference", &series(reference.processes)));
        pairs.push(pair.bar(0.0));
        let what = format!("system calls of ADD {}", kind.name());
        pairs.push(Pair::new("cni-calls", what, "", &series(ours.calls), ("reference", &series(reference.calls))));
    }
    Ok(pairs)
}

#[derive(Clone, Copy, Default)]
struct Counts {
    /// Programs started besides the plugins of the list themselves, which the runtime starts.
    processes: usize,
    calls: usize,
}

/// The second ADD of a node: bridge, chains and tables are there.
fn count(suite: &Suite, kind: Kind) -> Result<Counts> {
    let lab = Lab::new("bench-calls")?;
    let node = lab.node(suite.name)?;
    let list = kind.list(&node.dir().join("leases"), 8080);
    let resident = lab.pod(&node, "resident")?;
    list::add(suite, &node, &kind.list(&node.dir().join("leases"), 8079), "resident", &resident)?;
    let pod = lab.pod(&node, "pod")?;
    let (mut counts, mut result) = (Counts::default(), Value::Null);
    for config in &list {
        let mut config = config.clone();
        if !result.is_null() {
            config["prevResult"] = result;
        }
        let (traced, stdout) = trace(suite, &node, &pod, &config)?;
        counts.processes += traced.processes;
        counts.calls += traced.calls;
        result = serde_json::from_slice(&stdout).context("read a result")?;
    }
    Ok(counts)
}

fn trace(suite: &Suite, node: &Node, pod: &Pod, config: &Value) -> Result<(Counts, Vec<u8>)> {
    let (command, input) = list::command(suite, node, "ADD", "traced", pod, config)?;
    let trace = node.scratch_file("trace");
    let mut strace = std::process::Command::new("strace");
    strace.args(["-f", "-qq", "-o"]).arg(&trace).arg(command.get_program());
    strace.env_clear().envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
    strace.stdin(input).stdout(Stdio::piped()).stderr(Stdio::inherit()).current_dir("/");
    let output = node.enter(|| {
        strace
            .spawn()
            .context("start strace (it comes with `cargo xtask setup`)")?
            .wait_with_output()
            .context("wait for strace")
    })?;
    if !output.status.success() {
        bail!("{} ADD by {}: {}", suite.name, config["type"], String::from_utf8_lossy(&output.stdout));
    }
    let text = std::fs::read_to_string(&trace).with_context(|| format!("read {}", trace.display()))?;
    let calls = text.lines().filter(|line| line.contains('(') && !line.contains("resumed>")).count();
    // The plugin itself was started by the runtime. A search along PATH that finds nothing starts nothing.
    let started = text.lines().filter(|line| line.contains(" execve(") && !line.contains(" = -1 ")).count();
    Ok((Counts { processes: started.saturating_sub(1), calls }, output.stdout))
}
