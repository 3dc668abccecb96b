//! Playing a case: what a runtime would do, and what there is to see after every step.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::cni::{Call, Suite};
use crate::lab::{Finished, Job, Lab, Node, Place};
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
    unpinned: bool,
}

impl Case {
    /// ADD, CHECK, DEL and DEL again with this configuration.
    pub fn new(name: &str, plugin: &str, config: Value) -> Self {
        Self { name: name.into(), plugin: plugin.into(), config, prepare: vec![], args: String::new(), unpinned: false }
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

    /// The bridge has no address of its own: it takes the lowest of its ports', drawn by lot, so that nobody can say whose
    /// a MAC on the node is. They are compared as "some MAC of the node".
    pub fn unpinned(mut self) -> Self {
        self.unpinned = true;
        self
    }

    pub(super) fn in_version(&self, version: &str) -> Self {
        let mut case = self.clone();
        case.name = format!("{} {version}", self.name);
        case.config["cniVersion"] = version.into();
        case
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
        let seen = seen.renamed(&names);
        Ok(if self.unpinned { blurred(&seen) } else { seen })
    }
}

/// One call on a fresh node and pod. What is left of it is told by names: links, files, rules.
pub(super) fn play_call(suite: &Suite, call: &dyn Fn(&Suite, &Place) -> Job) -> Result<Snapshot> {
    let lab = Lab::new("differential")?;
    let node = lab.node("node")?;
    let pod = lab.pod(&node, "one")?;
    quick_dad(&node)?;
    let mut seen = Snapshot::default();
    let finished = node.output(&call(suite, &pod))?;
    tell(&mut seen, "call", &finished);
    seen.add("call is silent on stderr", if finished.stderr.is_empty() { "yes" } else { "no" });
    for (name, place) in [("node", &*node), ("pod", &*pod)] {
        let links = place.json("ip -j link show")?;
        let names = links.as_array().into_iter().flatten().filter_map(|link| link["ifname"].as_str());
        seen.add(format!("after {name} links"), names.collect::<Vec<_>>().join(" "));
    }
    seen.add("after node nft", node.sh("nft -s list ruleset")?.trim());
    seen.add_files("/var/lib/cni", &node.var_lib().join("cni"))?;
    let mut names = Names::of(&[("node", &node), ("one", &pod)])?;
    names.add(suite.bin.to_string_lossy(), "<CNI_PATH>");
    Ok(seen.renamed(&names))
}

/// Duplicate address detection of what the kernel itself makes (link-local addresses) ends at once, so that both suites
/// are seen at rest.
pub(super) fn quick_dad(place: &Place) -> Result<()> {
    for setting in ["dad_transmits=0", "router_solicitation_delay=0", "router_solicitations=0"] {
        place.sh(&format!("sysctl -qw net.ipv6.conf.default.{setting} net.ipv6.conf.all.{setting}"))?;
    }
    Ok(())
}

/// Everything there is to see on the node, in the pods, and in the files.
pub(super) fn see(seen: &mut Snapshot, when: &str, node: &Node, pods: &[crate::lab::Pod; 2]) -> Result<()> {
    for (name, place) in [("node", &**node), ("one", &*pods[0]), ("two", &*pods[1])] {
        limit::until("link-local addresses to be usable", limit::patience(5), || {
            Ok((!place.sh("ip -6 addr show tentative")?.contains("inet6")).then_some(()))
        })?;
        limit::until("pairs to say that they have a carrier", limit::patience(5), || {
            Ok(place
                .json("ip -j link show type veth")?
                .as_array()
                .is_none_or(|all| all.iter().all(is_at_rest))
                .then_some(()))
        })?;
        seen.add_all(&format!("{when} {name}"), without_carrier(&Snapshot::network(place)?));
    }
    let mut files = Snapshot::default();
    files.add_files("/var/lib/cni", &node.var_lib().join("cni"))?;
    seen.add_all(when, files);
    Ok(())
}

/// The kernel notes a carrier up to a second late where both ends of a pair have the same index (net/core/link_watch.c,
/// linkwatch_urgent_event), and an interface has its link-local address from then on.
fn is_at_rest(link: &Value) -> bool {
    let is_up = link["flags"].as_array().is_some_and(|flags| flags.iter().any(|flag| flag == "UP"));
    !is_up || link["operstate"] == "UP" || link["operstate"] == "LOWERLAYERDOWN"
}

/// A bridge that got its first port or lost its last one says so up to a second later (net/core/link_watch.c,
/// linkwatch_schedule_work): what depends on its carrier is no fact about a plugin.
fn without_carrier(state: &Snapshot) -> Snapshot {
    let mut calm = Snapshot::default();
    for (key, value) in state.facts() {
        if !BRIDGES.iter().any(|bridge| key.contains(&format!(" {bridge} "))) {
            calm.add(key, value);
        } else if !key.ends_with(" operstate") {
            let value =
                ["NO-CARRIER, ", ", LOWER_UP", "linkdown"].iter().fold(value.to_owned(), |v, word| v.replace(word, ""));
            calm.add(key, value);
        }
    }
    calm
}

/// The bridges of all cases.
const BRIDGES: [&str; 2] = ["cni0", "br-l2"];

/// Without the owners of the node's MACs and of what is derived from them.
fn blurred(seen: &Snapshot) -> Snapshot {
    let blur = |text: &str| {
        let owners = ["cni0", "br-l2", "veth#1", "veth#2"].iter();
        let text = owners.fold(text.to_owned(), |text, device| text.replace(&format!("of node {device}>"), "of node>"));
        text.split(' ').map(blur_word).collect::<Vec<_>>().join(" ")
    };
    let mut blurred = Snapshot::default();
    for (key, value) in seen.facts() {
        blurred.add(blur(key), blur(value));
    }
    blurred
}

/// An address derived from a MAC that is no more keeps its form: `fe80::…ff:fe…`, and the group `33:33:ff:…`.
fn blur_word(word: &str) -> String {
    if word.starts_with("fe80::") && word.contains("ff:fe") {
        let prefix = word.split_once('/').map_or(String::new(), |(_, prefix)| format!("/{prefix}"));
        return format!("<link-local of node>{prefix}");
    }
    if word.starts_with("33:33:ff:") {
        return "<solicited-node of node>".into();
    }
    word.to_owned()
}

/// What a plugin said: its status, its JSON leaf by leaf, and the exact text of a result. (Of an error only the leaves: its
/// text differs by the version that ours tells.)
pub(super) fn tell(seen: &mut Snapshot, name: &str, finished: &Finished) {
    seen.add(format!("{name} status"), finished.status.code().unwrap_or(-1).to_string());
    let text = finished.stdout_text();
    match finished.json() {
        Ok(value) => seen.add_json(&format!("{name} says"), &value),
        Err(_) if text.is_empty() => (),
        Err(_) => seen.add(format!("{name} says"), &text),
    }
    if finished.status.success() && !text.is_empty() {
        seen.add(format!("{name} text"), text.escape_debug().to_string());
    }
}
