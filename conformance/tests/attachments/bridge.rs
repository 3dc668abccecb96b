//! bridge: its guard against forged senders, isolation, hardware addresses, undo, and the drifts that CHECK names.

use anyhow::{Context, Result};
use fairlead_conformance::cni::Call;
use fairlead_conformance::lab::Place;
use fairlead_conformance::limit::patience;
use fairlead_conformance::traffic;
use serde_json::{Value, json};

use super::scene::{Scene, bridge};

fn answers(from: &Place, target: &str) -> Result<u64> {
    let reports = traffic::counted(from.output(&traffic::request(&[target], 3)?)?)?;
    Ok(reports[0].answered)
}

#[test]
fn frames_with_a_forged_sender_go_nowhere() -> Result<()> {
    let scene = Scene::new("spoof", bridge())?;
    let (honest, liar) = (scene.pod("honest")?, scene.pod("liar")?);
    scene.add(&honest)?;
    let result = scene.add(&liar)?;
    let mut server = honest.start(&traffic::serve("honest", &["udp:9000"])?)?;
    server.wait_ready(patience(10))?;
    assert_eq!(answers(&liar, "udp:10.88.0.2:9000")?, 3);
    let mac = result["prevResult"]["interfaces"][2]["mac"].as_str().unwrap_or_default();
    liar.sh("ip link set eth0 address 02:00:00:00:00:66")?;
    assert_eq!(answers(&liar, "udp:10.88.0.2:9000")?, 0, "with another's address");
    liar.sh(&format!("ip link set eth0 address {mac}"))?;
    assert_eq!(answers(&liar, "udp:10.88.0.2:9000")?, 3, "with its own again");
    for pod in [&honest, &liar] {
        scene.must("DEL", pod, &scene.config)?;
    }
    assert_eq!(scene.node.sh("nft list ruleset")?, "");
    Ok(())
}

#[test]
fn a_bridge_that_was_up_listens_to_no_router_either() -> Result<()> {
    let scene = Scene::new("accept-ra", bridge())?;
    scene.node.sh("ip link add cni0 address 02:00:00:00:88:01 type bridge")?;
    scene.node.sh("sysctl -qw net.ipv6.conf.cni0.accept_ra=2")?;
    scene.node.sh("ip link set cni0 up")?;
    let pod = scene.pod("pod")?;
    let result = scene.add(&pod)?;
    let port = result["prevResult"]["interfaces"][1]["name"].as_str().unwrap_or_default();
    for name in ["cni0", port] {
        assert_eq!(scene.node.sh(&format!("cat /proc/sys/net/ipv6/conf/{name}/accept_ra"))?.trim(), "0", "{name}");
    }
    Ok(())
}

#[test]
fn the_capabilitys_hardware_address_wins_over_the_arguments() -> Result<()> {
    let scene = Scene::new("mac", bridge())?;
    let mut config = scene.config.clone();
    let rows = [
        (json!({}), "02:00:00:00:00:01"),
        (json!({"args": {"cni": {"mac": "02:00:00:00:00:02"}}}), "02:00:00:00:00:02"),
        (json!({"runtimeConfig": {"mac": "02:00:00:00:00:03"}}), "02:00:00:00:00:03"),
    ];
    for (number, (keys, mac)) in rows.into_iter().enumerate() {
        if let (Value::Object(config), Value::Object(keys)) = (&mut config, keys) {
            config.extend(keys);
        }
        let pod = scene.pod(&format!("pod-{number}"))?;
        let added = scene
            .call_with("IgnoreUnknown=1;MAC=02:00:00:00:00:01", "ADD", pod.name(), pod.netns(), &config)?
            .success()?;
        assert_eq!(added.json()?["interfaces"][2]["mac"], mac);
        assert!(pod.sh("ip link show eth0")?.contains(mac));
    }
    Ok(())
}

