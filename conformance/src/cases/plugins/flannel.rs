//! `flannel`, which writes another plugin's configuration and calls it.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::super::case::{ALL, LATEST, LISTS, case, of};
use super::super::look::{addresses, device, devices, has_route, ips};
use super::super::stage::{NETWORK, Stage, merge};
use crate::cases::Case;

const SOURCE: &str = "flannel-io/cni-plugin README";

pub(super) fn cases() -> Vec<Case> {
    of(
        "flannel",
        vec![
            case(
                "FL1",
                "ADD",
                ALL,
                (SOURCE, "subnet.env becomes bridge and host-local: subnet, mtu, routes, gateway"),
                add,
            ),
            case("FL2", "ADD", LISTS, (SOURCE, "both families"), dual),
            case("FL3", "ADD", LATEST, (SOURCE, "fields of delegate and ipam win"), delegate),
            case(
                "FL4",
                "ADD",
                LATEST,
                (SOURCE, "without subnet.env, or without one of its lines, it is refused and says so"),
                missing,
            ),
            case("FL5", "ADD", LATEST, (SOURCE, "a delegate with name or ipam is refused"), bad_delegate),
            case("FL6", "DEL", ALL, (SOURCE, "what ADD kept is deleted, although subnet.env has changed"), changed),
            case("FL7", "DEL", LATEST, (SOURCE, "twice, never added, or with a damaged file: success"), again),
        ],
    )
}

fn config(stage: &Stage, more: Value) -> Result<Value> {
    stage.need(&["bridge", "host-local"])?;
    let mut config = stage.net("flannel", json!({"delegate": {"isDefaultGateway": true, "hairpinMode": true}}));
    merge(&mut config, more);
    Ok(config)
}

fn environment(stage: &Stage, text: &str) -> Result<()> {
    stage.node.write("run/flannel/subnet.env", text).map(|_| ())
}

const ENVIRONMENT: &str =
    "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.3.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";

fn add(stage: &mut Stage) -> Result<()> {
    environment(stage, ENVIRONMENT)?;
    let (pod, config) = (stage.pod("p")?, config(stage, json!({}))?);
    let result = stage.add(&pod, &config)?;
    ensure!(ips(&result) == ["10.244.3.2/24"], "{:?}", ips(&result));
    ensure!(addresses(&stage.node, "cni0")? == ["10.244.3.1/24"], "{:?}", addresses(&stage.node, "cni0")?);
    ensure!(device(&pod, "eth0")?["mtu"] == 1450, "mtu is {}", device(&pod, "eth0")?["mtu"]);
    has_route(&pod, "10.244.0.0/16 via 10.244.3.1")?;
    has_route(&pod, "default via 10.244.3.1")?;
    stage.silently("DEL", &pod, &config)?;
    ensure!(devices(&pod)? == ["lo"], "the pod has {:?}", devices(&pod)?);
    stage.no_leases()
}

fn dual(stage: &mut Stage) -> Result<()> {
    environment(
        stage,
        &format!("{ENVIRONMENT}FLANNEL_IPV6_NETWORK=fd00:244::/48\nFLANNEL_IPV6_SUBNET=fd00:244:0:3::1/64\n"),
    )?;
    let (pod, config) = (stage.pod("p")?, config(stage, json!({}))?);
    let result = stage.add(&pod, &config)?;
    ensure!(ips(&result) == ["10.244.3.2/24", "fd00:244:0:3::2/64"], "{:?}", ips(&result));
    has_route(&pod, "fd00:244::/48 via fd00:244:0:3::1")
}

fn delegate(stage: &mut Stage) -> Result<()> {
    environment(stage, ENVIRONMENT)?;
    let pod = stage.pod("p")?;
    let more = json!({
        "delegate": {"bridge": "mynet", "mtu": 1400},
        "ipam": {"dataDir": stage.node.dir().join("data"), "routes": [{"dst": "192.0.2.0/24"}]}
    });
    let config = config(stage, more)?;
    stage.add(&pod, &config)?;
    ensure!(device(&pod, "eth0")?["mtu"] == 1400, "mtu is {}", device(&pod, "eth0")?["mtu"]);
    ensure!(devices(&stage.node)?.contains(&"mynet".into()), "{:?}", devices(&stage.node)?);
    ensure!(stage.node.dir().join("data").join(NETWORK).join("10.244.3.2").is_file(), "dataDir was not used");
    has_route(&pod, "192.0.2.0/24 via 10.244.3.1")
}

fn missing(stage: &mut Stage) -> Result<()> {
    let (pod, config) = (stage.pod("p")?, config(stage, json!({}))?);
    stage.refused_for("ADD", &pod, &config, &["/run/flannel/subnet.env"])?;
    for (line, name) in
        [("FLANNEL_SUBNET", "FLANNEL_SUBNET"), ("FLANNEL_MTU", "FLANNEL_MTU"), ("FLANNEL_IPMASQ", "FLANNEL_IPMASQ")]
    {
        let text: String =
            ENVIRONMENT.lines().filter(|one| !one.starts_with(line)).fold(String::new(), |text, one| text + one + "\n");
        environment(stage, &text)?;
        stage.refused_for("ADD", &pod, &config, &["is missing", name])?;
    }
    stage.no_leases()
}

fn bad_delegate(stage: &mut Stage) -> Result<()> {
    environment(stage, ENVIRONMENT)?;
    let pod = stage.pod("p")?;
    for (more, words) in [
        (json!({"name": "x"}), "name"),
        (json!({"ipam": {"type": "host-local"}}), "ipam"),
        (json!({"type": 5}), "type"),
    ] {
        let config = config(stage, json!({"delegate": more}))?;
        stage.refused_for("ADD", &pod, &config, &["delegate", words])?;
    }
    Ok(())
}

fn changed(stage: &mut Stage) -> Result<()> {
    environment(stage, ENVIRONMENT)?;
    let (pod, config) = (stage.pod("p")?, config(stage, json!({}))?);
    stage.add(&pod, &config)?;
    std::fs::remove_file(stage.node.run_dir().join("flannel/subnet.env")).context("remove subnet.env")?;
    stage.silently("DEL", &pod, &config)?;
    ensure!(devices(&pod)? == ["lo"], "the pod has {:?}", devices(&pod)?);
    stage.no_leases()
}

fn again(stage: &mut Stage) -> Result<()> {
    environment(stage, ENVIRONMENT)?;
    let (pod, config) = (stage.pod("p")?, config(stage, json!({}))?);
    stage.silently("DEL", &pod, &config)?;
    stage.add(&pod, &config)?;
    for _ in 0..2 {
        stage.silently("DEL", &pod, &config)?;
    }
    stage.node.write("var-lib/cni/flannel/p", "no json")?;
    stage.silently("DEL", &pod, &config)
}
