//! VLANs of `bridge`, on a kernel that has them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use fairlead_conformance::cni::Suite;
use fairlead_conformance::lab::{Job, Node, Place};
use fairlead_conformance::limit::patience;
use fairlead_conformance::traffic;
use serde_json::{Value, json};

use super::scene::Scene;

/// Whether bridges of this kernel can keep VLANs apart.
pub fn are_there(node: &Node) -> Result<bool> {
    let made = node.output(&Job::new("ip").args("link add probe type bridge vlan_filtering 1".split(' ')))?;
    if !made.status.success() {
        return Ok(false);
    }
    node.sh("ip link del probe")?;
    Ok(true)
}

/// The scene, or a line that says why there is none.
fn scene(name: &str, suite: Suite, config: Value) -> Result<Option<Scene>> {
    let scene = Scene::of(suite, name, config)?;
    if are_there(&scene.node)? {
        return Ok(Some(scene));
    }
    println!("SKIP kernel>=6.1 with CONFIG_BRIDGE_VLAN_FILTERING: the kernel filters no VLANs");
    Ok(None)
}

/// Of each port its VLANs, those of untagged frames marked.
fn vlans(node: &Node) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for port in node.json("bridge -j vlan show")?.as_array().into_iter().flatten() {
        let one = |vlan: &Value| {
            let end = vlan["vlanEnd"].as_u64().map(|end| format!("-{end}")).unwrap_or_default();
            let native = vlan["flags"].as_array().is_some_and(|flags| flags.iter().any(|flag| flag == "PVID"));
            format!("{}{end}{}", vlan["vlan"], if native { "*" } else { "" })
        };
        let list: Vec<String> = port["vlans"].as_array().into_iter().flatten().map(one).collect();
        all.insert(port["ifname"].as_str().unwrap_or_default().to_owned(), list.join(" "));
    }
    Ok(all)
}

fn layer2(keys: Value) -> Value {
    let mut config = json!({"type": "bridge", "bridge": "cni0"});
    if let (Value::Object(config), Value::Object(keys)) = (&mut config, keys) {
        config.extend(keys);
    }
    config
}

fn layer3(vlan: u16, subnet: &str) -> Value {
    json!({
        "type": "bridge", "bridge": "cni0", "isDefaultGateway": true, "vlan": vlan, "name": format!("net{vlan}"),
        "ipam": {"type": "host-local", "ranges": [[{"subnet": format!("10.{subnet}.0.0/24")}], [{"subnet": format!("fd00:{subnet}::/64")}]]}
    })
}

#[test]
fn ports_are_members_of_what_the_reference_makes_them_members_of() -> Result<()> {
    let trunk = json!([{"id": 101}, {"minID": 200, "maxID": 203}]);
    for keys in [
        json!({"vlan": 100}),
        json!({"vlan": 100, "preserveDefaultVlan": true}),
        json!({"vlanTrunk": trunk}),
        json!({"vlanTrunk": trunk, "preserveDefaultVlan": true}),
        json!({"vlan": 100, "vlanTrunk": trunk}),
        json!({"vlan": 100, "vlanTrunk": trunk, "preserveDefaultVlan": true}),
        json!({"vlanTrunk": []}),
    ] {
        let mut seen = Vec::new();
        for suite in [Suite::reference()?, Suite::ours()?] {
            let Some(scene) = scene("vlan-ports", suite, layer2(keys.clone()))? else { return Ok(()) };
            let pod = scene.pod("pod")?;
            let result = scene.add(&pod).with_context(|| keys.to_string())?;
            let port = result["prevResult"]["interfaces"][1]["name"].as_str().unwrap_or_default();
            let all = vlans(&scene.node)?;
            seen.push((all.get(port).cloned(), all.get("cni0").cloned()));
            if scene.suite.name == "ours" {
                scene.must("CHECK", &pod, &result)?;
            }
            scene.must("DEL", &pod, &result)?;
        }
        assert_eq!(seen[0], seen[1], "{keys}: reference and ours");
        println!("{keys}: {}", seen[1].0.clone().unwrap_or_default());
    }
    Ok(())
}

