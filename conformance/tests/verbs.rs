//! The verbs the reference leaves empty, and what a masquerade is for: GC, STATUS and CHECK of `bridge` with `host-local`,
//! judged by `ip`, `nft` and packets.

use anyhow::{Context, Result};
use fairlead_conformance::capture::Capture;
use fairlead_conformance::cni::{Call, Suite};
use fairlead_conformance::lab::{Finished, Lab, Node, Pod};
use fairlead_conformance::limit::patience;
use fairlead_conformance::snapshot::{Change, Snapshot, render};
use fairlead_conformance::traffic;
use serde_json::{Value, json};

const NETWORK: &str = "net";

/// A dual-stack network with everything that can drift.
fn config() -> Value {
    json!({
        "cniVersion": "1.1.0", "name": NETWORK, "type": "bridge", "bridge": "cni0",
        "isDefaultGateway": true, "hairpinMode": true, "ipMasq": true,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}], [{"subnet": "fd00:88::/64"}]]}
    })
}

struct Scene {
    lab: Lab,
    node: Node,
    suite: Suite,
}

impl Scene {
    fn new(name: &str) -> Result<Self> {
        let lab = Lab::new(name)?;
        let node = lab.node("a")?;
        Ok(Self { lab, node, suite: Suite::ours()? })
    }

    fn call(&self, verb: &str, id: &str, pod: &Pod, config: &Value) -> Result<Finished> {
        self.node.output(&self.suite.plugin("bridge", verb, &Call::new(id, pod), config))
    }

    /// A pod that was ADDed, and the result as later verbs want it.
    fn pod(&self, id: &str, config: &Value) -> Result<(Pod, Value)> {
        let pod = self.lab.pod(&self.node, id)?;
        let result = self.call("ADD", id, &pod, config)?.success()?.json()?;
        let mut with_result = config.clone();
        with_result["prevResult"] = result;
        Ok((pod, with_result))
    }

    fn snapshot(&self) -> Result<Snapshot> {
        let mut seen = Snapshot::network(&self.node)?;
        seen.add_files("leases", &self.node.var_lib().join("cni/networks").join(NETWORK))?;
        Ok(seen)
    }
}

/// What is not the same, without what a new device does by itself for a second or two: its link-local address, which is
/// asked for first, and the groups that come with it.
fn lasting(before: &Snapshot, after: &Snapshot) -> Vec<Change> {
    let by_itself = |key: &str| ["fe80::", "33:33:", "ff02:", "anycast"].iter().any(|word| key.contains(word));
    before.diff(after).into_iter().filter(|change| !by_itself(&change.key)).collect()
}

#[test]
fn gc_removes_exactly_what_is_not_in_the_list() -> Result<()> {
    let scene = Scene::new("gc")?;
    let (one, with_result) = scene.pod("one", &config())?;
    let with_one = scene.snapshot()?;
    let (_two, _) = scene.pod("two", &config())?;
    let mut other = config();
    other["name"] = "other".into();
    other["bridge"] = "cni1".into();
    other["ipam"]["ranges"] = json!([[{"subnet": "10.99.0.0/24"}]]);
    let (stranger, stranger_result) = scene.pod("stranger", &other)?;

    let both = scene.snapshot()?;
    scene.call("GC", "", &one, &config())?.success()?;
    let changes = lasting(&both, &scene.snapshot()?);
    assert!(changes.is_empty(), "without a list nothing may be removed:\n{}", render(&changes));

    let mut valid = config();
    valid["cni.dev/valid-attachments"] = json!([{"containerID": "one", "ifname": "eth0"}]);
    for _ in 0..2 {
        scene.call("GC", "", &one, &valid)?.success()?;
    }
    scene.call("CHECK", "one", &one, &with_result)?.success()?;
    scene.call("CHECK", "stranger", &stranger, &stranger_result)?.success()?;
    let leases = std::fs::read_dir(scene.node.var_lib().join("cni/networks").join(NETWORK))?;
    let names: Vec<String> = leases.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    assert!(names.contains(&"10.88.0.2".into()) && !names.contains(&"10.88.0.3".into()), "{names:?}");

    scene.call("DEL", "stranger", &stranger, &other)?.success()?;
    scene.node.sh("ip link del cni1")?;
    // Meant to stay: the round-robin mark, which is the memory of the second pod; and the chain of the other network's
    // subnet, which goes with the table.
    let changes: Vec<_> = lasting(&with_one, &scene.snapshot()?)
        .into_iter()
        .filter(|change| !change.key.contains("last_reserved_ip") && !change.key.contains("from-10.99.0.0/24"))
        .collect();
    assert!(changes.is_empty(), "{}", render(&changes));
    Ok(())
}

