//! What a case is played on: a node, pods, and the plugins called as a runtime calls them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};

use super::case::Skip;
use crate::cni::{Call, Suite};
use crate::lab::{Finished, Job, Lab, Node, Place, Pod};
use crate::limit::patience;
use crate::snapshot::{Names, Snapshot};

/// The network every case is about, unless it says otherwise.
pub(super) const NETWORK: &str = "net";

/// A fresh node, and who is judged on it.
#[derive(Debug)]
pub struct Stage {
    pub(super) lab: Lab,
    pub(super) node: Node,
    pub(super) suite: Suite,
    /// The other directory, for cases that need two.
    pub(super) peer: Option<Suite>,
    pub(super) plugin: &'static str,
    pub(super) version: &'static str,
    seen: Snapshot,
    /// What was seen since the last look: its names are still to be told by their owners.
    fresh: Snapshot,
}

impl Stage {
    pub(super) fn new(
        plugin: &'static str,
        version: &'static str,
        suite: &Suite,
        peer: Option<&Suite>,
    ) -> Result<Self> {
        let lab = Lab::new("case")?;
        let node = lab.node("node")?;
        quick_dad(&node)?;
        let (suite, peer) = (suite.clone(), peer.cloned());
        Ok(Self { lab, node, suite, peer, plugin, version, seen: Snapshot::default(), fresh: Snapshot::default() })
    }

    /// A pod, its namespace as a runtime makes one.
    pub(super) fn pod(&self, name: &str) -> Result<Pod> {
        let pod = self.lab.pod(&self.node, name)?;
        quick_dad(&pod)?;
        Ok(pod)
    }

    /// A configuration of `plugin` on the network `net`, in the version that is judged.
    pub(super) fn net(&self, plugin: &str, fields: Value) -> Value {
        let mut config = json!({"cniVersion": self.version, "name": NETWORK, "type": plugin});
        merge(&mut config, fields);
        config
    }

    /// Whether results list interfaces in this version.
    pub(super) fn has_lists(&self) -> bool {
        !self.version.starts_with("0.1") && !self.version.starts_with("0.2")
    }

    /// Whether this version has CHECK.
    pub(super) fn has_check(&self) -> bool {
        self.has_lists() && !self.version.starts_with("0.3")
    }

    /// The plugin that the configuration names.
    pub(super) fn job(&self, verb: &str, call: &Call<'_>, config: &Value) -> Job {
        self.suite.plugin(config["type"].as_str().unwrap_or(self.plugin), verb, call, config)
    }

    /// One call, whatever comes of it. What it says is a fact to compare with the peer's.
    pub(super) fn call(&mut self, verb: &str, call: &Call<'_>, config: &Value) -> Result<Finished> {
        let finished = self.node.output(&self.job(verb, call, config))?;
        self.note(&format!("{verb} {}", call.container), &finished);
        Ok(finished)
    }

    /// `eth0` of a pod; the container is called as the pod.
    pub(super) fn run(&mut self, verb: &str, pod: &Pod, config: &Value) -> Result<Finished> {
        self.call(verb, &Call::new(pod.name(), pod), config)
    }

    /// ADD, which must succeed: the result.
    pub(super) fn add(&mut self, pod: &Pod, config: &Value) -> Result<Value> {
        self.add_as(&Call::new(pod.name(), pod), pod, config)
    }

    /// The same with parameters of one's own.
    pub(super) fn add_as(&mut self, call: &Call<'_>, pod: &Pod, config: &Value) -> Result<Value> {
        let finished = self.call("ADD", call, config)?.success()?;
        let result = finished.json()?;
        ensure!(result["cniVersion"] == config["cniVersion"], "the result is of version {}", result["cniVersion"]);
        if self.peer.is_some() {
            self.look(pod)?;
        }
        Ok(result)
    }

    /// A verb that succeeds says nothing on stdout (specification, "Success").
    pub(super) fn silently(&mut self, verb: &str, pod: &Pod, config: &Value) -> Result<()> {
        self.silently_as(verb, &Call::new(pod.name(), pod), config)
    }

