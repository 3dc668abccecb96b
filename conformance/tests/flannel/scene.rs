//! A node whose agent has got a subnet, and what flannel leaves on it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::Result;
use fairlead_conformance::cni::{Call, Suite};
use fairlead_conformance::lab::{Finished, Lab, Node, Pod};
use serde_json::Value;

/// What flannel's own agent writes.
pub const SUBNET_ENV: &str =
    "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.3.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";

/// A node with an agent's file, and our plugins.
pub struct Scene {
    pub lab: Lab,
    pub node: Node,
    pub ours: Suite,
}

impl Scene {
    /// A node whose agent has got a subnet.
    pub fn new(name: &str) -> Result<Self> {
        let lab = Lab::new(name)?;
        let node = lab.node("node")?;
        node.write("run/flannel/subnet.env", SUBNET_ENV)?;
        Ok(Self { lab, node, ours: Suite::ours()? })
    }

    pub fn call(&self, verb: &str, call: &Call<'_>, config: &Value) -> Result<Finished> {
        self.node.output(&self.ours.plugin("flannel", verb, call, config))
    }

    /// ADD of a pod that must succeed: the pod, and the configuration with its result.
    pub fn pod(&self, id: &str, config: &Value) -> Result<(Pod, Value)> {
        let pod = self.lab.pod(&self.node, id)?;
        let added = self.call("ADD", &Call::new(id, &pod), config)?.success()?;
        assert!(added.stderr.is_empty(), "it is silent, and tells nobody the configuration: {}", added.stderr_text());
        let mut with_result = config.clone();
        with_result["prevResult"] = added.json()?;
        Ok((pod, with_result))
    }

    /// What is kept for DEL, by file.
    pub fn kept(&self) -> Result<Vec<String>> {
        names_in(&self.node.var_lib().join("cni/flannel"))
    }

    /// Leased addresses.
    pub fn leases(&self, network: &str) -> Result<Vec<String>> {
        let names = names_in(&self.node.var_lib().join("cni/networks").join(network))?;
        Ok(names.into_iter().filter(|name| name.starts_with("10.")).collect())
    }

    /// A directory for `CNI_PATH`: our flannel, and these files of others under these names.
    pub fn path(&self, name: &str, others: &[(&str, PathBuf)]) -> Result<PathBuf> {
        let dir = self.node.dir().join(name);
        fs::create_dir_all(&dir)?;
        symlink(self.ours.binary("flannel"), dir.join("flannel"))?;
        for (name, file) in others {
            symlink(file, dir.join(name))?;
        }
        Ok(dir)
    }
}

fn names_in(dir: &Path) -> Result<Vec<String>> {
    let Ok(entries) = fs::read_dir(dir) else { return Ok(Vec::new()) };
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}
