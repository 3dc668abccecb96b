//! A node with three bridges and a neighbour, on which nothing is forwarded unless somebody says so.

use anyhow::{Context, Result, ensure};
use fairlead_conformance::cni::{Call, Suite};
use fairlead_conformance::lab::{Finished, Lab, Node, Place, Pod, Running};
use fairlead_conformance::limit::{self, patience};
use fairlead_conformance::traffic;
use serde_json::{Value, json};

/// The port of every server.
const PORT: u16 = 9000;

/// A lab with one suite of plugins.
pub struct Scene {
    pub lab: Lab,
    pub node: Node,
    /// Behind the node's uplink.
    pub outside: Node,
    pub suite: Suite,
}

/// A pod that was ADDed.
pub struct Attached {
    pub pod: Pod,
    pub id: String,
    /// The configuration of each plugin, with the result that it was given.
    pub bridge: Value,
    pub firewall: Value,
    pub result: Value,
}

impl Scene {
    pub fn new(name: &str, suite: Suite) -> Result<Scene> {
        let lab = Lab::new(name)?;
        let (node, outside) = (lab.node("node")?, lab.node("out")?);
        lab.wire(&node, "192.0.2.1/24", &outside, "192.0.2.2/24")?;
        node.sh("ip addr add fd00:99::1/64 dev eth0 nodad")?;
        outside.sh("ip addr add fd00:99::2/64 dev eth0 nodad")?;
        shell(&outside, "ip route add 10.0.0.0/8 via 192.0.2.1 && ip route add fd00::/16 via fd00:99::1")?;
        Ok(Scene { lab, node, outside, suite })
    }

    pub fn ours(name: &str) -> Result<Scene> {
        Scene::new(name, Suite::ours()?)
    }

    /// What `iptables` does with packets that no rule of `FORWARD` decides about.
    pub fn policy(&self, policy: &str) -> Result<()> {
        shell(&self.node, &format!("iptables -P FORWARD {policy} && ip6tables -P FORWARD {policy}"))?;
        Ok(())
    }

    pub fn call(&self, plugin: &str, verb: &str, id: &str, place: &Place, config: &Value) -> Result<Finished> {
        self.node.output(&self.suite.plugin(plugin, verb, &Call::new(id, place), config))
    }

    /// A pod on the bridge `br-<letter>`, dual-stack, behind `firewall` with these keys.
    pub fn add(&self, id: &str, letter: char, keys: Value) -> Result<Attached> {
        let pod = self.lab.pod(&self.node, id)?;
        let (bridge, firewall) = configs(letter, keys);
        let between = self.call("bridge", "ADD", id, &pod, &bridge)?.success()?.json()?;
        settle(&self.node)?;
        let mut attached = Attached { pod, id: id.to_owned(), bridge, firewall, result: Value::Null };
        attached.firewall["prevResult"] = between;
        attached.result = self.call("firewall", "ADD", id, &attached.pod, &attached.firewall)?.success()?.json()?;
        attached.firewall["prevResult"] = attached.result.clone();
        attached.bridge["prevResult"] = attached.result.clone();
        Ok(attached)
    }

    /// DEL of both, as a runtime does.
    pub fn del(&self, attached: &Attached) -> Result<()> {
        for (plugin, config) in [("firewall", &attached.firewall), ("bridge", &attached.bridge)] {
            self.call(plugin, "DEL", &attached.id, &attached.pod, config)?.success().context(plugin)?;
        }
        Ok(())
    }

    /// `nft list ruleset` of the node, without counters.
    pub fn ruleset(&self) -> Result<String> {
        self.node.sh("nft -s list ruleset")
    }
}

/// A script of the shell, which must succeed; what it printed.
pub fn shell(place: &Place, script: &str) -> Result<String> {
    place.run(&["sh", "-c", script])
}

