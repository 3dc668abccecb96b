//! What an ADD costs on a node that is full, beside an empty one.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::list::{self, bridge, plugin, portmap};
use super::{Pair, Series};
use crate::cni::Suite;
use crate::lab::{Lab, Node, Pod};

/// Within this a series is flat.
const FLAT: f64 = 1.10;
/// Leases that are there.
const LEASES: [u32; 3] = [0, 1_000, 60_000];
/// Pods with a published port that are there.
const PORTS: [u32; 2] = [0, 1_000];

/// ADD of `bridge` and `host-local` with leases of others in the directory.
pub(super) fn leases(rounds: usize) -> Result<Vec<Pair>> {
    eprintln!("ADD with {LEASES:?} leases: {rounds} rounds");
    let data = tempfile::tempdir_in("/var/tmp").context("make a directory for leases in /var/tmp")?;
    let lists = LEASES.map(|count| {
        let dir = data.path().join(count.to_string());
        fill(&dir.join("bench"), count).map(|()| vec![bridge(&dir, false)])
    });
    let lists = lists.into_iter().collect::<Result<Vec<_>>>()?;
    let series = measure("bench-leases", &lists, rounds, |_, _, _| Ok(()))?;
    let rows = LEASES.iter().zip(&series).skip(1).map(|(count, full)| {
        Pair::new("cni-leases", format!("ADD with {count} leases"), "ms", full, ("with none", &series[0])).bar(FLAT)
    });
    Ok(rows.collect())
}

/// ADD of `bridge`, `host-local` and `portmap` with published ports of others.
pub(super) fn ports(rounds: usize) -> Result<Vec<Pair>> {
    eprintln!("ADD with {PORTS:?} port-mapped pods: {rounds} rounds");
    let data = tempfile::tempdir_in("/var/tmp").context("make a directory for leases in /var/tmp")?;
    let lists = PORTS.map(|count| vec![bridge(&data.path().join(count.to_string()), false), portmap(8080)]);
    let series = measure("bench-ports", &lists, rounds, |suite, (node, pod), side| {
        for number in 0..PORTS[side] {
            publish(suite, node, pod, number)?;
        }
        Ok(())
    })?;
    let what = format!("ADD with {} port-mapped pods", PORTS[1]);
    Ok(vec![Pair::new("cni-ports", what, "ms", &series[1], ("with none", &series[0])).bar(FLAT)])
}

/// One node of ours for each list, prepared, then ADD and DEL in turn; the times of ADD.
fn measure(
    name: &str,
    lists: &[Vec<Value>],
    rounds: usize,
    prepare: impl Fn(&Suite, (&Node, &Pod), usize) -> Result<()>,
) -> Result<Vec<Series>> {
    let lab = Lab::new(name)?;
    let suite = Suite::ours()?;
    let mut places = Vec::new();
    for (side, list) in lists.iter().enumerate() {
        let node = lab.node(&format!("node-{side}"))?;
        let (pod, resident) = (lab.pod(&node, &format!("pod-{side}"))?, lab.pod(&node, &format!("resident-{side}"))?);
        prepare(&suite, (&node, &resident), side)?;
        // A pod that stays, so that everything is there on the empty node too.
        let mut standing = list.clone();
        if let Some(published) = standing.get_mut(1) {
            *published = portmap(8079);
        }
        list::add(&suite, &node, &standing, "resident", &resident)?;
        places.push((node, pod));
    }
    let mut series: Vec<Series> = lists.iter().map(|_| Series::default()).collect();
    for round in 0..rounds + 3 {
        for step in 0..lists.len() {
            let side = (round + step) % lists.len();
            let (node, pod) = &places[side];
            let id = format!("container-{round}");
            let (took, result) = list::add(&suite, node, &lists[side], &id, pod)?;
            list::del(&suite, node, &lists[side], &id, pod, &result)?;
            if round >= 3 {
                series[side].push(took.as_secs_f64() * 1000.0);
            }
        }
    }
    Ok(series)
}

/// Leases as the reference writes them, of containers that are somewhere else; the next one comes behind them.
fn fill(network: &Path, count: u32) -> Result<()> {
    fs::create_dir_all(network).with_context(|| format!("make {}", network.display()))?;
    let first = u32::from(std::net::Ipv4Addr::new(10, 88, 0, 2));
    for number in 0..count {
        let address = std::net::Ipv4Addr::from(first + number);
        fs::write(network.join(address.to_string()), format!("other-{number}\r\neth0"))?;
        if number + 1 == count {
            fs::write(network.join("last_reserved_ip.0"), address.to_string())?;
        }
    }
    Ok(())
}

/// A port of a pod that is there only as an address.
fn publish(suite: &Suite, node: &Node, pod: &Pod, number: u32) -> Result<()> {
    let address = std::net::Ipv4Addr::from(u32::from(std::net::Ipv4Addr::new(10, 89, 0, 2)) + number);
    let mut config = portmap(u16::try_from(10_000 + number).context("a port")?);
    config["prevResult"] = json!({"cniVersion": "1.0.0", "ips": [{"address": format!("{address}/15")}]});
    let config = plugin("portmap", config);
    list::add(suite, node, &[config], &format!("other-{number}"), pod).map(|_| ())
}
