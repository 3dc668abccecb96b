//! Many at once: what a node does when it comes up, and when it is drained.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::list::{bridge, command};
use super::{Pair, Series};
use crate::cni::Suite;
use crate::lab::{Lab, Node, Pod};

/// What ADD and DEL may take, as parts of the reference's.
type Bars = (f64, Option<f64>);
/// Pods at the same time, and the bars plain and with masquerade.
const STORMS: [(usize, [Bars; 2]); 2] =
    [(100, [(0.5, Some(0.75)), (0.25, Some(1.0 / 6.0))]), (500, [(0.5, None), (0.25, None)])];

pub(super) fn run(rounds: usize) -> Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    for (pods, bars) in STORMS {
        // What takes five times as long is looked at once.
        let rounds = if pods > 100 { rounds.div_ceil(3) } else { rounds };
        let lab = Lab::new("bench-parallel")?;
        let mut sides = Vec::new();
        for suite in [Suite::reference()?, Suite::ours()?] {
            let node = lab.node(suite.name)?;
            let places: Vec<Pod> =
                (0..pods).map(|number| lab.pod(&node, &format!("{}-{number}", suite.name))).collect::<Result<_>>()?;
            sides.push((suite, node, places));
        }
        for ((what, masquerade), (add_bar, del_bar)) in
            [("plain", false), ("with masquerade", true)].into_iter().zip(bars)
        {
            eprintln!("{pods} pods at once, {what}: {rounds} rounds");
            let [[reference_add, reference_del], [ours_add, ours_del]] = storm(&sides, masquerade, rounds)?;
            let add = Pair::new(
                "cni-parallel",
                format!("{pods} x ADD {what}"),
                "ms",
                &ours_add,
                ("reference", &reference_add),
            );
            let del = Pair::new(
                "cni-parallel",
                format!("{pods} x DEL {what}"),
                "ms",
                &ours_del,
                ("reference", &reference_del),
            );
            pairs.push(add.bar(add_bar));
            pairs.push(del_bar.map_or(del.clone(), |bar| del.bar(bar)));
        }
    }
    Ok(pairs)
}

/// ADD and DEL of the reference, then of ours.
fn storm(sides: &[(Suite, Node, Vec<Pod>)], masquerade: bool, rounds: usize) -> Result<[[Series; 2]; 2]> {
    let leases = tempfile::tempdir_in("/var/tmp").context("make a directory for leases in /var/tmp")?;
    let mut series: [[Series; 2]; 2] = Default::default();
    for round in 0..rounds {
        for step in 0..2 {
            let side = (round + step) % 2;
            let (suite, node, pods) = &sides[side];
            let config = bridge(&leases.path().join(suite.name), masquerade);
            for (verb, series) in ["ADD", "DEL"].into_iter().zip(series[side].iter_mut()) {
                series.push(all_at_once(suite, node, pods, verb, &config)?.as_secs_f64() * 1000.0);
            }
        }
    }
    Ok(series)
}

/// From the first start to the last end. Every one must succeed, and no address may be given twice.
fn all_at_once(suite: &Suite, node: &Node, pods: &[Pod], verb: &str, config: &Value) -> Result<Duration> {
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
            let result: Value = serde_json::from_str(&text).context("read a result")?;
            addresses.push(result["ips"][0]["address"].as_str().unwrap_or_default().to_owned());
        }
    }
    addresses.sort();
    if let Some(pair) = addresses.windows(2).find(|pair| pair[0] == pair[1]) {
        bail!("{} gave {} twice", suite.name, pair[0]);
    }
    Ok(took)
}
