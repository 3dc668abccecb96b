//! A node with a network, and pods to attach to it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fairlead_conformance::cni::{Call, Suite};
use fairlead_conformance::lab::{Finished, Lab, Node, Place, Pod};
use fairlead_conformance::snapshot::{Change, Snapshot};
use serde_json::{Value, json};

/// One node, one configuration.
pub struct Scene {
    pub lab: Lab,
    pub node: Node,
    pub suite: Suite,
    pub config: Value,
}

impl Scene {
    /// A node for our plugins and this configuration, which needs no version and no name.
    pub fn new(name: &str, config: Value) -> Result<Self> {
        Self::of(Suite::ours()?, name, config)
    }

    /// The same for any plugins.
    pub fn of(suite: Suite, name: &str, mut config: Value) -> Result<Self> {
        let lab = Lab::new(name)?;
        let node = lab.node("a")?;
        for (key, value) in [("cniVersion", "1.1.0"), ("name", "net")] {
            if config[key].is_null() {
                config[key] = value.into();
            }
        }
        Ok(Self { lab, node, suite, config })
    }

    pub fn plugin(&self) -> &str {
        self.config["type"].as_str().unwrap_or_default()
    }

    pub fn pod(&self, name: &str) -> Result<Pod> {
        self.lab.pod(&self.node, name)
    }

    /// Any verb with any configuration and namespace path.
    pub fn call(&self, verb: &str, id: &str, netns: &Path, config: &Value) -> Result<Finished> {
        let call = Call { container: id, netns, ifname: "eth0", args: "" };
        self.node.output(&self.suite.plugin(self.plugin(), verb, &call, config))
    }

    /// The same with `CNI_ARGS`.
    pub fn call_with(&self, args: &str, verb: &str, id: &str, netns: &Path, config: &Value) -> Result<Finished> {
        let call = Call { container: id, netns, ifname: "eth0", args };
        self.node.output(&self.suite.plugin(self.plugin(), verb, &call, config))
    }

    /// ADD of the pod under its own name, which must succeed: the configuration with the result in it.
    pub fn add(&self, pod: &Place) -> Result<Value> {
        self.add_with(pod, &self.config)
    }

    pub fn add_with(&self, pod: &Place, config: &Value) -> Result<Value> {
        let added = self.call("ADD", pod.name(), pod.netns(), config)?.success();
        let mut with_result = config.clone();
        with_result["prevResult"] = added.with_context(|| format!("ADD {}", pod.name()))?.json()?;
        Ok(with_result)
    }

    /// A verb of the pod that must succeed, and say nothing.
    pub fn must(&self, verb: &str, pod: &Place, config: &Value) -> Result<()> {
        let finished = self.call(verb, pod.name(), pod.netns(), config)?.success();
        let finished = finished.with_context(|| format!("{verb} {}", pod.name()))?;
        assert_eq!(finished.stdout_text(), "", "{verb} says nothing");
        Ok(())
    }

    /// The words of a verb that must fail.
    pub fn refused(&self, verb: &str, pod: &Place, config: &Value) -> Result<String> {
        let finished = self.call(verb, pod.name(), pod.netns(), config)?;
        assert_eq!(finished.status.code(), Some(1), "{verb} {} with {config}", pod.name());
        let error = finished.json()?;
        Ok(format!("{}; {}", error["msg"].as_str().unwrap_or_default(), error["details"].as_str().unwrap_or_default()))
    }

    /// The directory of the network's leases.
    pub fn leases(&self) -> PathBuf {
        self.node.var_lib().join("cni/networks/net")
    }

    /// The addresses that are leased.
    pub fn leased(&self) -> Result<Vec<String>> {
        let Ok(entries) = std::fs::read_dir(self.leases()) else { return Ok(Vec::new()) };
        let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.filter(|name| name.parse::<std::net::IpAddr>().is_ok()).collect();
        names.sort();
        Ok(names)
    }

    /// The node's network without what the kernel does by itself and later: link-local addresses, carriers of bridges.
    pub fn look(&self) -> Result<Snapshot> {
        Snapshot::network(&self.node)
    }

    /// What is not the same as before: nothing, but for what a bridge does by itself, and that the node forwards.
    pub fn assert_clean(&self, before: &Snapshot, context: &str) -> Result<()> {
        let changes = lasting(before, &self.look()?);
        assert!(changes.is_empty(), "{context}: {}", fairlead_conformance::snapshot::render(&changes));
        assert_eq!(self.leased()?, Vec::<String>::new(), "{context}: leases");
        Ok(())
    }
}

fn lasting(before: &Snapshot, after: &Snapshot) -> Vec<Change> {
    let by_itself = |key: &str| {
        ["fe80::", "33:33:", "ff02:", "anycast", " operstate", " flags", "linkdown", "forward"]
            .iter()
            .any(|word| key.contains(word))
            || key.contains("link cni0 linkinfo")
    };
    let calm = |text: &Option<String>| text.clone().map(|text| text.replace("linkdown", "").replace("[, ", "["));
    before
        .diff(after)
        .into_iter()
        .filter(|change| !by_itself(&change.key) && calm(&change.before) != calm(&change.after))
        .collect()
}

/// `bridge` with everything that leaves a trace.
pub fn bridge() -> Value {
    json!({
        "type": "bridge", "bridge": "cni0", "isDefaultGateway": true, "ipMasq": true, "macspoofchk": true,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}], [{"subnet": "fd00:88::/64"}]]}
    })
}

/// `ptp` with everything that leaves a trace.
pub fn ptp() -> Value {
    json!({
        "type": "ptp", "ipMasq": true,
        "ipam": {
            "type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}], [{"subnet": "fd00:88::/64"}]],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
        }
    })
}

/// An IPAM plugin of somebody else's in a directory of the node: `CNI_PATH` with it in front. It answers ADD with `result`, and
/// every other verb with `status`. Also gives the file with the verbs it was asked after ADD.
pub fn foreign_ipam(scene: &Scene, result: &Value, status: i32) -> Result<(String, PathBuf)> {
    let directory = scene.node.scratch_file("ipam");
    std::fs::create_dir_all(&directory)?;
    let script = format!(
        "#!/bin/sh\nif [ \"$CNI_COMMAND\" = ADD ]; then cat <<'END'\n{result}\nEND\nexit 0; fi\n\
         echo $CNI_COMMAND >> {}/calls\n[ {status} = 0 ] || echo '{{\"code\": 999, \"msg\": \"ipam is broken\"}}'\nexit {status}\n",
        directory.display()
    );
    let file = directory.join("foreign");
    std::fs::write(&file, script)?;
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok((format!("{}:{}", directory.display(), scene.suite.bin.display()), directory.join("calls")))
}
