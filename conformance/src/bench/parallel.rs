//! A hundred at once: what a node does when it comes up.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::cni::{command, config};
use super::{Pair, Series};
use crate::cni::Suite;
use crate::lab::{Lab, Node, Pod};

/// Pods added at the same time.
const PODS: usize = 100;

pub(super) fn run(rounds: usize) -> Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    for (what, masquerade) in [("plain", false), ("with masquerade", true)] {
        eprintln!("{PODS} pods at once {what}: {rounds} rounds");
        let lab = Lab::new("bench-parallel")?;
        let leases = tempfile::tempdir_in("/var/tmp").context("make a directory for leases in /var/tmp")?;
        let mut sides = Vec::new();
        for suite in [Suite::reference()?, Suite::ours()?] {
            let node = lab.node(suite.name)?;
            let pods: Vec<Pod> =
                (0..PODS).map(|number| lab.pod(&node, &format!("{}-{number}", suite.name))).collect::<Result<_>>()?;
            sides.push((suite, node, pods, [Series::default(), Series::default()]));
        }
        for round in 0..rounds {
            for step in 0..2 {
                let (suite, node, pods, series) = &mut sides[(round + step) % 2];
                let config = config(&leases.path().join(suite.name), masquerade);
                for (verb, series) in ["ADD", "DEL"].into_iter().zip(series.iter_mut()) {
                    series.push(all_at_once(suite, node, pods, verb, &config)?.as_secs_f64() * 1000.0);
                }
            }
        }
        let [(_, _, _, reference), (_, _, _, ours)] = &sides[..] else { bail!("two sides") };
        for (index, verb) in ["ADD", "DEL"].into_iter().enumerate() {
            let what = format!("{PODS} x {verb} {what}");
            pairs.push(Pair::new("cni-parallel", what, "ms", &ours[index], ("reference", &reference[index])));
        }
    }
    Ok(pairs)
}

/// From the first start to the last end. Every one must succeed, and no address may be given twice.
fn all_at_once(suite: &Suite, node: &Node, pods: &[Pod], verb: &str, config: &serde_json::Value) -> Result<Duration> {
    let commands = pods.iter().map(|pod| command(suite, node, verb, &format!("id-{}", pod.name()), pod, config));
    let mut commands = commands.collect::<Result<Vec<_>>>()?;
    let (took, outputs) = node.enter(|| {
        let start = Instant::now();
        let children = commands.iter_mut().map(|(command, _)| command.spawn()).collect::<std::io::Result<Vec<_>>>()?;
        let outputs =
            children.into_iter().map(|child| child.wait_with_output()).collect::<std::io::Result<Vec<_>>>()?;
        Ok((start.elapsed(), outputs))
    })?;
    let mut addresses = Vec::new();
    for output in outputs {
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            bail!("{} {verb}: {}: {text}", suite.name, output.status);
        }
        if verb == "ADD" {
            let result: serde_json::Value = serde_json::from_str(&text).context("read a result")?;
            addresses.push(result["ips"][0]["address"].as_str().unwrap_or_default().to_owned());
        }
    }
    addresses.sort();
    if let Some(pair) = addresses.windows(2).find(|pair| pair[0] == pair[1]) {
        bail!("{} gave {} twice", suite.name, pair[0]);
    }
    Ok(took)
}