/// The network `net-<letter>`: 10.88+n.0.0/24 and fd00:88+n::/64.
pub fn configs(letter: char, keys: Value) -> (Value, Value) {
    let number = 88 + u32::from(letter) - u32::from('a');
    let (name, device) = (format!("net-{letter}"), format!("br-{letter}"));
    let bridge = json!({
        "cniVersion": "1.1.0", "name": name, "type": "bridge", "bridge": device, "isDefaultGateway": true,
        "ipam": {"type": "host-local", "ranges": [
            [{"subnet": format!("10.{number}.0.0/24")}], [{"subnet": format!("fd00:{number}::/64")}]
        ]}
    });
    let mut firewall = json!({"cniVersion": "1.1.0", "name": name, "type": "firewall", "backend": "iptables"});
    if let (Value::Object(firewall), Value::Object(keys)) = (&mut firewall, keys) {
        firewall.extend(keys);
    }
    (bridge, firewall)
}

impl Attached {
    /// Its addresses, without prefix.
    pub fn addresses(&self) -> Vec<String> {
        let ips = self.result["ips"].as_array().into_iter().flatten();
        ips.filter_map(|ip| Some(ip["address"].as_str()?.split('/').next()?.to_owned())).collect()
    }

    /// The host's end of its pair.
    pub fn port(&self) -> String {
        self.result["interfaces"][1]["name"].as_str().unwrap_or_default().to_owned()
    }
}

/// Somebody who can be asked.
pub struct Station<'a> {
    pub place: &'a Place,
    pub addresses: Vec<String>,
}

/// Who reaches whom: `from -> to ADDRESS`, one a line, sorted. Each asks each once on every address.
pub fn reach(stations: &[Station<'_>]) -> Result<Vec<String>> {
    let mut servers: Vec<Running> = Vec::new();
    for station in stations {
        settle(station.place)?;
        let mut server = station.place.start(&traffic::serve(station.place.name(), &[&format!("tcp:{PORT}")])?)?;
        server.wait_ready(patience(10))?;
        servers.push(server);
    }
    let asked: Vec<Result<Vec<String>>> = std::thread::scope(|scope| {
        let running: Vec<_> = stations.iter().map(|from| scope.spawn(|| asked_by(from, stations))).collect();
        running.into_iter().map(|one| one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    let mut all: Vec<String> = asked.into_iter().collect::<Result<Vec<_>>>()?.concat();
    all.sort();
    Ok(all)
}

fn asked_by(from: &Station<'_>, stations: &[Station<'_>]) -> Result<Vec<String>> {
    let others = stations.iter().filter(|to| to.place.name() != from.place.name());
    let questions: Vec<(String, String)> = others
        .flat_map(|to| {
            let line = |address: &String| {
                let host = if address.contains(':') { format!("[{address}]") } else { address.clone() };
                (format!("{} -> {} {address}", from.place.name(), to.place.name()), format!("tcp:{host}:{PORT}"))
            };
            to.addresses.iter().map(line)
        })
        .collect();
    let targets: Vec<&str> = questions.iter().map(|(_, target)| &target[..]).collect();
    let wait = (patience(1).as_millis() * 7 / 10).to_string();
    let workers = targets.len().to_string();
    let job = traffic::request(&targets, 1)?.args(["--timeout-ms", &wait, "--concurrency", &workers]);
    let finished = from.place.output(&job)?;
    let reports = finished.stdout_text();
    ensure!(!reports.is_empty(), "{} asked nobody: {}", from.place.name(), finished.stderr_text());
    let mut reached = Vec::new();
    for report in reports.lines().filter(|line| line.starts_with('{')) {
        let report: Value = serde_json::from_str(report)?;
        let target = report["target"].as_str().unwrap_or_default();
        if report["done"] == true && report["answered"] == 1 {
            let line = questions.iter().find(|(_, one)| one == target).map(|(line, _)| line.clone());
            reached.push(line.with_context(|| format!("nobody asked {target}"))?);
        }
    }
    Ok(reached)
}

/// Until no address of the place is in doubt: a node does not look for neighbours behind a device whose own is.
fn settle(place: &Place) -> Result<()> {
    limit::until("addresses without doubt", patience(10), || {
        Ok(place.sh("ip -6 addr show tentative")?.is_empty().then_some(()))
    })
}
