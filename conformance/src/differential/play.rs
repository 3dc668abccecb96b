//! Playing a case: what a runtime would do, and what there is to see after every step.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::cni::{Call, Suite};
use crate::lab::{Finished, Lab, Node, Place};
use crate::limit;
use crate::snapshot::{Names, Snapshot};

/// One configuration of one plugin, for two pods on one node.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it is called in DIFFERENCES.md.
    pub name: String,
    plugin: String,
    config: Value,
    prepare: Vec<String>,
    args: String,
}

impl Case {
    /// ADD, CHECK, DEL and DEL again with this configuration.
    pub fn new(name: &str, plugin: &str, config: Value) -> Self {
        Self { name: name.into(), plugin: plugin.into(), config, prepare: vec![], args: String::new() }
    }

    /// A command line to run on the node first.
    pub fn prepare(mut self, line: &str) -> Self {
        self.prepare.push(line.into());
        self
    }

    /// `CNI_ARGS`.
    pub fn args(mut self, args: &str) -> Self {
        self.args = args.into();
        self
    }

    pub(super) fn play(&self, suite: &Suite) -> Result<Snapshot> {
        self.play_in(suite).with_context(|| format!("case `{}` on {}", self.name, suite.name))
    }

    fn play_in(&self, suite: &Suite) -> Result<Snapshot> {
        let lab = Lab::new("differential")?;
        let node = lab.node("node")?;
        let pods = [lab.pod(&node, "one")?, lab.pod(&node, "two")?];
        for place in [&*node, &*pods[0], &*pods[1]] {
            quick_dad(place)?;
        }
        for line in &self.prepare {
            node.sh(line)?;
        }
        let mut seen = Snapshot::default();
        let mut configs = Vec::new();
        for pod in &pods {
            let id = format!("container-{}", pod.name());
            let call = Call { args: &self.args, ..Call::new(&id, pod) };
            let added = node.output(&suite.plugin(&self.plugin, "ADD", &call, &self.config))?;
            let mut config = self.config.clone();
            if added.status.success() {
                config["prevResult"] = added.json()?;
            }
            tell(&mut seen, &format!("ADD {}", pod.name()), &added);
            configs.push(config);
        }
        let names = Names::of(&[("node", &node), ("one", &pods[0]), ("two", &pods[1])])?;
        see(&mut seen, "added", &node, &pods)?;
        for verb in ["CHECK", "DEL", "DEL"] {
            for (pod, config) in pods.iter().zip(&configs) {
                let id = format!("container-{}", pod.name());
                let call = Call { args: &self.args, ..Call::new(&id, pod) };
                tell(
                    &mut seen,
                    &format!("{verb} {}", pod.name()),
                    &node.output(&suite.plugin(&self.plugin, verb, &call, config))?,
                );
            }
        }
        see(&mut seen, "deleted", &node, &pods)?;
        Ok(seen.renamed(&names))
    }
}

/// Duplicate address detection of what the kernel itself makes (link-local addresses) ends at once, so that both suites
/// are seen at rest.
fn quick_dad(place: &Place) -> Result<()> {
    for setting in ["dad_transmits=0", "router_solicitation_delay=0", "router_solicitations=0"] {
        place.sh(&format!("sysctl -qw net.ipv6.conf.default.{setting} net.ipv6.conf.all.{setting}"))?;
    }
    Ok(())
}

/// Everything there is to see on the node, in the pods, and in the files.
fn see(seen: &mut Snapshot, when: &str, node: &Node, pods: &[crate::lab::Pod; 2]) -> Result<()> {
    for (name, place) in [("node", &**node), ("one", &*pods[0]), ("two", &*pods[1])] {
        limit::until("link-local addresses to be usable", limit::patience(5), || {
            Ok((!place.sh("ip -6 addr show tentative")?.contains("inet6")).then_some(()))
        })?;
        seen.add_all(&format!("{when} {name}"), Snapshot::network(place)?);
    }
    let mut files = Snapshot::default();
    files.add_files("/var/lib/cni", &node.var_lib().join("cni"))?;
    seen.add_all(when, files);
    Ok(())
}

/// What a plugin said: its status, its JSON leaf by leaf, and the exact text.
fn tell(seen: &mut Snapshot, name: &str, finished: &Finished) {
    seen.add(format!("{name} status"), finished.status.code().unwrap_or(-1).to_string());
    if let Ok(value) = finished.json() {
        seen.add_json(&format!("{name} says"), &value);
    }
    seen.add(format!("{name} text"), finished.stdout_text().escape_debug().to_string());
}
