//! `bridge` without addresses: VLANs, isolation, spoofing; and its bad configurations.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::super::case::{ALL, CHECKS, LATEST, LISTS, case, of};
use super::super::look::{addresses, device, devices, host_end, rules};
use super::super::stage::{Stage, merge};
use crate::cases::Case;
use crate::lab::Place;

const UPSTREAM: &str = "upstream bridge tests";

pub(super) fn cases() -> Vec<Case> {
    of(
        "bridge",
        vec![
            case("T40", "ADD", ALL, (UPSTREAM, "a bad vlanTrunk is refused in the known words"), bad_trunks),
            case("T43.plain", "ADD", LISTS, (UPSTREAM, "without IPAM: a port, and the container's end is up"), plain),
            case("T43.vlan", "ADD", LISTS, (UPSTREAM, "vlan: the port's only VLAN, untagged"), |s| {
                vlans(s, json!({"vlan": 100}), &["100 u"])
            }),
            case(
                "T43.trunk",
                "ADD",
                LISTS,
                (UPSTREAM, "vlanTrunk: tagged, the default VLAN stays for what is untagged"),
                |s| {
                    vlans(
                        s,
                        json!({"vlanTrunk": [{"id": 101}, {"minID": 200, "maxID": 202}]}),
                        &["1 u", "101", "200", "201", "202"],
                    )
                },
            ),
            case("T43.both", "ADD", LISTS, (UPSTREAM, "vlan beside vlanTrunk"), |s| {
                vlans(s, json!({"vlan": 100, "vlanTrunk": [{"id": 101}]}), &["100 u", "101"])
            }),
            case("T43.preserve", "ADD", LISTS, (UPSTREAM, "preserveDefaultVlan keeps VLAN 1"), |s| {
                vlans(s, json!({"vlan": 100, "preserveDefaultVlan": true}), &["1", "100 u"])
            }),
            case(
                "T44",
                "ADD",
                CHECKS,
                (UPSTREAM, "addresses with vlan: the gateway is on a device of that VLAN"),
                vlan_gateway,
            ),
            case("T52", "ADD", CHECKS, (UPSTREAM, "macspoofchk: rules after ADD, none after DEL"), spoof_rules),
            case(
                "T52.packets",
                "ADD",
                CHECKS,
                ("that is what it is for", "macspoofchk: frames with another source are dropped"),
                spoof_packets,
            ),
            case(
                "T53.ipam",
                "ADD",
                LATEST,
                (UPSTREAM, "disableContainerInterface with IPAM is refused"),
                disabled_with_ipam,
            ),
            case(
                "T53.down",
                "ADD",
                LISTS,
                (UPSTREAM, "disableContainerInterface leaves the container's end down"),
                disabled,
            ),
            case("T53.isolation", "ADD", LISTS, (UPSTREAM, "portIsolation is a property of the port"), isolation),
            case("T54", "ADD", ALL, (UPSTREAM, "a vlan out of range is refused"), bad_vlans),
            case("T49.layer2", "CHECK", CHECKS, ("SPEC 1.1.0, CHECK", "silent without IPAM too"), check_without_ipam),
        ],
    )
}

fn config(stage: &Stage, more: Value) -> Value {
    let mut config = stage.net("bridge", json!({"bridge": "br-l2"}));
    merge(&mut config, more);
    config
}

/// Bridges with VLANs are a choice at the kernel's build.
fn need_vlan_filtering(stage: &Stage) -> Result<()> {
    if stage.node.sh("ip link add probe type bridge vlan_filtering 1").is_err() {
        return Stage::skip(
            Some("a kernel with CONFIG_BRIDGE_VLAN_FILTERING (Debian's 6.1 and 6.12)"),
            "bridges here have no VLANs",
        );
    }
    stage.node.sh("ip link del probe").map(|_| ())
}

fn bad_trunks(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    for (trunk, words) in [
        (json!([{"minID": 0, "maxID": 5}]), "incorrect trunk minID parameter"),
        (json!([{"minID": 4095, "maxID": 4096}]), "incorrect trunk minID parameter"),
        (json!([{"minID": 5, "maxID": 4095}]), "incorrect trunk maxID parameter"),
        (json!([{"minID": 9, "maxID": 5}]), "minID is greater than maxID in trunk parameter"),
        (json!([{"minID": 5}]), "maxID is missing"),
        (json!([{"maxID": 5}]), "minID is missing"),
        (json!([{"id": 4095}]), "incorrect trunk id parameter"),
        (json!([{"id": -1}]), "incorrect trunk id parameter"),
    ] {
        let config = config(stage, json!({"vlanTrunk": trunk}));
        stage.refused_for("ADD", &pod, &config, &[words])?;
    }
    Ok(())
}

fn plain(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = config(stage, json!({}));
    let result = stage.add(&pod, &config)?;
    let port = device(&stage.node, &host_end(&result)?)?;
    ensure!(port["master"] == "br-l2", "{port}");
    ensure!(addresses(&pod, "eth0")?.is_empty(), "eth0 has {:?}", addresses(&pod, "eth0")?);
    ensure!(is_up(&pod, "eth0")?, "eth0 is down");
    stage.silently("DEL", &pod, &config)?;
    ensure!(devices(&pod)? == ["lo"], "the pod has {:?}", devices(&pod)?);
    Ok(())
}