#[test]
fn ports_are_isolated_and_ends_stay_down_if_asked() -> Result<()> {
    for isolated in [false, true] {
        let mut config = bridge();
        config["portIsolation"] = isolated.into();
        let scene = Scene::new("isolation", config)?;
        let (one, two) = (scene.pod("one")?, scene.pod("two")?);
        scene.add(&one)?;
        scene.add(&two)?;
        let mut server = one.start(&traffic::serve("one", &["udp:9000"])?)?;
        server.wait_ready(patience(10))?;
        assert_eq!(answers(&two, "udp:10.88.0.2:9000")?, if isolated { 0 } else { 3 });
        assert_eq!(answers(&scene.node, "udp:10.88.0.2:9000")?, 3);
    }
    let scene = Scene::new("down", json!({"type": "bridge", "bridge": "br-l2", "disableContainerInterface": true}))?;
    let pod = scene.pod("pod")?;
    let result = scene.add(&pod)?;
    assert!(pod.sh("ip -br link show eth0")?.contains("DOWN"));
    scene.must("CHECK", &pod, &result)?;
    pod.sh("ip link set eth0 up")?;
    assert!(scene.refused("CHECK", &pod, &result)?.contains("interface eth0 of the container is up"));
    scene.must("DEL", &pod, &scene.config)?;
    Ok(())
}

#[test]
fn an_add_that_fails_half_way_leaves_nothing_but_the_bridge() -> Result<()> {
    let scene = Scene::new("bridge-undo", bridge())?;
    let first = scene.pod("first")?;
    scene.add(&first)?;
    scene.must("DEL", &first, &scene.config)?;
    let before = scene.look()?;
    let pod = scene.pod("pod")?;
    let mut config = scene.config.clone();
    config["ipam"]["routes"] = json!([{"dst": "10.9.0.0/16"}, {"dst": "10.9.0.0/16", "gw": "255.255.255.255"}]);
    scene.refused("ADD", &pod, &config)?;
    scene.assert_clean(&before, "a route that cannot be")?;
    scene.node.sh("ip addr flush dev cni0")?;
    scene.node.sh("ip addr add 10.77.0.1/24 dev cni0")?;
    let words = scene.refused("ADD", &pod, &scene.config)?;
    assert!(words.contains("already has an IP address different from 10.88.0.1/24"), "{words}");
    assert!(!pod.sh("ip -br link")?.contains("eth0"));
    assert_eq!((scene.leased()?, &scene.node.sh("nft list ruleset")?[..]), (vec![], ""));
    Ok(())
}

#[test]
fn vlans_on_a_kernel_without_them_are_refused_by_name_and_nothing_is_left() -> Result<()> {
    let mut config = bridge();
    config["vlan"] = 100.into();
    let scene = Scene::new("no-vlans", config)?;
    if super::vlan::are_there(&scene.node)? {
        println!("SKIP kernel>=6.1 without CONFIG_BRIDGE_VLAN_FILTERING: this one filters VLANs");
        return Ok(());
    }
    let pod = scene.pod("pod")?;
    for trunk in [json!(null), json!([]), json!([{"minID": 100, "maxID": 105}])] {
        let mut config = scene.config.clone();
        config["vlanTrunk"] = trunk;
        let words = scene.refused("ADD", &pod, &config)?;
        assert!(words.contains("(EOPNOTSUPP)") && words.contains("CONFIG_BRIDGE_VLAN_FILTERING"), "{words}");
        for place in [&*scene.node, &*pod] {
            let links = place.sh("ip -br link")?;
            assert_eq!(links.lines().count(), 1, "{links}");
        }
        assert_eq!(scene.leased()?, Vec::<String>::new());
    }
    // A bridge that is there is not made better by asking, and stays.
    scene.node.sh("ip link add cni0 type bridge")?;
    assert!(scene.refused("ADD", &pod, &scene.config)?.contains("(EOPNOTSUPP)"));
    assert!(scene.node.sh("ip -br link")?.contains("cni0"));
    let status = scene.call("STATUS", "", pod.netns(), &scene.config)?;
    assert_eq!(status.json()?["code"], 51);
    Ok(())
}

