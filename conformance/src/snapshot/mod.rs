//! Snapshots: the state of a namespace, of a directory or of the machine as facts, one line each.
//!
//! A fact is a key and a value (`link cni0 mtu` = `1500`). Facts sort, print and compare by themselves: a difference is
//! readable without its surroundings, can be grepped, and can be named in a table.
//! What changes without anybody's doing (counters, timers, learned neighbours, interface indexes, ids) is left out.

mod files;
mod flatten;
mod machine;
mod names;
mod network;
mod rules;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Result, bail};

pub use names::Names;

use crate::lab::Place;
use crate::limit;

/// Facts by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    facts: BTreeMap<String, String>,
}

/// One fact that is not the same on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The fact's key.
    pub key: String,
    /// Its value before (or on the reference), if it was there.
    pub before: Option<String>,
    /// Its value after (or on ours), if it is there.
    pub after: Option<String>,
}

impl Snapshot {
    /// The network state of a namespace: links, addresses, routes of all tables, rules, permanent neighbours and FDB
    /// entries, queueing disciplines, nf_tables, and the sysctls that plugins touch.
    pub fn network(place: &Place) -> Result<Self> {
        let mut snapshot = Self::default();
        network::collect(&mut snapshot, place)?;
        rules::collect(&mut snapshot, place)?;
        Ok(snapshot)
    }

    /// The machine: its own network namespace, BPF programs, maps and links, cgroup v2 directories, names of network
    /// namespaces, mounts; and whatever [`Snapshot::add_files`] adds.
    pub fn machine() -> Result<Self> {
        let mut snapshot = Self::network(&Place::here(&std::env::temp_dir()))?;
        machine::collect(&mut snapshot)?;
        Ok(snapshot)
    }

    /// Adds every file below `root`: mode, and content byte for byte (of files beyond 4 KiB only the length). A root
    /// that is not there is the fact that it is absent.
    pub fn add_files(&mut self, name: &str, root: &std::path::Path) -> Result<()> {
        files::collect(self, name, root)
    }

    /// Adds a JSON value, one fact per leaf.
    pub fn add_json(&mut self, name: &str, value: &serde_json::Value) {
        flatten::flatten(name, value, &mut |key, value| self.add(key, value));
    }

    /// Adds one fact. A second one with the same key gets a number, so that nothing is swallowed.
    pub fn add(&mut self, key: impl Into<String>, value: impl Into<String>) {
        let key = key.into();
        let free = (1..).map(|n| if n == 1 { key.clone() } else { format!("{key} #{n}") });
        for key in free {
            if let std::collections::btree_map::Entry::Vacant(entry) = self.facts.entry(key) {
                entry.insert(value.into());
                return;
            }
        }
    }

    /// Adds all facts of another one, their keys led by `name`.
    pub fn add_all(&mut self, name: &str, other: Self) {
        for (key, value) in other.facts {
            self.add(format!("{name}: {key}"), value);
        }
    }

    /// The value of a fact.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.facts.get(key).map(String::as_str)
    }

    /// All facts, sorted by key.
    pub fn facts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.facts.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The same facts with random names replaced, in keys and values.
    pub fn renamed(&self, names: &Names) -> Self {
        let mut renamed = Self::default();
        for (key, value) in &self.facts {
            renamed.add(names.replace(key), names.replace(value));
        }
        renamed
    }

    /// What is different in `after`, sorted by key; empty when nothing is.
    pub fn diff(&self, after: &Self) -> Vec<Change> {
        let keys: std::collections::BTreeSet<&String> = self.facts.keys().chain(after.facts.keys()).collect();
        let change = |key: &String| Change {
            key: key.clone(),
            before: self.facts.get(key).cloned(),
            after: after.facts.get(key).cloned(),
        };
        keys.into_iter().map(change).filter(|change| change.before != change.after).collect()
    }
}

/// Takes snapshots until one is equal to `before`. What the kernel frees in its own time (namespaces, BPF objects) may
/// take a moment; what is still there after `within` is residue, and the error lists it.
pub fn wait_for_equal(before: &Snapshot, within: Duration, mut take: impl FnMut() -> Result<Snapshot>) -> Result<()> {
    let mut last = Vec::new();
    let waited = limit::until("the state to be as before", within, || {
        last = before.diff(&take()?);
        Ok(last.is_empty().then_some(()))
    });
    match waited {
        Ok(()) => Ok(()),
        Err(_) if !last.is_empty() => bail!("{} facts are not as before:\n{}", last.len(), render(&last)),
        Err(error) => Err(error),
    }
}

/// Changes for people: `-` before, `+` after.
pub fn render(changes: &[Change]) -> String {
    changes.iter().map(Change::to_string).collect::<Vec<_>>().join("\n")
}

impl fmt::Display for Change {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => write!(to, "  {}: {before} -> {after}", self.key),
            (Some(before), None) => write!(to, "- {}: {before}", self.key),
            (None, Some(after)) => write!(to, "+ {}: {after}", self.key),
            (None, None) => write!(to, "  {}", self.key),
        }
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.facts.iter().try_for_each(|(key, value)| writeln!(to, "{key}: {value}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_tells_what_came_what_went_and_what_changed() {
        let (mut before, mut after) = (Snapshot::default(), Snapshot::default());
        for (snapshot, mtu) in [(&mut before, "1500"), (&mut after, "1450")] {
            snapshot.add("link cni0 mtu", mtu);
            snapshot.add("link lo mtu", "65536");
        }
        before.add("addr eth0 10.1.0.2/24", "global");
        after.add("addr eth0 10.1.0.3/24", "global");
        let text = render(&before.diff(&after));
        let wanted = "- addr eth0 10.1.0.2/24: global\n+ addr eth0 10.1.0.3/24: global\n  link cni0 mtu: 1500 -> 1450";
        assert_eq!(text, wanted);
        assert!(before.diff(&before).is_empty());
    }

    #[test]
    fn equal_keys_are_numbered_and_not_swallowed() {
        let mut snapshot = Snapshot::default();
        snapshot.add("route default", "metric 1");
        snapshot.add("route default", "metric 2");
        assert_eq!(snapshot.get("route default #2"), Some("metric 2"));
    }
}
