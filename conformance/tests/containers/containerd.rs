//! containerd: `ctr run --cni`, which calls the plugins itself and takes the container down when its process ends.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use fairlead_conformance::cni::Suite;
use fairlead_conformance::lab::{Job, Running};
use fairlead_conformance::limit::{patience, until};

use super::stage::{RUN, SERVE, Stage};

const CONFLIST: &str = r#"{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [
    { "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true, "promiscMode": false,
      "ipam": { "type": "host-local", "ranges": [[{ "subnet": "10.89.0.0/16" }], [{ "subnet": "fd00:89::/64" }]],
                "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }] } },
    { "type": "portmap", "capabilities": { "portMappings": true } },
    { "type": "firewall" },
    { "type": "tuning", "sysctl": { "net.core.somaxconn": "500" } }
  ]
}"#;

const IMAGE: &str = "docker.io/library/busybox:lab";

struct Containerd<'a> {
    stage: &'a Stage,
    socket: String,
    daemon: Running,
}

impl<'a> Containerd<'a> {
    fn start(stage: &'a Stage) -> Result<Containerd<'a>> {
        let dir = stage.directory("containerd")?.display().to_string();
        let socket = format!("{dir}/containerd.sock");
        // The Kubernetes interface would want a configuration of its own, and snapshotters their file systems.
        let text = format!(
            "version = 2\nroot = \"{dir}/root\"\nstate = \"{dir}/state\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = \"{socket}\"\n"
        );
        let configuration = stage.node.write("containerd.toml", text)?;
        let daemon = stage.node.start(&Job::new("containerd").arg("--config").arg(&configuration))?;
        let containerd = Containerd { stage, socket, daemon };
        // `ctr` waits ten seconds for a socket that is not there when it starts.
        until("containerd to answer", patience(20), || {
            if !Path::new(&containerd.socket).exists() {
                return Ok(None);
            }
            Ok(stage.node.output(&containerd.ctr(&["version"]))?.status.success().then_some(()))
        })?;
        Ok(containerd)
    }

    fn ctr(&self, words: &[&str]) -> Job {
        Job::new("ctr").args(["--address", &self.socket]).args(words)
    }

    fn run(&self, words: &[&str]) -> Result<String> {
        let said = self.stage.node.output(&self.ctr(words))?.success();
        Ok(said.with_context(|| format!("ctr {}", words.join(" ")))?.stdout_text())
    }

    /// A container in the foreground of a `ctr` of its own: DEL is called when it ends.
    fn serve(&self, name: &str) -> Result<Running> {
        let words = ["run", "--snapshotter", "native", "--cgroup", "", "--cni", IMAGE, name, "/bin/sh", "-c", SERVE];
        self.stage.node.start(&self.ctr(&words).log(format!("ctr-{name}")))
    }

    /// Its process dies; its `ctr` takes it down. Without `--rm` the record of the container stays.
    fn end(&self, name: &str, running: &mut Running) -> Result<()> {
        self.run(&["task", "kill", "--signal", "SIGKILL", name])?;
        running.wait(patience(20))?;
        self.run(&["containers", "remove", name]).map(drop)
    }

    /// The address by which the container's network can be reached, as the plugins' result has it.
    fn address(&self, name: &str) -> Result<String> {
        let file = self.stage.node.var_lib().join(format!("cni/results/pods-default-{name}-eth0"));
        let text = until(&format!("{name} to be attached"), patience(20), || Ok(std::fs::read_to_string(&file).ok()))?;
        let cached: serde_json::Value = serde_json::from_str(&text).context("read the cached result")?;
        let address = cached.pointer("/result/ips/0/address").and_then(|address| address.as_str()).unwrap_or_default();
        Ok(address.split('/').next().unwrap_or_default().to_owned())
    }
}

fn containers_come_and_go(suite: &Suite, forgiven: &[&str]) -> Result<()> {
    let stage = Stage::new("containerd", suite, CONFLIST)?;
    let mut containerd = Containerd::start(&stage)?;
    let archive = as_oci_archive(&stage)?;
    containerd.run(&["images", "import", "--snapshotter", "native", &archive])?;

    let mut first = containerd.serve("first")?;
    stage.greeted(&stage.node, &format!("{}:80", containerd.address("first")?))?;
    containerd.end("first", &mut first)?;
    let before = stage.without_containers()?;

    let mut web = containerd.serve("web")?;
    let mut other = containerd.serve("other")?;
    let (first, second) = (containerd.address("web")?, containerd.address("other")?);
    ensure!(first != second, "both containers have the address {first}");
    stage.greeted(&stage.node, &format!("{first}:80"))?;
    stage.greeted(&stage.node, &format!("{second}:80"))?;
    let url = format!("http://{second}");
    containerd.run(&["task", "exec", "--exec-id", "ask", "web", "wget", "-q", "-O", "-", &url])?;

    for (name, running) in [("web", &mut web), ("other", &mut other)] {
        containerd.end(name, running)?;
    }
    containerd.daemon.stop()?;
    stage.nothing_is_left("pods", &before, forgiven)
}

impl Drop for Containerd<'_> {
    fn drop(&mut self) {
        // Of a test that failed: containerd's children are in no cgroup of the lab's.
        let alive = self.daemon.is_alive().unwrap_or_default();
        for name in ["first", "web", "other"].iter().filter(|_| alive) {
            let _ = self.stage.node.output(&self.ctr(&["task", "kill", "--signal", "SIGKILL", name]));
        }
    }
}

/// podman turns the archive of files into an image that containerd takes.
fn as_oci_archive(stage: &Stage) -> Result<String> {
    let root = stage.directory("podman")?.display().to_string();
    let archive = stage.node.dir().join("image.oci").display().to_string();
    let podman = |words: &[&str]| {
        let job = Job::new("podman").args(["--root", &root, "--runroot", RUN, "--storage-driver", "vfs"]);
        stage.node.output(&job.args(words))?.success().map(drop)
    };
    podman(&["import", &stage.image()?.display().to_string(), IMAGE])?;
    podman(&["save", "--format", "oci-archive", "--output", &archive, IMAGE])?;
    Ok(archive)
}

#[test]
fn containers_of_containerd_come_and_go_with_the_reference() -> Result<()> {
    // containernetworking/plugins#810: `ctr` asks for DEL when the process is dead and its namespace gone, and without the
    // addresses of a link the reference does not find its masquerade rules.
    containers_come_and_go(&Suite::reference()?, &["chain CNI-", "chain POSTROUTING"])
}

#[test]
fn containers_of_containerd_come_and_go() -> Result<()> {
    containers_come_and_go(&Suite::ours()?, &[])
}