#[test]
fn check_names_each_drift() -> Result<()> {
    let mut config = bridge();
    config["portIsolation"] = true.into();
    config["promiscMode"] = true.into();
    config["mtu"] = 1400.into();
    let scene = Scene::new("bridge-drift", config)?;
    let drifts = [
        ("nft delete table bridge fairlead_spoof", "HOST is not guarded against forged hardware addresses"),
        ("ip link set cni0 promisc off", "cni0 is not in promiscuous mode"),
        ("bridge link set dev HOST isolated off", "HOST has isolated off"),
        ("bridge link set dev HOST hairpin on", "HOST has hairpin on"),
        ("ip link set HOST mtu 1300", "HOST has the MTU 1300, not 1400"),
        ("ip link set HOST down", "HOST is down"),
        ("sysctl -qw net.ipv4.ip_forward=0", "sysctl net/ipv4/ip_forward is not 1"),
        ("sysctl -qw net.ipv6.conf.all.forwarding=0", "sysctl net/ipv6/conf/all/forwarding is not 1"),
        ("sysctl -qw net.ipv6.conf.cni0.accept_ra=2", "net/ipv6/conf/cni0/accept_ra is 2, not 0"),
        (
            "ip neigh replace ADDRESS lladdr 02:00:00:00:00:99 dev cni0 nud permanent",
            "the node looks for ADDRESS at 02:00:00:00:00:99 on cni0",
        ),
        ("ip -6 addr del fd00:88::1/64 dev cni0", "cni0 has no address fd00:88::1/64"),
        ("ip link set cni0 address 02:00:00:00:00:77", "cni0 has the hardware address 02:00:00:00:00:77"),
    ];
    for (number, (deed, words)) in drifts.into_iter().enumerate() {
        let pod = scene.pod(&format!("pod-{number}"))?;
        let with_result = scene.add(&pod)?;
        scene.must("CHECK", &pod, &with_result)?;
        let result = &with_result["prevResult"];
        let fill = |text: &str| {
            let host = result["interfaces"][1]["name"].as_str().unwrap_or_default();
            let address =
                result["ips"][0]["address"].as_str().and_then(|text| text.split_once('/')).unwrap_or_default().0;
            text.replace("HOST", host).replace("ADDRESS", address)
        };
        scene.node.sh(&fill(deed))?;
        let said = scene.refused("CHECK", &pod, &with_result).with_context(|| format!("after `{deed}`"))?;
        assert!(said.contains(&fill(words)), "after `{deed}`: {:?} is not in: {said}", fill(words));
        scene.must("DEL", &pod, &with_result)?;
        scene.node.sh("ip link del cni0")?;
    }
    Ok(())
}

#[test]
fn two_interfaces_of_one_pod_come_and_go_apart() -> Result<()> {
    let scene = Scene::new("two-interfaces", bridge())?;
    let pod = scene.pod("pod")?;
    let call = |verb: &str, ifname| {
        let call = Call { container: "pod", netns: pod.netns(), ifname, args: "" };
        scene.node.output(&scene.suite.plugin("bridge", verb, &call, &scene.config))
    };
    for ifname in ["eth0", "eth1"] {
        call("ADD", ifname)?.success()?;
    }
    call("DEL", "eth0")?.success()?;
    let links = pod.sh("ip -br link")?;
    assert!(!links.contains("eth0") && links.contains("eth1"), "{links}");
    assert_eq!(scene.leased()?.len(), 2);
    let rules = scene.node.sh("nft list ruleset")?;
    assert!(rules.contains("10.88.0.3") && !rules.contains("10.88.0.2 "), "{rules}");
    call("DEL", "eth1")?.success()?;
    assert_eq!(scene.node.sh("nft list ruleset")?, "");
    Ok(())
}
