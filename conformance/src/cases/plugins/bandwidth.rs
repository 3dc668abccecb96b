//! `bandwidth`, behind `bridge`.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::super::case::{CHECKS, LATEST, LISTS, case, of};
use super::super::look::{devices, host_end};
use super::super::stage::{Stage, merge, with_result};
use crate::cases::Case;
use crate::cni::Call;

const UPSTREAM: &str = "upstream bandwidth tests";

pub(super) fn cases() -> Vec<Case> {
    of(
        "bandwidth",
        vec![
            case(
                "T85.both",
                "ADD",
                LISTS,
                (UPSTREAM, "both directions: the queues' numbers, the ifb in the result, gone after DEL"),
                both,
            ),
            case("T85.ingress", "ADD", LISTS, (UPSTREAM, "towards the container only: no ifb"), ingress),
            case("T85.egress", "ADD", LISTS, (UPSTREAM, "out of the container only: no queue on its pair"), egress),
            case(
                "T85.runtime",
                "ADD",
                LISTS,
                (UPSTREAM, "runtimeConfig, and what stands in the configuration before it"),
                runtime,
            ),
            case("T85.through", "ADD", LISTS, (UPSTREAM, "without limits the result before it is handed on"), through),
            case("T85.bad", "ADD", LATEST, (UPSTREAM, "bad numbers are refused in the known words"), bad),
            case(
                "T85.result",
                "ADD",
                LATEST,
                (UPSTREAM, "a result without the pair is refused in the known words"),
                bad_results,
            ),
            case("T85.old", "ADD", &["0.2.0"], (UPSTREAM, "versions below 0.3.0 are refused"), old),
            case("T85.check", "CHECK", CHECKS, (UPSTREAM, "silent after ADD, an error when a queue is gone"), check),
            case("T85.del", "DEL", LISTS, (UPSTREAM, "twice, and without namespace: the ifb goes"), del),
            case(
                "T85.two",
                "ADD",
                LATEST,
                ("keys without the interface's name collide", "two interfaces of one container on one network"),
                two_interfaces,
            ),
            case(
                "trap8",
                "ADD",
                LISTS,
                (
                    "chained plugins rely on it",
                    "the ifb is the last interface of the result; the others keep their place",
                ),
                order,
            ),
        ],
    )
}

const RATE: u64 = 8_000_000;
const BURST: u64 = 8_000_000;

fn list(stage: &Stage, more: Value) -> Result<Vec<Value>> {
    stage.need(&["bridge", "host-local"])?;
    let ipam = json!({"type": "host-local", "subnet": "10.88.0.0/24"});
    let mut bandwidth = stage.net("bandwidth", json!({}));
    merge(&mut bandwidth, more);
    Ok(vec![stage.net("bridge", json!({"bridge": "cni0", "isDefaultGateway": true, "ipam": ipam})), bandwidth])
}

fn limits() -> Value {
    json!({"ingressRate": RATE, "ingressBurst": BURST, "egressRate": RATE, "egressBurst": BURST})
}

/// The token bucket of a device: rate in bytes per second and burst in bytes.
fn bucket(stage: &Stage, device: &str) -> Result<Option<(u64, u64)>> {
    let queues = stage.node.json(&format!("tc -j qdisc show dev {device}"))?;
    let tbf = queues.as_array().into_iter().flatten().find(|queue| queue["kind"] == "tbf").cloned();
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    Ok(tbf.map(|queue| (number(&queue["options"]["rate"]), number(&queue["options"]["burst"]))))
}

fn is_about(found: Option<(u64, u64)>) -> bool {
    // The burst is kept as the time it takes, in ticks: a round trip costs some bytes.
    found.is_some_and(|(rate, burst)| rate == RATE / 8 && burst.abs_diff(BURST / 8) < 1000)
}

fn ifb_of(result: &Value) -> Option<String> {
    let links = result["interfaces"].as_array()?;
    links.iter().filter_map(|link| link["name"].as_str()).find(|name| name.starts_with("bwp")).map(str::to_owned)
}

fn both(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let list = list(stage, limits())?;
    let result = stage.add_list(&pod, &list)?;
    let (port, Some(ifb)) = (host_end(&result)?, ifb_of(&result)) else { anyhow::bail!("no ifb in {result}") };
    ensure!(is_about(bucket(stage, &port)?), "{port}: {:?}", bucket(stage, &port)?);
    ensure!(is_about(bucket(stage, &ifb)?), "{ifb}: {:?}", bucket(stage, &ifb)?);
    let filter = stage.node.sh(&format!("tc filter show dev {port} ingress"))?;
    ensure!(filter.contains(&ifb), "nothing sends {port} to {ifb}: {filter}");
    if stage.has_check() {
        stage.all("CHECK", &pod, &list, &result)?;
    }
    stage.all("DEL", &pod, &list, &result)?;
    ensure!(!devices(&stage.node)?.contains(&ifb), "{ifb} is left");
    Ok(())
}

fn ingress(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let list = list(stage, json!({"ingressRate": RATE, "ingressBurst": BURST}))?;
    let result = stage.add_list(&pod, &list)?;
    ensure!(is_about(bucket(stage, &host_end(&result)?)?), "no limit towards the container");
    ensure!(ifb_of(&result).is_none(), "{result}");
    stage.all("DEL", &pod, &list, &result)
}

