//! GC and STATUS: what the newest version of the specification asks of every plugin.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::super::case::{LATEST, case, of};
use super::super::look::{answers, devices, ipv4, no_rule_of, rules, serve};
use super::super::stage::{NETWORK, Stage, merge, with_result};
use super::portmap;
use crate::cases::Case;
use crate::lab::Pod;

const GC: &str = "SPEC 1.1.0, GC";
const STATUS: &str = "SPEC 1.1.0, STATUS";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for plugin in super::NAMES {
        cases.extend(of(
            plugin,
            vec![
                case(
                    "gc.nothing",
                    "GC",
                    LATEST,
                    (GC, "without a list, or with nothing to do, it is silent and removes nothing"),
                    nothing,
                ),
                case("status.ready", "STATUS", LATEST, (STATUS, "a node that can serve is silent"), ready),
            ],
        ));
    }
    cases.extend(of(
        "host-local",
        vec![
            case(
                "gc.leases",
                "GC",
                LATEST,
                (GC, "leases of nobody go, leases of the list and of other networks stay"),
                leases,
            ),
            case("status.empty", "STATUS", LATEST, (STATUS, "code 50 when no address is left"), empty_pool),
        ],
    ));
    cases.extend(of(
        "bridge",
        vec![
            case(
                "gc.pods",
                "GC",
                LATEST,
                (GC, "lease, device and masquerade of nobody go; everybody else is served on"),
                |s| pods(s, "bridge"),
            ),
            case("status.empty", "STATUS", LATEST, (STATUS, "IPAM's answer is handed on"), bridge_status),
            case(
                "status.missing",
                "STATUS",
                LATEST,
                (STATUS, "an IPAM plugin that is not there is told"),
                missing_ipam,
            ),
        ],
    ));
    cases.extend(of(
        "ptp",
        vec![case("gc.pods", "GC", LATEST, (GC, "lease, device and masquerade of nobody go"), |s| pods(s, "ptp"))],
    ));
    cases.extend(of(
        "portmap",
        vec![case("gc.rules", "GC", LATEST, (GC, "published ports of nobody go, the others answer on"), ports)],
    ));
    cases.extend(of("firewall", vec![case("gc.rules", "GC", LATEST, (GC, "rules of nobody go"), firewall)]));
    cases.extend(of("bandwidth", vec![case("gc.ifbs", "GC", LATEST, (GC, "devices of nobody go"), bandwidth)]));
    cases.extend(of("tuning", vec![case("gc.files", "GC", LATEST, (GC, "what was kept for nobody goes"), tuning)]));
    cases
}

/// The list of attachments that are still somebody's, under both of its names.
fn valid(config: &Value, pods: &[&Pod]) -> Value {
    let list: Vec<Value> = pods.iter().map(|pod| json!({"containerID": pod.name(), "ifname": "eth0"})).collect();
    let mut config = config.clone();
    merge(&mut config, json!({"cni.dev/valid-attachments": list, "cni.dev/attachments": list}));
    config
}

fn bare(stage: &Stage) -> Value {
    let pool = json!({"type": "host-local", "subnet": "10.88.0.0/24"});
    match stage.plugin {
        "bridge" => stage.net("bridge", json!({"bridge": "cni0", "ipMasq": true, "isGateway": true, "ipam": pool})),
        "ptp" => stage.net("ptp", json!({"ipMasq": true, "ipam": pool})),
        "host-local" => stage.net("host-local", json!({"ipam": pool})),
        "static" => {
            stage.net("static", json!({"ipam": {"type": "static", "addresses": [{"address": "10.88.0.5/24"}]}}))
        }
        other => stage.net(other, json!({})),
    }
}