#[test]
fn the_gateway_of_a_vlan_is_a_helper_that_stays() -> Result<()> {
    let mut seen = Vec::new();
    for suite in [Suite::reference()?, Suite::ours()?] {
        let Some(scene) = scene("vlan-gateway", suite, layer3(100, "88"))? else { return Ok(()) };
        let (one, two) = (scene.pod("one")?, scene.pod("two")?);
        let result = scene.add(&one)?;
        let interfaces = &result["prevResult"]["interfaces"];
        assert_eq!(interfaces.as_array().map(Vec::len), Some(4), "{}: {interfaces}", scene.suite.name);
        assert_eq!((&interfaces[0]["name"], &interfaces[3]["name"]), (&json!("cni0"), &json!("cni0.100")));
        let second = scene.add(&two)?;
        assert_eq!(second["prevResult"]["interfaces"][3], interfaces[3]);
        let addresses = scene.node.sh("ip -br addr show cni0.100")?;
        assert!(addresses.contains("10.88.0.1/24") && addresses.contains("fd00:88::1/64"), "{addresses}");
        assert!(!scene.node.sh("ip -br addr show cni0")?.contains("10.88.0.1"));
        let mut members: Vec<String> = vlans(&scene.node)?.into_values().collect();
        members.sort();
        seen.push(members);
        for (pod, result) in [(&one, &result), (&two, &second)] {
            if scene.suite.name == "ours" {
                scene.must("CHECK", pod, result)?;
            }
            scene.must("DEL", pod, result)?;
        }
        assert!(scene.node.sh("ip -br link")?.contains("cni0.100@"), "the helper is the network's");
    }
    assert_eq!(seen[0], seen[1], "reference and ours");
    Ok(())
}

#[test]
fn pods_of_one_vlan_reach_each_other_and_their_gateway_and_nobody_else() -> Result<()> {
    let Some(scene) = scene("vlan-reach", Suite::ours()?, layer3(100, "88"))? else { return Ok(()) };
    let (one, two, other) = (scene.pod("one")?, scene.pod("two")?, scene.pod("other")?);
    scene.add(&one)?;
    scene.add(&two)?;
    let mut of_200 = layer3(200, "89");
    of_200["cniVersion"] = "1.1.0".into();
    scene.add_with(&other, &of_200)?;
    // A stranger on the wrong VLAN with an address of the right subnet.
    other.sh("ip addr add 10.88.0.77/24 dev eth0")?;
    let mut server = one.start(&traffic::serve("one", &["udp:9000"])?)?;
    server.wait_ready(patience(10))?;
    let answers = |from: &Place| -> Result<u64> {
        let reports = traffic::counted(from.output(&traffic::request(&["udp:10.88.0.2:9000"], 3)?)?)?;
        Ok(reports[0].answered)
    };
    assert_eq!(answers(&two)?, 3, "the same VLAN");
    assert_eq!(answers(&scene.node)?, 3, "the gateway");
    other.sh("ip route del default")?;
    assert_eq!(answers(&other)?, 0, "another VLAN");
    Ok(())
}

#[test]
fn check_names_each_drift() -> Result<()> {
    let mut config = layer3(100, "88");
    config["vlanTrunk"] = json!([{"id": 200}]);
    let Some(scene) = scene("vlan-drift", Suite::ours()?, config)? else { return Ok(()) };
    let drifts = [
        ("bridge vlan del dev HOST vid 100", "HOST is not in VLAN 100 untagged"),
        ("bridge vlan del dev HOST vid 200", "HOST is not in VLAN 200"),
        ("bridge vlan add dev HOST vid 300", "HOST is in VLAN 300"),
        ("ip link set cni0 type bridge vlan_filtering 0", "bridge cni0 does not filter VLANs"),
        ("ip link set cni0.100 down", "cni0.100 is down"),
        ("ip addr del 10.88.0.1/24 dev cni0.100", "cni0.100 has no address 10.88.0.1/24"),
        ("ip link del cni0.100", "the VLAN's gateway cni0.100 is not there"),
    ];
    for (number, (deed, words)) in drifts.into_iter().enumerate() {
        let pod = scene.pod(&format!("pod-{number}"))?;
        let with_result = scene.add(&pod)?;
        scene.must("CHECK", &pod, &with_result)?;
        let host = with_result["prevResult"]["interfaces"][1]["name"].as_str().unwrap_or_default();
        scene.node.sh(&deed.replace("HOST", host))?;
        let said = scene.refused("CHECK", &pod, &with_result).with_context(|| format!("after `{deed}`"))?;
        let words = words.replace("HOST", host);
        assert!(said.contains(&words), "after `{deed}`: {words:?} is not in: {said}");
        scene.must("DEL", &pod, &with_result)?;
        scene.node.sh("ip link set cni0 type bridge vlan_filtering 1")?;
    }
    // What was lost of the helper the next ADD made again, each time; but a stranger of its name is no helper.
    scene.node.sh("ip link add cni0.100 type bridge")?;
    let pod = scene.pod("last")?;
    let words = scene.refused("ADD", &pod, &scene.config)?;
    assert!(words.contains("is not the gateway of a VLAN"), "{words}");
    Ok(())
}
