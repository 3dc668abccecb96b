//! Calling plugins and `cnitool` as a runtime does. A [`Suite`] is one set of binaries: ours, or the reference.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::lab::{Finished, Job, Node, Place};
use crate::{dist, peers};

/// One set of plugins with its `cnitool`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suite {
    /// `ours` or `reference`, for messages.
    pub name: &'static str,
    /// The directory with every binary: what `CNI_PATH` says.
    pub bin: PathBuf,
}

impl Suite {
    /// What `cargo xtask dist` built.
    pub fn ours() -> Result<Self> {
        Ok(Self { name: "ours", bin: dist::cni_bin()? })
    }

    /// The reference plugins, as `fairlead-lab peers build` left them.
    pub fn reference() -> Result<Self> {
        Ok(Self { name: "reference", bin: peers::cni_bin()? })
    }

    /// The path of one binary.
    pub fn binary(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// A job that runs `plugin` with the full environment of a runtime and `config` on stdin. `verb` in capitals.
    pub fn plugin(&self, plugin: &str, verb: &str, call: &Call<'_>, config: &Value) -> Job {
        Job::new(self.binary(plugin))
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", call.container)
            .env("CNI_NETNS", call.netns)
            .env("CNI_IFNAME", call.ifname)
            .env("CNI_ARGS", call.args)
            .env("CNI_PATH", &self.bin)
            .env("PATH", path_variable())
            .bare_env()
            .stdin(config.to_string())
    }

    /// `cnitool VERB NETWORK NETNS` on a node, configurations from its `net.d`, interface `eth0`. Verbs in small letters.
    pub fn cnitool(&self, node: &Node, verb: &str, network: &str, pod: &Place) -> Result<Finished> {
        let job = self.cnitool_job(node).args([verb, network]).arg(pod.netns());
        node.output(&job)
    }

    /// The same without arguments yet, to add environment (`CNI_IFNAME`, `CAP_ARGS`) and arguments of one's own.
    pub fn cnitool_job(&self, node: &Node) -> Job {
        Job::new(self.binary("cnitool")).env("CNI_PATH", &self.bin).env("NETCONFPATH", node.net_d())
    }

    /// `cnitool add`, which must succeed: the result.
    pub fn add(&self, node: &Node, network: &str, pod: &Place) -> Result<Value> {
        let finished = self.cnitool(node, "add", network, pod)?.success();
        finished.with_context(|| format!("{}: add {} to {network}", self.name, pod.name()))?.json()
    }

    /// `cnitool del`, which must succeed.
    pub fn del(&self, node: &Node, network: &str, pod: &Place) -> Result<()> {
        let finished = self.cnitool(node, "del", network, pod)?.success();
        finished.with_context(|| format!("{}: delete {} from {network}", self.name, pod.name()))?;
        Ok(())
    }
}

/// The parameters of one call besides verb and configuration.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// `CNI_CONTAINERID`.
    pub container: &'a str,
    /// `CNI_NETNS`.
    pub netns: &'a Path,
    /// `CNI_IFNAME`.
    pub ifname: &'a str,
    /// `CNI_ARGS`.
    pub args: &'a str,
}

impl<'a> Call<'a> {
    /// `eth0` in this place, no arguments.
    pub fn new(container: &'a str, place: &'a Place) -> Self {
        Self { container, netns: place.netns(), ifname: "eth0", args: "" }
    }
}

/// The reference looks for `iptables` and `nft` in PATH; without one it says so in stranger words.
fn path_variable() -> OsString {
    std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into())
}
