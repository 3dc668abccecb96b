//! A node whose plugins are ours and may become the reference's, pods on it with everything that can be handed over, and a
//! host beyond that knows no way to the pods.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use fairlead_conformance::cni::Suite;
use fairlead_conformance::lab::{Finished, Job, Lab, Node, Pod};
use fairlead_conformance::snapshot::{Change, Snapshot, render};
use serde_json::{Value, json};

pub const NETWORK: &str = "net";
pub const NODE: &str = "192.168.77.1";
pub const FAR: &str = "192.168.77.2";
/// Who writes the rules of the reference: its iptables, its nft, or whom it finds.
pub const BACKENDS: [Option<&str>; 3] = [Some("iptables"), Some("nftables"), None];

pub struct Stage {
    pub lab: Lab,
    pub node: Node,
    pub far: Node,
    /// The node's own directory of plugins.
    pub there: Suite,
    binary: PathBuf,
}

impl Stage {
    /// With the reference's plugins, as they were before us.
    pub fn new(name: &str, backend: Option<&str>) -> Result<Self> {
        let lab = Lab::new(&format!("hand-over-{name}-{}", backend.unwrap_or("any")))?;
        let (node, far) = (lab.node("node")?, lab.node("far")?);
        lab.wire(&node, &format!("{NODE}/24"), &far, &format!("{FAR}/24"))?;
        let bin = node.dir().join("opt");
        fs::create_dir(&bin)?;
        let reference = Suite::reference()?.bin;
        for entry in fs::read_dir(&reference)? {
            let name = entry?.file_name();
            symlink(reference.join(&name), bin.join(&name))?;
        }
        node.write("net.d/10-net.conflist", list(backend).to_string())?;
        Ok(Self { lab, node, far, there: Suite { name: "there", bin }, binary: Suite::ours()?.binary("fairlead-cni") })
    }

    /// The same, with our plugins in their place.
    pub fn ours(name: &str, backend: Option<&str>) -> Result<Self> {
        let stage = Self::new(name, backend)?;
        stage.install(&[])?.success()?;
        Ok(stage)
    }

    pub fn install(&self, more: &[&str]) -> Result<Finished> {
        self.node.output(&self.job("install", &["--to"]).arg(&self.there.bin).args(more))
    }

    /// `hand-over --to` the directory that `install` works on.
    pub fn hand_over(&self, more: &[&str]) -> Result<Finished> {
        self.node.output(&self.hand_over_job(more))
    }

    pub fn hand_over_job(&self, more: &[&str]) -> Job {
        self.job("hand-over", &["--to"]).arg(&self.there.bin).args(more)
    }

    pub fn job(&self, verb: &str, words: &[&str]) -> Job {
        Job::new(&self.binary).arg(verb).args(words)
    }

    /// The binaries are exchanged by other means: whoever did it knows nothing of pods.
    pub fn put_back_the_binaries(&self) -> Result<()> {
        let reference = Suite::reference()?.bin;
        for entry in fs::read_dir(&self.there.bin)? {
            let entry = entry?;
            let theirs = reference.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
            if theirs.exists() {
                symlink(theirs, entry.path())?;
            }
        }
        Ok(())
    }

    /// A pod of the network, its ports published from `port` on. Whose plugins are in the directory attaches it.
    pub fn add(&self, name: &str, port: u16) -> Result<Published> {
        let pod = self.lab.pod(&self.node, name)?;
        self.cnitool("add", &pod, port)?.success().with_context(|| format!("add {name}"))?;
        Ok(Published { pod, port })
    }

    pub fn check(&self, one: &Published) -> Result<()> {
        self.cnitool("check", &one.pod, one.port)?.success().map(drop)
    }

    pub fn del(&self, one: &Published) -> Result<()> {
        self.cnitool("del", &one.pod, one.port)?.success().map(drop)
    }

