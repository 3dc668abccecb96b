//! ptp where the reference is wrong or silent: reach, leftovers, addresses without a subnet, undo, drift.

use std::path::PathBuf;

use anyhow::{Context, Result};
use fairlead_conformance::cni::Call;
use fairlead_conformance::lab::{Finished, Place, Pod};
use fairlead_conformance::limit::patience;
use fairlead_conformance::traffic;
use serde_json::{Value, json};

use super::scene::{Scene, foreign_ipam, ptp};

fn assert_reaches(from: &Place, target: &str) -> Result<()> {
    let reports = traffic::counted(from.output(&traffic::request(&[target], 3)?)?)?;
    assert_eq!((reports[0].answered, reports[0].unanswered()), (3, 0), "{} to {target}: {:?}", from.name(), reports[0]);
    Ok(())
}

#[test]
fn node_and_pods_reach_each_other_at_once() -> Result<()> {
    let scene = Scene::new("ptp-reach", ptp())?;
    let (one, two) = (scene.pod("one")?, scene.pod("two")?);
    for pod in [&one, &two] {
        let result = scene.add(pod)?;
        assert_eq!(pod.sh("ip -6 addr show tentative")?.matches("fd00:").count(), 0, "nobody waits for detection");
        scene.must("CHECK", pod, &result)?;
        let name = result["prevResult"]["interfaces"][0]["name"].as_str().unwrap_or_default();
        assert_eq!(scene.node.sh(&format!("cat /proc/sys/net/ipv6/conf/{name}/accept_ra"))?.trim(), "0");
    }
    let mut server = two.start(&traffic::serve("two", &["tcp:9000", "udp:9000"])?)?;
    server.wait_ready(patience(10))?;
    for target in ["tcp:10.88.0.3:9000", "udp:10.88.0.3:9000", "tcp:[fd00:88::3]:9000", "udp:[fd00:88::3]:9000"] {
        assert_reaches(&one, target)?;
        assert_reaches(&scene.node, target)?;
    }
    Ok(())
}

#[test]
fn a_route_that_a_dead_pair_left_is_replaced() -> Result<()> {
    let scene = Scene::new("ptp-leftover", ptp())?;
    scene.node.sh("ip link add dead type veth peer name gone")?;
    scene.node.sh("ip link set dead up")?;
    scene.node.sh("ip route add 10.88.0.2/32 dev dead scope host")?;
    scene.node.sh("ip -6 route add fd00:88::2/128 dev dead")?;
    let pod = scene.pod("pod")?;
    scene.add(&pod)?;
    for family in ["-4", "-6"] {
        assert!(!scene.node.sh(&format!("ip {family} route"))?.contains("::2 dev dead"));
    }
    let mut server = pod.start(&traffic::serve("pod", &["tcp:9000"])?)?;
    server.wait_ready(patience(10))?;
    for target in ["tcp:10.88.0.2:9000", "tcp:[fd00:88::2]:9000"] {
        assert_reaches(&scene.node, target)?;
    }
    Ok(())
}

/// What came of an ADD with an IPAM plugin of somebody else's.
struct Answered {
    scene: Scene,
    pod: Pod,
    added: Finished,
    calls: PathBuf,
}

/// ADD with an IPAM plugin that answers this.
fn with_answer(answer: &Value) -> Result<Answered> {
    let scene = Scene::new("ptp-answer", json!({"type": "ptp", "ipam": {"type": "foreign"}}))?;
    let (path, calls) = foreign_ipam(&scene, answer, 0)?;
    let pod = scene.pod("pod")?;
    let job = scene.suite.plugin("ptp", "ADD", &Call::new("pod", &pod), &scene.config).env("CNI_PATH", &path);
    let added = scene.node.output(&job)?;
    Ok(Answered { scene, pod, added, calls })
}

#[test]
fn two_addresses_of_one_gateway_and_addresses_without_a_subnet_work() -> Result<()> {
    for ips in [
        json!([{"address": "10.88.0.5/24", "gateway": "10.88.0.1"}, {"address": "10.88.0.6/24", "gateway": "10.88.0.1"}]),
        json!([{"address": "10.88.0.5/32", "gateway": "169.254.1.1"}, {"address": "fd00:88::5/128", "gateway": "fd00:88::1"}]),
    ] {
        let routes = json!([{"dst": "0.0.0.0/0"}]);
        let Answered { scene, pod, added, .. } =
            with_answer(&json!({"cniVersion": "1.1.0", "ips": ips, "routes": routes}))?;
        let result = added.success().with_context(|| ips.to_string())?.json()?;
        let mut server = pod.start(&traffic::serve("pod", &["tcp:9000"])?)?;
        server.wait_ready(patience(10))?;
        for ip in result["ips"].as_array().into_iter().flatten() {
            let (address, _) = ip["address"].as_str().and_then(|text| text.split_once('/')).unwrap_or_default();
            let target =
                if address.contains(':') { format!("tcp:[{address}]:9000") } else { format!("tcp:{address}:9000") };
            assert_reaches(&scene.node, &target)?;
        }
    }
    Ok(())
}

