//! A stage for chained plugins: a pair of devices made by `ip`, and the result of the plugin that would have made it. So
//! nothing but the plugin under test can make a difference.

mod refusal;

use anyhow::{Context, Result};
use fairlead_conformance::cni::{Call, Suite};
use fairlead_conformance::lab::{Finished, Lab, Node, Pod};
use serde_json::{Value, json};

pub use refusal::refusal;

/// Hardware address of the container's end.
pub const MAC: &str = "02:00:00:00:00:02";

/// One node, one pod, `veth0` on the node and `eth0` in the pod.
pub struct Stage {
    pub lab: Lab,
    pub node: Node,
    pub pod: Pod,
    plugin: &'static str,
}

impl Stage {
    pub fn new(name: &str, plugin: &'static str) -> Result<Self> {
        let lab = Lab::new(name)?;
        let node = lab.node("node")?;
        let pod = lab.pod(&node, "pod")?;
        let stage = Self { lab, node, pod, plugin };
        stage.connect("veth0", "eth0", &stage.pod, MAC)?;
        Ok(stage)
    }

    /// One more pair.
    pub fn connect(&self, host: &str, ifname: &str, pod: &Pod, mac: &str) -> Result<()> {
        let netns = pod.netns().file_name().context("a namespace has a name")?.to_string_lossy().into_owned();
        // Addresses of the ends' own would differ from run to run.
        for place in [&*self.node, &**pod] {
            place.sh("sysctl -qw net.ipv6.conf.default.disable_ipv6=1")?;
        }
        self.node.sh(&format!(
            "ip link add {host} address 02:00:00:00:01:01 type veth peer name {ifname} address {mac} netns {netns}"
        ))?;
        self.node.sh(&format!("ip link set {host} up"))?;
        pod.sh(&format!("ip link set {ifname} up"))?;
        Ok(())
    }

    /// The plugin's configuration, with the previous result of a list in this version.
    pub fn config(&self, version: &str, keys: &Value) -> Value {
        let mut config = json!({"cniVersion": version, "name": "net", "type": self.plugin});
        if let (Some(config), Some(keys)) = (config.as_object_mut(), keys.as_object()) {
            config.extend(keys.clone());
        }
        config["prevResult"] = self.previous(version);
        config
    }

    fn previous(&self, version: &str) -> Value {
        if matches!(version, "0.1.0" | "0.2.0") {
            return json!({"cniVersion": version, "ip4": {"ip": "10.88.0.2/24", "gateway": "10.88.0.1"}, "dns": {}});
        }
        let mut address = json!({"address": "10.88.0.2/24", "gateway": "10.88.0.1", "interface": 1});
        if version.starts_with('0') {
            address["version"] = "4".into();
        }
        json!({
            "cniVersion": version,
            "interfaces": [
                {"name": "veth0", "mac": "02:00:00:00:01:01"},
                {"name": "eth0", "mac": MAC, "sandbox": self.pod.netns()}
            ],
            "ips": [address], "dns": {}
        })
    }

    pub fn call(&self, suite: &Suite, verb: &str, config: &Value) -> Result<Finished> {
        self.call_as(suite, verb, &Call::new("container", &self.pod), config)
    }

    pub fn call_as(&self, suite: &Suite, verb: &str, call: &Call<'_>, config: &Value) -> Result<Finished> {
        self.node.output(&suite.plugin(self.plugin, verb, call, config))
    }

    /// The same behind other programs, such as `unshare`.
    pub fn call_under(&self, suite: &Suite, wrapper: &[&str], verb: &str, config: &Value) -> Result<Finished> {
        let call = Call::new("container", &self.pod);
        self.node.output(&suite.plugin(self.plugin, verb, &call, config).under(wrapper))
    }

    /// A text without what differs from stage to stage.
    pub fn plain(&self, text: &str) -> String {
        text.replace(&*self.pod.netns().to_string_lossy(), "<pod>")
    }
}
