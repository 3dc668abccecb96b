//! ADD and DEL one at a time.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::kernel::{index_of, remove_link};
use super::list::{self, Kind};
use super::{Pair, Series};
use crate::cni::Suite;
use crate::lab::{Lab, Node, Place, Pod};

/// What an ADD may take, as a part of the reference's.
const ADD: [f64; 3] = [0.25, 0.125, 0.125];
/// What a DEL may take, as a multiple of what the kernel takes to remove the same devices for a program that does nothing
/// else.
const DEL: [f64; 3] = [1.10, 1.15, 1.25];

/// ADD and DEL of one pod per suite, again and again on the same namespaces: making and removing namespaces between the
/// samples would put the kernel's clean-up of the last round into the next one.
pub(super) fn run(rounds: usize) -> Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    for (kind, (add_bar, del_bar)) in Kind::ALL.into_iter().zip(ADD.into_iter().zip(DEL)) {
        // Five processes of the reference take their time.
        let rounds = if kind == Kind::Chain { rounds.div_ceil(3) } else { rounds };
        let what = kind.name();
        eprintln!("bridge and host-local, {what}: {rounds} rounds");
        let [reference, ours, tool, message] = measure(rounds, kind).with_context(|| format!("bench {what}"))?;
        let (add, del) = (format!("ADD {what}"), format!("DEL {what}"));
        pairs.push(Pair::new("cni-add", add, "ms", &ours.add, ("reference", &reference.add)).bar(add_bar));
        pairs.push(Pair::new("cni-del", &del, "ms", &ours.del, ("reference", &reference.del)));
        pairs.push(Pair::new("cni-del", &del, "ms", &ours.del, ("ip link del", &tool.del)).bar(del_bar));
        pairs.push(Pair::new("cni-del", &del, "ms", &ours.del, ("one message", &message.del)));
        pairs.push(Pair::new(
            "cni-del",
            format!("{del}, the reference"),
            "ms",
            &reference.del,
            ("ip link del", &tool.del),
        ));
    }
    Ok(pairs)
}

/// The samples of one side, in ms.
#[derive(Default)]
struct Side {
    add: Series,
    del: Series,
}

/// The four sides: the reference, ours, and two pods of ours whose devices the kernel just removes: asked by a program that
/// does nothing else, and by one message of a program that runs already (which the tick and the grace periods favour: a
/// process that was just started has set one going).
fn measure(rounds: usize, kind: Kind) -> Result<[Side; 4]> {
    let lab = Lab::new("bench-cni")?;
    // On a real disk: a lease that is not on one costs nothing to write down.
    let leases = tempfile::tempdir_in("/var/tmp").context("make a directory for leases in /var/tmp")?;
    let suites = [Suite::reference()?, Suite::ours()?, Suite::ours()?, Suite::ours()?];
    let mut places: Vec<(Suite, Node, Pod, Vec<Value>)> = Vec::new();
    for (name, suite) in ["reference", "ours", "tool", "message"].into_iter().zip(suites) {
        let node = lab.node(name)?;
        let pod = lab.pod(&node, &format!("{name}-pod"))?;
        let configs = kind.list(&leases.path().join(name), 8080);
        // A pod that stays: the bridge keeps a port, and tables and chains are there, as on a node in use.
        let resident = lab.pod(&node, &format!("{name}-resident"))?;
        list::add(&suite, &node, &kind.list(&leases.path().join(name), 8079), "resident", &resident)?;
        places.push((suite, node, pod, configs));
    }
    let mut sides: [Side; 4] = std::array::from_fn(|_| Side::default());
    // The first rounds warm caches and are not counted.
    for round in 0..rounds + 3 {
        for step in 0..4 {
            let index = (round + step) % 4;
            let (suite, node, pod, configs) = &places[index];
            let id = format!("container-{round}");
            let (add, result) = list::add(suite, node, configs, &id, pod)?;
            let link = index_of(pod, "eth0")?;
            let ifb = ifb_of(&result);
            let del = match index {
                2 | 3 => {
                    let mut took = Duration::ZERO;
                    // Device after device, as plugin after plugin does it.
                    let remove = |place: &Place, device: &str, link: i32| {
                        if index == 2 { run_ip(place, device) } else { remove_link(place, link) }
                    };
                    if let Some(ifb) = &ifb {
                        let link = index_of(node, ifb)?;
                        took += remove(node, ifb, link)?;
                    }
                    took += remove(pod, "eth0", link)?;
                    list::del(suite, node, configs, &id, pod, &result)?;
                    took
                }
                _ => list::del(suite, node, configs, &id, pod, &result)?,
            };
            if round >= 3 {
                sides[index].add.push(add.as_secs_f64() * 1000.0);
                sides[index].del.push(del.as_secs_f64() * 1000.0);
            }
        }
    }
    Ok(sides)
}

/// The device that the result lists for the limit of what a pod sends.
fn ifb_of(result: &Value) -> Option<String> {
    let links = result["interfaces"].as_array()?;
    links.iter().filter_map(|link| link["name"].as_str()).find(|name| name.starts_with("bwp")).map(str::to_owned)
}

/// `ip link del`, timed as a plugin is.
fn run_ip(place: &Place, device: &str) -> Result<Duration> {
    let mut command = Command::new("ip");
    command.args(["link", "del", "dev", device]).stdin(Stdio::null()).current_dir("/");
    place.enter(|| {
        let start = Instant::now();
        let status = command.status().context("start ip")?;
        let took = start.elapsed();
        if !status.success() {
            bail!("ip link del: {status}");
        }
        Ok(took)
    })
}