#[test]
fn without_a_gateway_it_is_refused_and_nothing_is_left() -> Result<()> {
    let answer = json!({"cniVersion": "1.1.0", "ips": [{"address": "10.88.0.5/24"}]});
    let Answered { scene, pod, added, calls } = with_answer(&answer)?;
    let error = added.json()?;
    assert_eq!(added.status.code(), Some(1));
    assert_eq!(error["msg"], "IPAM gave 10.88.0.5/24 without a gateway");
    assert!(error["details"].as_str().unwrap_or_default().contains("give `gateway` in ipam"), "{error}");
    assert_eq!(std::fs::read_to_string(calls)?, "DEL\n", "the address is given back");
    for place in [&*scene.node, &*pod] {
        assert!(!place.sh("ip -br link")?.contains('@'), "a pair is left on {}", place.name());
    }
    Ok(())
}

#[test]
fn an_add_that_fails_half_way_leaves_nothing() -> Result<()> {
    let scene = Scene::new("ptp-undo", ptp())?;
    let before = scene.look()?;
    let pod = scene.pod("pod")?;
    pod.sh("ip link add eth0 type bridge")?;
    let words = scene.refused("ADD", &pod, &scene.config)?;
    assert!(words.contains("container veth name (\"eth0\") peer provided"), "{words}");
    assert_eq!(scene.leased()?, Vec::<String>::new());
    pod.sh("ip link del eth0")?;
    // A route that needs another way than there is, after everything else stands.
    let mut config = scene.config.clone();
    config["ipam"]["routes"] = json!([{"dst": "10.9.0.0/16"}, {"dst": "10.9.0.0/16", "gw": "255.255.255.255"}]);
    scene.refused("ADD", &pod, &config)?;
    assert!(!pod.sh("ip -br link")?.contains("eth0"));
    let changes: Vec<_> = before
        .diff(&scene.look()?)
        .into_iter()
        .filter(|change| !change.key.contains("forward") && !change.key.starts_with("sysctl net/ipv6/conf"))
        .collect();
    assert!(changes.is_empty(), "{}", fairlead_conformance::snapshot::render(&changes));
    assert_eq!(scene.leased()?, Vec::<String>::new());
    scene.add(&pod)?;
    Ok(())
}

#[test]
fn check_names_each_drift_on_both_sides() -> Result<()> {
    let scene = Scene::new("ptp-drift", ptp())?;
    let drifts: [(&str, &str, &str); 12] = [
        ("node", "ip addr del 10.88.0.1/32 dev HOST", "HOST has no address 10.88.0.1/32"),
        ("node", "ip -6 addr del fd00:88::1/128 dev HOST", "HOST has no address fd00:88::1/128"),
        ("node", "ip route del ADDRESS/32", "the node has no route to ADDRESS through HOST"),
        ("node", "ip link set HOST down", "HOST is down"),
        ("node", "sysctl -qw net.ipv4.ip_forward=0", "sysctl net/ipv4/ip_forward is not 1"),
        ("node", "sysctl -qw net.ipv6.conf.HOST.accept_ra=2", "accept_ra is 2, not 0"),
        ("node", "nft delete table inet fairlead_masquerade", "ADDRESS is not masqueraded"),
        (
            "node",
            "ip neigh replace ADDRESS lladdr 02:00:00:00:00:99 dev HOST nud permanent",
            "the node looks for ADDRESS at 02:00:00:00:00:99",
        ),
        ("pod", "ip route del 10.88.0.0/24", "eth0 has no route 10.88.0.0/24 via 10.88.0.1"),
        ("pod", "ip route del default", "eth0 has no route 0.0.0.0/0"),
        ("pod", "ip addr del ADDRESS/24 dev eth0", "eth0 has no address ADDRESS/24"),
        ("pod", "ip link set eth0 down", "interface eth0 of the container is down"),
    ];
    for (number, (place, deed, words)) in drifts.into_iter().enumerate() {
        let pod = scene.pod(&format!("pod-{number}"))?;
        let with_result = scene.add(&pod)?;
        scene.must("CHECK", &pod, &with_result)?;
        let result = &with_result["prevResult"];
        let fill = |text: &str| {
            let host = result["interfaces"][0]["name"].as_str().unwrap_or_default();
            let address =
                result["ips"][0]["address"].as_str().and_then(|text| text.split_once('/')).unwrap_or_default().0;
            text.replace("HOST", host).replace("ADDRESS", address)
        };
        match place {
            "node" => scene.node.sh(&fill(deed))?,
            _ => pod.sh(&fill(deed))?,
        };
        let said = scene.refused("CHECK", &pod, &with_result).with_context(|| format!("after `{deed}`"))?;
        assert!(said.contains(&fill(words)), "after `{deed}`: {:?} is not in: {said}", fill(words));
        scene.must("DEL", &pod, &with_result)?;
    }
    Ok(())
}