fn nothing(stage: &mut Stage) -> Result<()> {
    let (pod, config) = (stage.pod("p")?, bare(stage));
    stage.silently("GC", &pod, &config)?;
    stage.silently("GC", &pod, &valid(&config, &[&pod]))?;
    if ["bridge", "ptp", "host-local"].contains(&stage.plugin) {
        stage.add(&pod, &config)?;
        let (before, links) = (rules(&stage.node)?, devices(&stage.node)?);
        // The key is not there: nobody said who is valid, which is not the same as nobody.
        stage.silently("GC", &pod, &config)?;
        stage.silently("GC", &pod, &valid(&config, &[&pod]))?;
        ensure!(rules(&stage.node)? == before && devices(&stage.node)? == links, "something was removed");
        ensure!(stage.leases(NETWORK).len() == 1, "the lease was removed");
    }
    Ok(())
}

fn ready(stage: &mut Stage) -> Result<()> {
    if stage.plugin == "flannel" {
        let text =
            "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.3.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";
        stage.node.write("run/flannel/subnet.env", text)?;
    }
    let (pod, config) = (stage.pod("p")?, bare(stage));
    stage.silently("STATUS", &pod, &config)
}

fn leases(stage: &mut Stage) -> Result<()> {
    let config = bare(stage);
    let mut other = config.clone();
    other["name"] = "other".into();
    let (one, two) = (stage.pod("one")?, stage.pod("two")?);
    for config in [&config, &other] {
        stage.add(&one, config)?;
        stage.add(&two, config)?;
    }
    stage.node.write(&format!("var-lib/cni/networks/{NETWORK}/10.88.0.77"), "old-format")?;
    stage.silently("GC", &one, &valid(&config, &[&two]))?;
    let (here, there) = (stage.leases(NETWORK), stage.leases("other"));
    ensure!(here.len() == 1 && here.values().all(|text| text.starts_with("two")), "{here:?}");
    ensure!(there.len() == 2, "the other network has {there:?}");
    stage.silently("GC", &one, &valid(&config, &[]))?;
    stage.no_leases()
}

fn empty_pool(stage: &mut Stage) -> Result<()> {
    let config = stage.net("host-local", json!({"ipam": {"type": "host-local", "subnet": "10.88.0.0/30"}}));
    let pod = stage.pod("p")?;
    stage.silently("STATUS", &pod, &config)?;
    stage.add(&pod, &config)?;
    let (code, said) = stage.refused("STATUS", &pod, &config)?;
    ensure!(code == 50, "code {code}: {said}");
    stage.silently("DEL", &pod, &config)?;
    stage.silently("STATUS", &pod, &config)
}

fn bridge_status(stage: &mut Stage) -> Result<()> {
    let pool = json!({"type": "host-local", "subnet": "10.88.0.0/30"});
    let config = stage.net("bridge", json!({"bridge": "cni0", "ipam": pool}));
    let pod = stage.pod("p")?;
    stage.add(&pod, &config)?;
    let (code, said) = stage.refused("STATUS", &pod, &config)?;
    ensure!(code == 50, "code {code}: {said}");
    Ok(())
}

fn missing_ipam(stage: &mut Stage) -> Result<()> {
    let config = stage.net("bridge", json!({"bridge": "cni0", "ipam": {"type": "no-such-ipam"}}));
    let pod = stage.pod("p")?;
    stage.refused_for("STATUS", &pod, &config, &["no-such-ipam"])
}

fn pods(stage: &mut Stage, plugin: &str) -> Result<()> {
    stage.need(&["host-local"])?;
    let pool = json!({"type": "host-local", "subnet": "10.88.0.0/24"});
    let config = stage.net(plugin, json!({"bridge": "cni0", "isDefaultGateway": true, "ipMasq": true, "ipam": pool}));
    let (one, two) = (stage.pod("one")?, stage.pod("two")?);
    let gone = stage.add(&one, &config)?;
    let kept = stage.add(&two, &config)?;
    let links = devices(&stage.node)?.len();
    // The runtime lost it: no DEL, and the namespace is kept alive by somebody.
    stage.silently("GC", &two, &valid(&config, &[&two]))?;
    let leases = stage.leases(NETWORK);
    ensure!(leases.len() == 1 && leases.contains_key(&ipv4(&kept)?), "{leases:?}");
    ensure!(devices(&stage.node)?.len() == links - 1, "the node has {:?}", devices(&stage.node)?);
    no_rule_of(&stage.node, &[&ipv4(&gone)?])?;
    ensure!(rules(&stage.node)?.contains(&ipv4(&kept)?), "the masquerade of the other pod is gone");
    stage.silently("CHECK", &two, &with_result(&config, &kept))
}