    /// The same with parameters of one's own.
    pub(super) fn silently_as(&mut self, verb: &str, call: &Call<'_>, config: &Value) -> Result<()> {
        let finished = self.call(verb, call, config)?.success()?;
        ensure!(finished.stdout.is_empty(), "{verb} printed {:?}", finished.stdout_text());
        Ok(())
    }

    /// A call that must be refused: its code and its message with the details.
    pub(super) fn refused(&mut self, verb: &str, pod: &Pod, config: &Value) -> Result<(i64, String)> {
        let finished = self.run(verb, pod, config)?;
        error_of(&finished)
    }

    /// A call that must be refused with all these words.
    pub(super) fn refused_for(&mut self, verb: &str, pod: &Pod, config: &Value, words: &[&str]) -> Result<()> {
        let (_, said) = self.refused(verb, pod, config)?;
        says(&said, words)
    }

    /// ADD of a whole list of plugins, each with the result before it: the last result.
    pub(super) fn add_list(&mut self, pod: &Pod, list: &[Value]) -> Result<Value> {
        let mut result = Value::Null;
        for config in list {
            let config = with_result(config, &result);
            result = self.add(pod, &config).with_context(|| format!("ADD by {}", config["type"]))?;
        }
        Ok(result)
    }

    /// CHECK or DEL of a whole list with the final result; DEL backwards, and without the result where the version has none.
    pub(super) fn all(&mut self, verb: &str, pod: &Pod, list: &[Value], result: &Value) -> Result<()> {
        let mut turns: Vec<&Value> = list.iter().collect();
        if verb == "DEL" {
            turns.reverse();
        }
        for config in turns {
            let config = if self.has_check() { with_result(config, result) } else { config.clone() };
            self.silently(verb, pod, &config).with_context(|| format!("{verb} by {}", config["type"]))?;
        }
        Ok(())
    }

    /// The leases of a network in the usual place, with what the files hold.
    pub(super) fn leases(&self, network: &str) -> BTreeMap<String, String> {
        let directory = self.node.var_lib().join("cni/networks").join(network);
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let named = entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()));
        named
            .filter(|(name, _)| name.parse::<std::net::IpAddr>().is_ok())
            .map(|(name, path)| (name, String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()))
            .collect()
    }

    /// No lease is left.
    pub(super) fn no_leases(&self) -> Result<()> {
        let leases = self.leases(NETWORK);
        ensure!(leases.is_empty(), "leases are left: {leases:?}");
        Ok(())
    }

    /// Runs a plugin with this text on standard input.
    pub(super) fn call_text(&mut self, verb: &str, call: &Call<'_>, plugin: &str, text: &str) -> Result<Finished> {
        let finished = self.node.output(&self.suite.plugin(plugin, verb, call, &Value::Null).stdin(text))?;
        self.note(&format!("{verb} {}", call.container), &finished);
        Ok(finished)
    }

    /// Says that the case cannot run here.
    pub(super) fn skip<T>(kernel: Option<&'static str>, why: impl Into<String>) -> Result<T> {
        Err(anyhow!(Skip { kernel, why: why.into() }))
    }

    /// The other plugin is needed for this case.
    pub(super) fn need(&self, plugins: &[&str]) -> Result<()> {
        for plugin in plugins {
            if !self.suite.binary(plugin).is_file() {
                return Self::skip(
                    None,
                    format!("it takes {plugin} too, which is not in {}", self.suite.bin.display()),
                );
            }
        }
        Ok(())
    }

    /// A wait's limit.
    pub(super) fn soon() -> Duration {
        patience(10)
    }

    /// What was seen, names drawn by lot told by their owners, or only as what they are.
    pub(super) fn seen(mut self) -> Snapshot {
        self.seen.add_all("seen", self.fresh.renamed(&Names::default()));
        let mut told = Snapshot::default();
        for (key, value) in self.seen.facts() {
            let value = match key.rsplit(' ').next() {
                // A bridge without an address takes the lowest of its ports': whose it is then is drawn by lot.
                Some("mac") => "<mac>",
                Some("sandbox") => "<netns>",
                _ => value,
            };
            told.add(key, value);
        }
        told
    }

    /// What a call said: of an error only that it was one, for words and codes differ with reason.
    fn note(&mut self, name: &str, finished: &Finished) {
        if self.peer.is_none() {
            return;
        }
        let status = if finished.status.success() { "success" } else { "refused" };
        self.fresh.add(format!("{name}: status"), status);
        if let (true, Ok(result)) = (finished.status.success(), finished.json()) {
            self.fresh.add_json(&format!("{name}: says"), &result);
        }
    }

    /// The pod's state: links, addresses, routes, sysctls. Left out is what is a plugin's own choice: how it detects and
    /// announces addresses, and what it writes on its devices.
    fn look(&mut self, pod: &Pod) -> Result<()> {
        const LEFT_OUT: [&str; 14] = [
            "fe80::",
            "ff02:",
            "33:33:",
            "nft ",
            "anycast",
            "operstate",
            "carrier",
            " flags",
            "table local",
            "ifalias",
            "arp_notify",
            "ndisc_notify",
            "accept_dad",
            "enhanced_dad",
        ];
        for (key, value) in Snapshot::network(pod)?.facts() {
            if !LEFT_OUT.iter().any(|word| key.contains(word)) {
                let value = if key.starts_with("addr ") { "there" } else { value };
                self.fresh.add(format!("{}: {key}", pod.name()), value);
            }
        }
        let names = Names::of(&[("node", &self.node), (pod.name(), pod)])?;
        for (key, value) in std::mem::take(&mut self.fresh).renamed(&names).facts() {
            self.seen.add(key, value);
        }
        Ok(())
    }
}

