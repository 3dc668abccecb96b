//! The command line of `run`, checked once.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fairlead_ebpf_shared::{DEFAULT_ADDRESSES, DEFAULT_RANGES};
use fairlead_proxy_model::Sizes;

use crate::cli::{Roots, Run};

/// What a running daemon goes by.
#[derive(Debug)]
pub struct Config {
    /// Absolute; exists.
    pub source: PathBuf,
    /// Where it lives.
    pub roots: Roots,
    /// The name that endpoints on this node carry.
    pub node: String,
    /// Sizes of maps that do not exist yet.
    pub sizes: Sizes,
    /// Between two comparisons of the maps with what they should hold.
    pub verify_every: Duration,
}

impl Config {
    /// Refuses what cannot work before anything is touched.
    pub fn new(run: Run) -> Result<Self> {
        let source = fs::canonicalize(&run.source)
            .with_context(|| format!("--source {}: make the directory, it may be empty", run.source.display()))?;
        if !source.is_dir() {
            bail!("--source {}: not a directory", source.display());
        }
        let node = match run.node_name {
            Some(name) if name.is_empty() => bail!("--node-name: empty"),
            Some(name) => name,
            // As kubelet and kube-proxy name a node: the host name in small letters.
            None => fs::read_to_string("/proc/sys/kernel/hostname")
                .context("read the host name; give --node-name")?
                .trim()
                .to_lowercase(),
        };
        Ok(Self {
            source,
            roots: run.roots,
            node,
            sizes: Sizes {
                slots: run.max_frontends,
                backends: run.max_backends,
                addresses: DEFAULT_ADDRESSES,
                ranges: DEFAULT_RANGES,
            },
            verify_every: Duration::from_secs(run.verify_seconds),
        })
    }
}