fn ports(stage: &mut Stage) -> Result<()> {
    let mapping = |port: u16| json!([{"hostPort": port, "containerPort": 80, "protocol": "tcp"}]);
    let (one, two) = (stage.pod("one")?, stage.pod("two")?);
    let (first, second) =
        (portmap::list(stage, mapping(8081), json!({}))?, portmap::list(stage, mapping(8082), json!({}))?);
    stage.add_list(&one, &first)?;
    stage.add_list(&two, &second)?;
    let mut config = second[1].clone();
    config["runtimeConfig"] = Value::Null;
    stage.silently("GC", &two, &valid(&config, &[&two]))?;
    no_rule_of(&stage.node, &["8081"])?;
    let _server = serve(&two, &["tcp:80"])?;
    answers(&stage.node, "tcp:10.88.0.1:8082", &two)
}

fn firewall(stage: &mut Stage) -> Result<()> {
    let config = stage.net("firewall", json!({"backend": "iptables"}));
    let (one, two) = (stage.pod("one")?, stage.pod("two")?);
    for (pod, ip) in [(&one, "10.88.0.71"), (&two, "10.88.0.72")] {
        let result = json!({"cniVersion": stage.version, "interfaces": [{"name": "cni0"}], "ips": [{"address": format!("{ip}/24")}]});
        stage.add(pod, &with_result(&config, &result))?;
    }
    stage.silently("GC", &two, &valid(&config, &[&two]))?;
    no_rule_of(&stage.node, &["10.88.0.71"])?;
    ensure!(rules(&stage.node)?.contains("10.88.0.72"), "the rules of the other pod are gone");
    Ok(())
}

fn bandwidth(stage: &mut Stage) -> Result<()> {
    stage.need(&["bridge", "host-local"])?;
    let bridge =
        stage.net("bridge", json!({"bridge": "cni0", "ipam": {"type": "host-local", "subnet": "10.88.0.0/24"}}));
    let config = stage.net("bandwidth", json!({"egressRate": 8_000_000, "egressBurst": 8_000_000}));
    let (one, two) = (stage.pod("one")?, stage.pod("two")?);
    for pod in [&one, &two] {
        stage.add_list(pod, &[bridge.clone(), config.clone()])?;
    }
    stage.silently("GC", &two, &valid(&config, &[&two]))?;
    let ifbs = devices(&stage.node)?.iter().filter(|name| name.starts_with("bwp")).count();
    ensure!(ifbs == 1, "{ifbs} ifbs are there");
    Ok(())
}

fn tuning(stage: &mut Stage) -> Result<()> {
    stage.need(&["bridge"])?;
    let bridge = stage.net("bridge", json!({"bridge": "cni0"}));
    let directory = stage.node.dir().join("tuning");
    let config = stage.net("tuning", json!({"mtu": 1400, "dataDir": directory}));
    let (one, two) = (stage.pod("one")?, stage.pod("two")?);
    for pod in [&one, &two] {
        stage.add_list(pod, &[bridge.clone(), config.clone()])?;
    }
    one.remove_netns(&stage.lab)?;
    stage.silently("GC", &two, &valid(&config, &[&two]))?;
    ensure!(!directory.join("one_eth0.json").exists(), "one_eth0.json is left");
    ensure!(directory.join("two_eth0.json").exists(), "two_eth0.json is gone");
    Ok(())
}
