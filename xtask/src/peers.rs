//! The peers the tests and benchmarks compare with: built once into the cache, by the lab, which knows what they are.

use crate::{place, steps};
use anyhow::{Context, Result};

/// Build the reference plugins and cnitool, unless they are there. Needs a built lab.
pub fn build() -> Result<()> {
    let mut lab = place::command(&place::dist().join("bin/fairlead-lab").to_string_lossy());
    lab.args(["peers", "build"]).env("FAIRLEAD_DIST", place::dist());
    steps::run("build the reference plugins (Go)", &mut lab).map(|_| ())
}

/// Build etcd, kube-apiserver and kube-proxy, unless they are there: some minutes, so only for what compares with them.
pub fn build_kubernetes() -> Result<()> {
    let mut lab = place::command(&place::dist().join("bin/fairlead-lab").to_string_lossy());
    lab.args(["peers", "build", "kubernetes"]).env("FAIRLEAD_DIST", place::dist());
    steps::run("build etcd, kube-apiserver and kube-proxy (Go)", &mut lab).map(|_| ())
}

/// The directory the reference plugins are in, once built.
pub fn path() -> Result<String> {
    let mut lab = place::command(&place::dist().join("bin/fairlead-lab").to_string_lossy());
    let output = lab.args(["peers", "path"]).output().context("ask the lab where the reference plugins are")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