fn egress(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let list = list(stage, json!({"egressRate": RATE, "egressBurst": BURST}))?;
    let result = stage.add_list(&pod, &list)?;
    ensure!(bucket(stage, &host_end(&result)?)?.is_none(), "a limit towards the container");
    let ifb = ifb_of(&result).unwrap_or_default();
    ensure!(is_about(bucket(stage, &ifb)?), "{ifb}: no limit out of the container");
    stage.all("DEL", &pod, &list, &result)
}

fn runtime(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let mut by_runtime = list(stage, json!({"runtimeConfig": {"bandwidth": limits()}}))?;
    let result = stage.add_list(&pod, &by_runtime)?;
    ensure!(is_about(bucket(stage, &host_end(&result)?)?), "no limit by runtimeConfig");
    stage.all("DEL", &pod, &by_runtime, &result)?;
    by_runtime[1]["ingressRate"] = json!(16_000_000);
    by_runtime[1]["ingressBurst"] = json!(BURST);
    let result = stage.add_list(&pod, &by_runtime)?;
    let found = bucket(stage, &host_end(&result)?)?;
    ensure!(found.is_some_and(|(rate, _)| rate == 2_000_000) && ifb_of(&result).is_none(), "{found:?} {result}");
    Ok(())
}

fn through(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let list = list(stage, json!({}))?;
    let before = stage.add(&pod, &list[0])?;
    let after = stage.add(&pod, &with_result(&list[1], &before))?;
    ensure!(after == before, "{after}");
    Ok(())
}

fn bad(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    for (more, words) in [
        (json!({"ingressRate": 8}), "if rate is set, burst must also be set"),
        (json!({"egressBurst": 8}), "if burst is set, rate must also be set"),
        (json!({"ingressRate": 8, "ingressBurst": 8 * 0x1_0000_0000u64}), "burst cannot be more than 4GB"),
    ] {
        let config = stage.net("bandwidth", more);
        stage.refused_for("ADD", &pod, &config, &[words])?;
    }
    let config = stage.net("bandwidth", limits());
    stage.refused_for("ADD", &pod, &config, &["must be called as chained plugin"])
}

fn bad_results(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let list = list(stage, limits())?;
    let result = stage.add(&pod, &list[0])?;
    let mut none = result.clone();
    none["interfaces"] = json!([]);
    stage.refused_for("ADD", &pod, &with_result(&list[1], &none), &["no interfaces provided"])?;
    let mut inside = result.clone();
    inside["interfaces"] = json!([result["interfaces"][2]]);
    inside["ips"][0]["interface"] = 0.into();
    stage.refused_for(
        "ADD",
        &pod,
        &with_result(&list[1], &inside),
        &["no veth peer of container interface found in host ns"],
    )?;
    stage.refused_for("ADD", &stage.pod("empty")?, &with_result(&list[1], &result), &["eth0"])
}

fn old(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = stage.net("bandwidth", limits());
    stage.refused_for("ADD", &pod, &config, &["incompatible CNI versions"])
}

fn check(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let list = list(stage, limits())?;
    let result = stage.add_list(&pod, &list)?;
    let config = with_result(&list[1], &result);
    stage.silently("CHECK", &pod, &config)?;
    stage.node.sh(&format!("tc qdisc del dev {} root", host_end(&result)?))?;
    stage.refused("CHECK", &pod, &config).map(|_| ())
}

fn del(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let list = list(stage, limits())?;
    let result = stage.add_list(&pod, &list)?;
    pod.remove_netns(&stage.lab)?;
    for _ in 0..2 {
        stage.silently("DEL", &pod, &list[1])?;
    }
    let ifb = ifb_of(&result).unwrap_or_default();
    ensure!(!devices(&stage.node)?.contains(&ifb), "{ifb} is left");
    Ok(())
}

fn two_interfaces(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let list = list(stage, limits())?;
    let mut ifbs = Vec::new();
    for ifname in ["eth0", "eth1"] {
        let call = Call { ifname, ..Call::new("p", &pod) };
        let bare = stage.add_as(&call, &pod, &list[0])?;
        let result = stage.add_as(&call, &pod, &with_result(&list[1], &bare))?;
        ifbs.push(ifb_of(&result).unwrap_or_default());
    }
    stage.silently("DEL", &pod, &list[1])?;
    let left = devices(&stage.node)?;
    ensure!(!left.contains(&ifbs[0]) && left.contains(&ifbs[1]), "after DEL of eth0 the node has {left:?}");
    Ok(())
}

fn order(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let list = list(stage, limits())?;
    let before = stage.add(&pod, &list[0])?;
    let after = stage.add(&pod, &with_result(&list[1], &before))?;
    let (Some(old), Some(new)) = (before["interfaces"].as_array(), after["interfaces"].as_array()) else {
        anyhow::bail!("no interfaces in {after}")
    };
    ensure!(new.len() == old.len() + 1 && new[..old.len()] == old[..], "{after}");
    ensure!(after["ips"] == before["ips"], "{after}");
    Ok(())
}
