//! A node with a dual-stack bridge that masquerades, and a published port behind it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use fairlead_conformance::cni::{Call, Suite};
use fairlead_conformance::lab::{Finished, Job, Lab, Node, Place, Pod};
use fairlead_conformance::limit::{patience, until};
use serde_json::{Value, json};

pub struct Scene {
    pub node: Node,
    pub suite: Suite,
    pub bridge: Value,
    pub portmap: Value,
    pub lab: Lab,
}

/// What a pod could leave on a node, by what it is.
pub type State = BTreeMap<String, Vec<String>>;

impl Scene {
    pub fn new(name: &str) -> Result<Self> {
        let lab = Lab::new(name)?;
        let node = lab.node("node")?;
        let ports = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]);
        let bridge = json!({
            "cniVersion": "1.1.0", "name": "net", "type": "bridge", "bridge": "cni0", "isDefaultGateway": true,
            "ipMasq": true, "hairpinMode": true,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}], [{"subnet": "fd00:88::/64"}]]}
        });
        let portmap =
            json!({"cniVersion": "1.1.0", "name": "net", "type": "portmap", "runtimeConfig": {"portMappings": ports}});
        let scene = Self { node, suite: Suite::ours()?, bridge, portmap, lab };
        // The bridge and its sysctls stay, by contract: with them is how it looks before.
        let warm = scene.pod("warm")?;
        scene.add(&warm)?;
        scene.must("DEL", &warm, &scene.bridge)?;
        Ok(scene)
    }

    pub fn pod(&self, name: &str) -> Result<Pod> {
        self.lab.pod(&self.node, name)
    }

    pub fn job(&self, verb: &str, pod: &Pod, config: &Value) -> Job {
        self.suite.plugin(config["type"].as_str().unwrap_or_default(), verb, &Call::new(pod.name(), pod), config)
    }

    pub fn call(&self, verb: &str, pod: &Pod, config: &Value, wrapper: &[&str]) -> Result<Finished> {
        let job = self.job(verb, pod, config);
        self.node.output(&if wrapper.is_empty() { job } else { job.under(wrapper) })
    }

    /// A call that must succeed: what it printed.
    pub fn must(&self, verb: &str, pod: &Pod, config: &Value) -> Result<Finished> {
        self.call(verb, pod, config, &[])?.success().with_context(|| format!("{verb} of {}", pod.name()))
    }

    /// ADD by `bridge`: its configuration with the result.
    pub fn add(&self, pod: &Pod) -> Result<Value> {
        let result = self.must("ADD", pod, &self.bridge)?.json()?;
        Ok(with_result(&self.bridge, &result))
    }

    /// Devices, rules and leases of the node.
    pub fn look(&self) -> Result<State> {
        let mut seen = State::new();
        seen.insert("devices".into(), devices(&self.node)?);
        let rules = self.node.sh("nft -s list ruleset")?;
        seen.insert("rules".into(), rules.lines().map(str::to_owned).collect());
        let entries = std::fs::read_dir(self.node.var_lib().join("cni/networks/net")).context("list the leases")?;
        let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut leases: Vec<String> = names.filter(|name| name.parse::<std::net::IpAddr>().is_ok()).collect();
        leases.sort();
        seen.insert("leases".into(), leases);
        Ok(seen)
    }

    /// Nothing is left: devices go in their own time.
    pub fn is_as(&self, before: &State) -> Result<()> {
        let mut last = State::new();
        let waited = until("nothing to be left", patience(5), || {
            last = self.look()?;
            Ok((last == *before).then_some(()))
        });
        ensure!(waited.is_ok(), "left: {last:?}\ninstead of {before:?}");
        Ok(())
    }

    /// The system calls of these names that a call makes: each name with how often.
    pub fn calls(&self, verb: &str, pod: &Pod, config: &Value, names: &str) -> Result<BTreeMap<String, usize>> {
        let trace = self.node.scratch_file("trace");
        let (file, wanted) = (trace.to_string_lossy().into_owned(), format!("trace={names}"));
        self.call(verb, pod, config, &["strace", "-qq", "-o", &file, "-e", &wanted])?.success()?;
        let mut counts = BTreeMap::new();
        for (name, _) in std::fs::read_to_string(&trace)?.lines().filter_map(|line| line.split_once('(')) {
            *counts.entry(name.to_owned()).or_default() += 1;
        }
        Ok(counts)
    }
}

pub fn with_result(config: &Value, result: &Value) -> Value {
    let mut config = config.clone();
    config["prevResult"] = result.clone();
    config
}

/// The error of a plugin that did not succeed: one JSON document with a code and a message, and no signal.
pub fn error_of(finished: &Finished) -> Result<String> {
    ensure!(finished.status.code() == Some(1), "it ended with {}: {}", finished.status, finished.stderr_text());
    let error = finished.json()?;
    let message = error["msg"].as_str().unwrap_or_default().to_owned();
    ensure!(error["code"].is_u64() && !message.is_empty(), "{error}");
    Ok(message)
}

/// The names of the devices, without a process.
pub fn devices(place: &Place) -> Result<Vec<String>> {
    place.enter(|| {
        let text = std::fs::read_to_string("/proc/thread-self/net/dev").context("read /proc/thread-self/net/dev")?;
        Ok(text.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim().to_owned()).collect())
    })
}
