//! A node switched in place: what one directory's plugins made is deleted by the other's. These need `--peer`.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::super::case::{CHECKS, case, of};
use super::super::look::{devices, ipv4, no_rule_of};
use super::super::stage::Stage;
use crate::cases::Case;

const SWITCH: &str = "an upgrade, or the way back";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = of(
        "bridge",
        vec![
            case("switch.iptables", "DEL", CHECKS, (SWITCH, "a masquerade by iptables made by the other goes"), |s| {
                masquerade(s, "bridge", "iptables")
            }),
            case("switch.nftables", "DEL", CHECKS, (SWITCH, "a masquerade by nftables made by the other goes"), |s| {
                masquerade(s, "bridge", "nftables")
            }),
            case("switch.spoof", "DEL", CHECKS, (SWITCH, "the rules of macspoofchk made by the other go"), spoof),
        ],
    );
    cases.extend(of(
        "ptp",
        vec![
            case("switch.iptables", "DEL", CHECKS, (SWITCH, "a masquerade by iptables made by the other goes"), |s| {
                masquerade(s, "ptp", "iptables")
            }),
            case("switch.nftables", "DEL", CHECKS, (SWITCH, "a masquerade by nftables made by the other goes"), |s| {
                masquerade(s, "ptp", "nftables")
            }),
        ],
    ));
    cases.extend(of(
        "host-local",
        vec![case("switch", "DEL", CHECKS, (SWITCH, "a lease written by the other is respected and released"), leases)],
    ));
    cases.extend(of(
        "portmap",
        vec![
            case("switch.iptables", "DEL", CHECKS, (SWITCH, "published ports by iptables made by the other go"), |s| {
                ports(s, "iptables")
            }),
            case("switch.nftables", "DEL", CHECKS, (SWITCH, "published ports by nftables made by the other go"), |s| {
                ports(s, "nftables")
            }),
        ],
    ));
    cases.extend(of("firewall", vec![case("switch", "DEL", CHECKS, (SWITCH, "rules made by the other go"), firewall)]));
    cases.extend(of(
        "bandwidth",
        vec![case("switch", "DEL", CHECKS, (SWITCH, "the ifb made by the other goes"), bandwidth)],
    ));
    cases
        .extend(of("tuning", vec![case("switch", "DEL", CHECKS, (SWITCH, "what the other kept is restored"), tuning)]));
    cases
}

/// ADD by the other directory's plugins, then DEL by those that are judged.
fn across(stage: &mut Stage, list: &[Value], words: &dyn Fn(&Value) -> Result<Vec<String>>) -> Result<Value> {
    let Some(peer) = stage.peer.clone() else {
        return Stage::skip(None, "cases about a switched node need --peer");
    };
    for config in list {
        let name = config["type"].as_str().unwrap_or_default();
        if !peer.binary(name).is_file() {
            return Stage::skip(None, format!("there is no {name} in {}", peer.bin.display()));
        }
    }
    stage.need(&["bridge", "host-local"])?;
    let pod = stage.pod("p")?;
    let before = devices(&stage.node)?;
    let judged = std::mem::replace(&mut stage.suite, peer);
    let added = stage.add_list(&pod, list).context("ADD by the peer");
    stage.suite = judged;
    let result = added?;
    stage.all("DEL", &pod, list, &result)?;
    let words = words(&result)?;
    no_rule_of(&stage.node, &words.iter().map(String::as_str).collect::<Vec<_>>())?;
    let left: Vec<String> =
        devices(&stage.node)?.into_iter().filter(|name| !before.contains(name) && name != "cni0").collect();
    ensure!(left.is_empty(), "devices are left: {left:?}");
    stage.no_leases()?;
    Ok(result)
}

fn base(stage: &Stage, plugin: &str, more: Value) -> Value {
    let ipam = json!({"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}], [{"subnet": "fd00:88::/64"}]]});
    let mut config = stage.net(plugin, json!({"bridge": "cni0", "isDefaultGateway": true, "ipam": ipam}));
    super::super::stage::merge(&mut config, more);
    config
}

fn masquerade(stage: &mut Stage, plugin: &str, backend: &str) -> Result<()> {
    let config = base(stage, plugin, json!({"ipMasq": true, "ipMasqBackend": backend}));
    across(stage, &[config], &|result| Ok(vec![ipv4(result)?, "fd00:88::2".into()])).map(|_| ())
}

fn spoof(stage: &mut Stage) -> Result<()> {
    let config = base(stage, "bridge", json!({"macspoofchk": true}));
    let mac =
        |result: &Value| Ok(vec![super::super::look::text(&result["interfaces"][2]["mac"]), "macspoofchk".into()]);
    across(stage, &[config], &mac).map(|_| ())
}

fn leases(stage: &mut Stage) -> Result<()> {
    let config = base(stage, "bridge", json!({}));
    across(stage, std::slice::from_ref(&config), &|_| Ok(vec![]))?;
    // The next one goes on where the other stopped.
    let pod = stage.pod("next")?;
    let result = stage.add(&pod, &config)?;
    ensure!(ipv4(&result)? == "10.88.0.3", "{result}");
    Ok(())
}

fn ports(stage: &mut Stage, backend: &str) -> Result<()> {
    let mappings = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}, {"hostPort": 8053, "containerPort": 53, "protocol": "udp"}]);
    let portmap = stage.net("portmap", json!({"backend": backend, "runtimeConfig": {"portMappings": mappings}}));
    let list = [base(stage, "bridge", json!({})), portmap];
    across(stage, &list, &|result| Ok(vec!["8080".into(), "8053".into(), ipv4(result)?])).map(|_| ())
}

fn firewall(stage: &mut Stage) -> Result<()> {
    let firewall = stage.net("firewall", json!({"backend": "iptables", "ingressPolicy": "same-bridge"}));
    let list = [base(stage, "bridge", json!({})), firewall];
    across(stage, &list, &|result| Ok(vec![ipv4(result)?])).map(|_| ())
}

fn bandwidth(stage: &mut Stage) -> Result<()> {
    let limits =
        json!({"ingressRate": 8_000_000, "ingressBurst": 8_000_000, "egressRate": 8_000_000, "egressBurst": 8_000_000});
    let list = [base(stage, "bridge", json!({})), stage.net("bandwidth", limits)];
    across(stage, &list, &|_| Ok(vec![])).map(|_| ())
}

fn tuning(stage: &mut Stage) -> Result<()> {
    let directory = stage.node.dir().join("tuning");
    let list = [base(stage, "bridge", json!({})), stage.net("tuning", json!({"mtu": 1400, "dataDir": directory}))];
    across(stage, &list, &|_| Ok(vec![]))?;
    let left = std::fs::read_dir(&directory)?.count();
    ensure!(left == 0, "{left} files are left in {}", directory.display());
    Ok(())
}
