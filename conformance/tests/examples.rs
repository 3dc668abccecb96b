//! Every conflist in `examples/` makes a pod, is checked and is taken away again, with nothing left behind.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fairlead_conformance::cni::Suite;
use fairlead_conformance::lab::Lab;
use serde_json::Value;

/// All files below `examples/` whose name ends so.
fn examples(ending: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut dirs = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).with_context(|| format!("list {}", dir.display()))? {
            let path = entry?.path();
            match path.is_dir() {
                true => dirs.push(path),
                false if path.to_string_lossy().ends_with(ending) => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    Ok(found)
}

#[test]
fn every_conflist_adds_checks_and_deletes_a_pod_and_leaves_no_lease() -> Result<()> {
    let conflists = examples(".conflist")?;
    assert!(conflists.len() >= 3, "{conflists:?}");
    let suite = Suite::ours()?;
    for path in conflists {
        let lab = Lab::new("example")?;
        let node = lab.node("node")?;
        let text = fs::read_to_string(&path)?;
        let conflist: Value = serde_json::from_str(&text).with_context(|| format!("{}", path.display()))?;
        let network = conflist["name"].as_str().context("a conflist has a name")?;
        node.write("net.d/10-example.conflist", &text)?;

        let pod = lab.pod(&node, "pod")?;
        let result = suite.add(&node, network, &pod).with_context(|| format!("{}", path.display()))?;
        assert_eq!(result["cniVersion"], conflist["cniVersion"], "{}", path.display());
        let addresses = pod.json("ip -j addr show up")?;
        assert!(addresses.as_array().is_some_and(|all| !all.is_empty()), "{}: no device is up", path.display());
        suite.cnitool(&node, "check", network, &pod)?.success().with_context(|| format!("{}", path.display()))?;
        suite.del(&node, network, &pod)?;
        assert_eq!(leases(&node.var_lib().join("cni/networks"))?, Vec::<PathBuf>::new(), "{}", path.display());
    }
    Ok(())
}

/// Files named after an address: host-local's leases.
fn leases(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for network in fs::read_dir(dir).into_iter().flatten() {
        for entry in fs::read_dir(network?.path())? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.parse::<std::net::IpAddr>().is_ok() {
                found.push(path);
            }
        }
    }
    Ok(found)
}