/// Duplicate address detection of addresses that are detected ends at once: the rules here are about what a plugin asks
/// for, not about how long a kernel waits.
fn quick_dad(place: &Place) -> Result<()> {
    place.enter(|| {
        for conf in ["all", "default"] {
            for setting in ["dad_transmits", "router_solicitations", "router_solicitation_delay"] {
                let file = format!("/proc/sys/net/ipv6/conf/{conf}/{setting}");
                if Path::new(&file).exists() {
                    std::fs::write(&file, "0").with_context(|| format!("write {file}"))?;
                }
            }
        }
        Ok(())
    })
}

/// Fields of `more` replace those of `config`; objects are merged.
pub(super) fn merge(config: &mut Value, more: Value) {
    match (config, more) {
        (Value::Object(config), Value::Object(more)) => {
            for (key, value) in more {
                merge(config.entry(key).or_insert(Value::Null), value);
            }
        }
        (place, value) => *place = value,
    }
}

/// The configuration as a chained plugin gets it.
pub(super) fn with_result(config: &Value, result: &Value) -> Value {
    let mut config = config.clone();
    if !result.is_null() {
        config["prevResult"] = result.clone();
    }
    config
}

/// The error a plugin reports: exit status 1 and one JSON document on stdout.
pub(super) fn error_of(finished: &Finished) -> Result<(i64, String)> {
    ensure!(!finished.status.success(), "it was not refused: {}", finished.stdout_text());
    ensure!(finished.status.code() == Some(1), "it ended with {} and {:?}", finished.status, finished.stderr_text());
    let error = finished.json()?;
    let code = error["code"].as_i64().filter(|code| *code > 0).ok_or_else(|| anyhow!("no code in {error}"))?;
    let message = error["msg"].as_str().filter(|text| !text.is_empty()).ok_or_else(|| anyhow!("no msg in {error}"))?;
    Ok((code, format!("{message} {}", error["details"].as_str().unwrap_or_default())))
}

/// All the words are in what was said.
pub(super) fn says(said: &str, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(said.to_lowercase().contains(&word.to_lowercase()), "{word:?} is not in: {said}");
    }
    Ok(())
}