#[test]
fn check_names_each_drift() -> Result<()> {
    let scene = Scene::new("drift")?;
    let drifts: [(&str, &str, &[&str]); 9] = [
        ("node", "nft delete table inet fairlead_masquerade", &["10.88.0.", "is not masqueraded"]),
        ("node", "ip addr del 10.88.0.1/24 dev cni0", &["cni0 has no address 10.88.0.1/24"]),
        ("node", "bridge link set dev HOST hairpin off", &["HOST has hairpin off"]),
        ("node", "ip link set HOST nomaster", &["HOST is not a port of cni0"]),
        ("node", "ip link set cni0 down", &["cni0 is down"]),
        ("pod", "ip addr del ADDRESS dev eth0", &["eth0 has no address ADDRESS"]),
        ("pod", "ip route del default", &["no route 0.0.0.0/0"]),
        ("pod", "ip link set eth0 address 02:00:00:00:00:99", &["hardware address 02:00:00:00:00:99"]),
        ("pod", "ip link del eth0", &["eth0 is not there"]),
    ];
    for (number, (place, deed, words)) in drifts.into_iter().enumerate() {
        let id = format!("pod-{number}");
        let (pod, with_result) = scene.pod(&id, &config())?;
        scene.call("CHECK", &id, &pod, &with_result)?.success().context("right after ADD")?;
        let result = &with_result["prevResult"];
        let fill = |text: &str| {
            let host = result["interfaces"][1]["name"].as_str().unwrap_or_default();
            text.replace("HOST", host).replace("ADDRESS", result["ips"][0]["address"].as_str().unwrap_or_default())
        };
        match place {
            "node" => scene.node.sh(&fill(deed))?,
            _ => pod.sh(&fill(deed))?,
        };
        let checked = scene.call("CHECK", &id, &pod, &with_result)?;
        assert_eq!(checked.status.code(), Some(1), "`{deed}` was not noticed");
        let said = checked.json()?["msg"].as_str().unwrap_or_default().to_owned();
        for word in words {
            assert!(said.contains(&fill(word)), "after `{deed}`: {word:?} is not in: {said}");
        }
        scene.call("DEL", &id, &pod, &with_result)?.success()?;
        scene.node.sh("ip link del cni0")?;
    }
    Ok(())
}

#[test]
fn status_tells_an_empty_pool_and_a_namespace_that_serves() -> Result<()> {
    let scene = Scene::new("status")?;
    let mut small = config();
    small["ipam"]["ranges"] = json!([[{"subnet": "10.88.0.0/24", "rangeStart": "10.88.0.7", "rangeEnd": "10.88.0.7"}]]);
    let probe = scene.lab.pod(&scene.node, "probe")?;
    scene.call("STATUS", "", &probe, &small)?.success()?;
    let (pod, _) = scene.pod("one", &small)?;
    let status = scene.call("STATUS", "", &probe, &small)?;
    let error = status.json()?;
    assert_eq!((status.status.code(), error["code"].as_u64()), (Some(1), Some(50)), "{error}");
    scene.call("DEL", "one", &pod, &small)?.success()?;
    scene.call("STATUS", "", &probe, &small)?.success()?;
    Ok(())
}

#[test]
fn what_a_pod_sends_beyond_its_network_has_the_nodes_address() -> Result<()> {
    let scene = Scene::new("masq")?;
    let far = scene.lab.node("b")?;
    scene.lab.wire(&scene.node, "192.168.77.1/24", &far, "192.168.77.2/24")?;
    let mut server = far.start(&traffic::serve("far", &["tcp:9000", "udp:9000"])?)?;
    server.wait_ready(patience(10))?;
    let (pod, _) = scene.pod("one", &config())?;
    let (near, _) = scene.pod("two", &config())?;
    let mut inside = near.start(&traffic::serve("near", &["tcp:9000"])?)?;
    inside.wait_ready(patience(10))?;

    let wire = Capture::start(&far, "eth0", "tcp port 9000")?;
    let bridge = Capture::start(&near, "eth0", "tcp port 9000")?;
    for target in ["tcp:192.168.77.2:9000", "udp:192.168.77.2:9000", "tcp:10.88.0.3:9000"] {
        let reports = traffic::counted(pod.output(&traffic::request(&[target], 5)?)?)?;
        assert_eq!((reports[0].answered, reports[0].unanswered()), (5, 0), "{target}: {:?}", reports[0]);
    }
    wire.wait_for(&["192.168.77.1."])?;
    let seen = wire.stop()?.join("\n");
    assert!(!seen.contains("10.88.0.2"), "the pod's own address on the wire:\n{seen}");
    bridge.wait_for(&["10.88.0.2."])?;
    let seen = bridge.stop()?.join("\n");
    assert!(!seen.contains("10.88.0.1."), "within its network a pod has its own address:\n{seen}");

    for (id, pod) in [("one", &pod), ("two", &near)] {
        scene.call("DEL", id, pod, &config())?.success()?;
    }
    assert_eq!(scene.node.sh("nft list ruleset")?, "", "the table goes with its last address");
    Ok(())
}