    pub fn cnitool(&self, verb: &str, pod: &Pod, port: u16) -> Result<Finished> {
        let mappings = json!({"portMappings": [
            {"hostPort": port, "containerPort": 80, "protocol": "tcp"},
            {"hostPort": port + 1, "containerPort": 80, "protocol": "tcp", "hostIP": NODE},
            {"hostPort": port, "containerPort": 53, "protocol": "udp"},
        ]});
        let job = self.there.cnitool_job(&self.node).env("CAP_ARGS", mappings.to_string());
        self.node.output(&job.args([verb, NETWORK]).arg(pod.netns()))
    }

    pub fn rules(&self) -> Result<String> {
        self.node.sh("nft list ruleset")
    }

    /// Nothing is left that only we know of.
    pub fn is_theirs(&self) -> Result<()> {
        let rules = self.rules()?;
        ensure!(!rules.to_lowercase().contains("fairlead"), "something of ours is left in\n{rules}");
        Ok(())
    }

    /// The node's network, and what plugins and runtimes keep in files.
    pub fn look(&self) -> Result<Snapshot> {
        let mut seen = Snapshot::network(&self.node)?;
        seen.add_files("var-lib", &self.node.var_lib().join("cni"))?;
        seen.add_files("run", &self.node.run_dir().join("cni"))?;
        Ok(seen)
    }

    /// What the reference leaves of pods that it attached and deleted itself.
    pub fn what_the_reference_leaves(name: &str, backend: Option<&str>) -> Result<Snapshot> {
        let stage = Self::new(&format!("{name}-own"), backend)?;
        let pods = [stage.add("web", 8080)?, stage.add("db", 9080)?];
        pods.iter().try_for_each(|pod| stage.del(pod))?;
        stage.look()
    }

    /// Fails with what is there beyond `what_stays`.
    pub fn leaves_no_more_than(&self, what_stays: &Snapshot) -> Result<()> {
        let more: Vec<Change> =
            changes(what_stays, &self.look()?).into_iter().filter(|change| change.after.is_some()).collect();
        ensure!(more.is_empty(), "more than the reference leaves:\n{}", render(&more));
        Ok(())
    }
}

/// A pod with published ports.
pub struct Published {
    pub pod: Pod,
    pub port: u16,
}

/// What a bridge does by itself when ports come and go is left out, and so are the wire's own address, who was given which
/// address last, and that the reference forgets to let anybody into a directory that it makes.
pub fn changes(before: &Snapshot, after: &Snapshot) -> Vec<Change> {
    let words = ["cni0", "fe80::", "33:33:", "ff02:", "anycast", "last_reserved_ip", "link eth0 address"];
    let by_itself = |key: &str| {
        let directory = key.starts_with("file ") && key.ends_with('/');
        directory || !key.starts_with("nft ") && words.iter().any(|word| key.contains(word))
    };
    before.diff(after).into_iter().filter(|change| !by_itself(&change.key)).collect()
}

fn list(backend: Option<&str>) -> Value {
    let mut list = json!({
        "cniVersion": "1.0.0", "name": NETWORK,
        "plugins": [
            {
                "type": "bridge", "bridge": "cni0", "isDefaultGateway": true, "ipMasq": true, "hairpinMode": true,
                "macspoofchk": true,
                "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}], [{"subnet": "fd00:88::/64"}]]}
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
            {"type": "firewall", "backend": "iptables", "ingressPolicy": "same-bridge"},
            {"type": "tuning", "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}, "mtu": 1400},
            {"type": "bandwidth", "ingressRate": 80_000_000, "ingressBurst": 80_000_000, "egressRate": 80_000_000, "egressBurst": 80_000_000},
        ]
    });
    if let Some(backend) = backend {
        let conditions = match backend {
            "iptables" => ["!", "-d", "192.0.2.0/24"].as_slice(),
            _ => &["ip", "daddr", "!=", "192.0.2.0/24"],
        };
        list["plugins"][0]["ipMasqBackend"] = backend.into();
        list["plugins"][1]["backend"] = backend.into();
        list["plugins"][1]["conditionsV4"] = conditions.into();
    }
    list
}
