//! A node with a bridge, a host beyond it, and pods whose ports are published.

use anyhow::{Context, Result, ensure};
use fairlead_conformance::cni::{Call, Suite};
use fairlead_conformance::lab::{Finished, Lab, Node, Place, Pod, Running};
use fairlead_conformance::limit::{patience, until};
use fairlead_conformance::traffic;
use serde_json::{Value, json};

pub const NODE: &str = "192.168.77.1";
pub const FAR: &str = "192.168.77.2";
pub const GATEWAY: &str = "10.88.0.1";

/// `far` is on the other end of the node's wire, and has the node as its way to everything.
pub struct Stage {
    pub lab: Lab,
    pub node: Node,
    pub far: Node,
    pub suite: Suite,
}

/// A pod of the network, and the configuration of `portmap` as later verbs get it.
pub struct Published {
    pub pod: Pod,
    pub id: String,
    pub config: Value,
}

impl Stage {
    pub fn new(name: &str, suite: Suite) -> Result<Self> {
        let lab = Lab::new(name)?;
        let (node, far) = (lab.node("node")?, lab.node("far")?);
        lab.wire(&node, &format!("{NODE}/24"), &far, &format!("{FAR}/24"))?;
        for (place, line) in [
            (&node, "ip addr add 2001:db8:77::1/64 dev eth0 nodad"),
            (&far, "ip addr add 2001:db8:77::2/64 dev eth0 nodad"),
            (&far, "ip route add default via 192.168.77.1"),
            (&far, "ip route add default via 2001:db8:77::1"),
        ] {
            place.sh(line)?;
        }
        // Until the link's own addresses are known to be nobody else's, the kernel asks for no neighbour.
        for place in [&node, &far] {
            until("the link-local addresses", patience(10), || {
                Ok(place.sh("ip -6 addr show dev eth0 tentative")?.trim().is_empty().then_some(()))
            })?;
        }
        Ok(Self { lab, node, far, suite })
    }

    pub fn ours(name: &str) -> Result<Self> {
        Self::new(name, Suite::ours()?)
    }

    pub fn call(&self, plugin: &str, verb: &str, id: &str, pod: &Pod, config: &Value) -> Result<Finished> {
        self.node.output(&self.suite.plugin(plugin, verb, &Call::new(id, pod), config))
    }

    /// A pod on the bridge, its ports not yet published: the configuration to do it with.
    pub fn pod(&self, id: &str, mappings: Value, more: &Value) -> Result<Published> {
        let pod = self.lab.pod(&self.node, id)?;
        let bridge = json!({
            "cniVersion": "1.1.0", "name": "net", "type": "bridge", "bridge": "cni0", "isDefaultGateway": true,
            "hairpinMode": true,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}], [{"subnet": "fd00:88::/64"}]]}
        });
        let result = self.call("bridge", "ADD", id, &pod, &bridge)?.success()?.json()?;
        let mut config = portmap(mappings, more);
        config["prevResult"] = result;
        Ok(Published { pod, id: id.into(), config })
    }

    /// A pod behind `ptp`, published: the host's end of the pair is the only way to it.
    pub fn point_to_point(&self, id: &str, mappings: Value) -> Result<Published> {
        let pod = self.lab.pod(&self.node, id)?;
        let ptp = json!({
            "cniVersion": "1.1.0", "name": "net", "type": "ptp",
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.99.0.0/24"}], [{"subnet": "fd00:99::/64"}]],
                     "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}
        });
        let result = self.call("ptp", "ADD", id, &pod, &ptp)?.success()?.json()?;
        let mut config = portmap(mappings, &json!({}));
        config["prevResult"] = result;
        let published = Published { pod, id: id.into(), config };
        self.verb("ADD", &published)?.success()?;
        Ok(published)
    }

    /// The same as [`Stage::pod`], published.
    pub fn published(&self, id: &str, mappings: Value, more: &Value) -> Result<Published> {
        let published = self.pod(id, mappings, more)?;
        self.verb("ADD", &published)?.success().with_context(|| format!("{}: {more}", self.suite.name))?;
        Ok(published)
    }

    pub fn verb(&self, verb: &str, published: &Published) -> Result<Finished> {
        self.call("portmap", verb, &published.id, &published.pod, &published.config)
    }

    pub fn rules(&self) -> Result<String> {
        self.node.sh("nft list ruleset")
    }

    /// A sysctl of the node's network.
    pub fn sysctl(&self, key: &str) -> Result<String> {
        self.node.enter(|| {
            let value =
                std::fs::read_to_string(format!("/proc/sys/net/{key}")).with_context(|| format!("read {key}"))?;
            Ok(value.trim().to_owned())
        })
    }
}

/// A configuration of `portmap` without a result before it.
pub fn portmap(mappings: Value, more: &Value) -> Value {
    let mut config = json!({"cniVersion": "1.1.0", "name": "net", "type": "portmap"});
    if !mappings.is_null() {
        config["runtimeConfig"] = json!({"portMappings": mappings});
    }
    for (key, value) in more.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    config
}

pub fn mapping(host: u16, container: u16, protocol: &str) -> Value {
    json!({"hostPort": host, "containerPort": container, "protocol": protocol})
}

pub fn at(host_ip: &str, mut mapping: Value) -> Value {
    mapping["hostIP"] = host_ip.into();
    mapping
}

/// A server that answers with its place's name.
pub fn serve(place: &Place, ports: &[&str]) -> Result<Running> {
    let mut server = place.start(&traffic::serve(place.name(), ports)?)?;
    server.wait_ready(patience(10))?;
    Ok(server)
}

/// Who answers, if anybody does in time.
pub fn ask(place: &Place, target: &str) -> Result<Option<String>> {
    let wait = (patience(1).as_millis() / 2).to_string();
    let job = traffic::request(&[target], 1)?.args(["--timeout-ms", &wait]);
    let reports = traffic::counted(place.output(&job)?)?;
    Ok(reports.into_iter().find_map(|report| report.backends.into_keys().next()))
}

/// `who` answers, as soon as the kernel has found its neighbours.
pub fn answers(place: &Place, target: &str, who: &Place) -> Result<()> {
    let asked = until(&format!("{target}, asked on {}", place.name()), patience(5), || ask(place, target))?;
    ensure!(asked == who.name(), "{target} asked on {}: {asked} answered", place.name());
    Ok(())
}

pub fn is_silent(place: &Place, target: &str) -> Result<()> {
    let answer = ask(place, target)?;
    ensure!(answer.is_none(), "{target} asked on {}: {answer:?} answered", place.name());
    Ok(())
}
