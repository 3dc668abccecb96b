//! Playing `cnitool`: what a person types, what it prints, and what it leaves in its cache.

use anyhow::Result;

use super::play::{quick_dad, see, tell};
use crate::cni::Suite;
use crate::lab::Lab;
use crate::snapshot::{Names, Snapshot};

/// What `cnitool` is asked, one after the other, on one node with these files in its `net.d`.
#[derive(Clone, Debug)]
pub struct Session {
    /// What it is called in DIFFERENCES.md.
    pub name: String,
    files: Vec<(String, String)>,
    steps: Vec<String>,
    env: Vec<(String, String)>,
}

impl Session {
    /// A session with one network configuration list.
    pub fn new(name: &str, file: &str, text: &str) -> Self {
        Self { name: name.into(), files: vec![(file.into(), text.into())], steps: vec![], env: vec![] }
    }

    /// One more file in `net.d`.
    pub fn file(mut self, name: &str, text: &str) -> Self {
        self.files.push((name.into(), text.into()));
        self
    }

    /// A variable of the environment of all steps.
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    /// The arguments of one call; `NETNS` stands for the pod's namespace.
    pub fn step(mut self, arguments: &str) -> Self {
        self.steps.push(arguments.into());
        self
    }

    pub(super) fn play(&self, suite: &Suite) -> Result<Snapshot> {
        let lab = Lab::new("cnitool")?;
        let node = lab.node("node")?;
        let pods = [lab.pod(&node, "one")?, lab.pod(&node, "two")?];
        for place in [&*node, &*pods[0]] {
            quick_dad(place)?;
        }
        for (name, text) in &self.files {
            node.write(&format!("net.d/{name}"), text)?;
        }
        let netns = pods[0].netns().to_string_lossy();
        let mut seen = Snapshot::default();
        let mut names = Names::default();
        for (number, step) in self.steps.iter().enumerate() {
            let arguments = step.split_whitespace().map(|word| word.replace("NETNS", &netns));
            let job = suite.cnitool_job(&node).args(arguments);
            let job = self.env.iter().fold(job, |job, (key, value)| job.env(key, value));
            let finished = node.output(&job)?;
            let name = format!("{} `{step}`", number + 1);
            tell(&mut seen, &name, &finished);
            seen.add(format!("{name} stderr"), finished.stderr_text().trim().escape_debug().to_string());
            if step.starts_with("add") {
                names = Names::of(&[("node", &node), ("one", &pods[0])])?;
                see(&mut seen, "added", &node, &pods)?;
            }
        }
        see(&mut seen, "ended", &node, &pods)?;
        names.add(suite.bin.to_string_lossy(), "<CNI_PATH>");
        names.add(node.net_d().to_string_lossy(), "<NETCONFPATH>");
        names.add(netns, "<netns of one>");
        Ok(seen.renamed(&names))
    }
}