fn is_up(place: &Place, name: &str) -> Result<bool> {
    Ok(device(place, name)?["flags"].as_array().is_some_and(|flags| flags.iter().any(|flag| flag == "UP")))
}

fn vlans(stage: &mut Stage, more: Value, wanted: &[&str]) -> Result<()> {
    need_vlan_filtering(stage)?;
    let pod = stage.pod("p")?;
    let config = config(stage, more);
    let result = stage.add(&pod, &config)?;
    let found = vlans_of(&stage.node, &host_end(&result)?)?;
    ensure!(found == wanted, "the port's VLANs are {found:?}, not {wanted:?}");
    stage.silently("DEL", &pod, &config)
}

/// The VLANs of a port, with `u` for what leaves it untagged and comes in without a tag.
fn vlans_of(node: &Place, port: &str) -> Result<Vec<String>> {
    let ports = node.json(&format!("bridge -j vlan show dev {port}"))?;
    let rows = ports[0]["vlans"].as_array().cloned().unwrap_or_default();
    let told = rows.iter().flat_map(|row| {
        let first = row["vlan"].as_u64().unwrap_or_default();
        let last = row["vlanEnd"].as_u64().unwrap_or(first);
        let is_own = row["flags"].as_array().is_some_and(|flags| flags.iter().any(|flag| flag == "PVID"));
        (first..=last).map(move |id| if is_own { format!("{id} u") } else { id.to_string() })
    });
    Ok(told.collect())
}

fn vlan_gateway(stage: &mut Stage) -> Result<()> {
    need_vlan_filtering(stage)?;
    let pod = stage.pod("p")?;
    let more = json!({"vlan": 100, "isDefaultGateway": true, "ipam": {"type": "host-local", "subnet": "10.88.0.0/24"}});
    let config = config(stage, more);
    let result = stage.add(&pod, &config)?;
    let found = addresses(&stage.node, "br-l2.100")?;
    ensure!(found == ["10.88.0.1/24"], "br-l2.100 has {found:?}");
    ensure!(result["interfaces"][3]["name"] == "br-l2.100", "{}", result["interfaces"]);
    let _server = super::super::look::serve(&stage.node, &["tcp:80"])?;
    super::super::look::answers(&pod, "tcp:10.88.0.1:80", &stage.node)?;
    stage.silently("DEL", &pod, &config)
}

fn spoof_rules(stage: &mut Stage) -> Result<()> {
    let before = rules(&stage.node)?;
    let pod = stage.pod("p")?;
    let config = config(stage, json!({"macspoofchk": true}));
    stage.add(&pod, &config)?;
    let mac = super::super::look::text(&device(&pod, "eth0")?["address"]);
    let with = rules(&stage.node)?;
    ensure!(with != before && with.contains(&mac), "no rule speaks of {mac}:\n{with}");
    stage.silently("DEL", &pod, &config)?;
    let after = rules(&stage.node)?;
    ensure!(!after.contains(&mac), "rules are left:\n{after}");
    Ok(())
}

fn spoof_packets(stage: &mut Stage) -> Result<()> {
    stage.need(&["host-local"])?;
    let more = json!({"bridge": "cni0", "isGateway": true, "macspoofchk": true, "ipam": {"type": "host-local", "subnet": "10.88.0.0/24"}});
    let config = config(stage, more);
    let (one, two) = (stage.pod("one")?, stage.pod("two")?);
    stage.add(&one, &config)?;
    let result = stage.add(&two, &config)?;
    let _server = super::super::look::serve(&two, &["udp:80"])?;
    let target = format!("udp:{}:80", super::super::look::ipv4(&result)?);
    super::super::look::answers(&one, &target, &two)?;
    one.sh("ip link set eth0 address 02:00:00:00:00:66")?;
    super::super::look::is_silent(&one, &target)
}

fn disabled_with_ipam(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let more = json!({"disableContainerInterface": true, "ipam": {"type": "host-local", "subnet": "10.88.0.0/24"}});
    let config = config(stage, more);
    stage.refused_for("ADD", &pod, &config, &["cannot use IPAM when DisableContainerInterface flag is set"])
}

fn disabled(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = config(stage, json!({"disableContainerInterface": true}));
    stage.add(&pod, &config)?;
    ensure!(!is_up(&pod, "eth0")?, "eth0 is up");
    Ok(())
}

fn isolation(stage: &mut Stage) -> Result<()> {
    for (name, wanted) in [("off", false), ("on", true)] {
        let pod = stage.pod(name)?;
        let config = config(stage, json!({"portIsolation": wanted}));
        let result = stage.add(&pod, &config)?;
        let port = device(&stage.node, &host_end(&result)?)?;
        let found = port["linkinfo"]["info_slave_data"]["isolated"].as_bool();
        ensure!(found == Some(wanted), "portIsolation {wanted}: {found:?}");
    }
    Ok(())
}

fn bad_vlans(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    for vlan in [-100, 4095, 5000] {
        let config = config(stage, json!({"vlan": vlan}));
        stage.refused_for("ADD", &pod, &config, &["invalid VLAN ID", &vlan.to_string()])?;
    }
    Ok(())
}

fn check_without_ipam(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = config(stage, json!({}));
    let result = stage.add(&pod, &config)?;
    stage.silently("CHECK", &pod, &super::super::stage::with_result(&config, &result))
}
