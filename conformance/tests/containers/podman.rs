//! podman: the conflist Debian ships, published ports, several containers, stop and remove.

use anyhow::{Context, Result, ensure};
use fairlead_conformance::cni::Suite;
use fairlead_conformance::lab::{Finished, Job};
use fairlead_conformance::limit::{patience, until};

use super::stage::{NODE, RUN, SERVE, Stage};

/// As `podman network` writes it.
const CONFLIST: &str = r#"{
  "cniVersion": "0.4.0",
  "name": "podman",
  "plugins": [
    { "type": "bridge", "bridge": "cni-podman0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
      "ipam": { "type": "host-local", "routes": [{ "dst": "0.0.0.0/0" }],
                "ranges": [[{ "subnet": "10.88.0.0/16", "gateway": "10.88.0.1" }]] } },
    { "type": "portmap", "capabilities": { "portMappings": true } },
    { "type": "firewall" },
    { "type": "tuning" }
  ]
}"#;

struct Podman<'a> {
    stage: &'a Stage,
    arguments: Vec<String>,
    configuration: String,
}

impl<'a> Podman<'a> {
    fn new(stage: &'a Stage) -> Result<Podman<'a>> {
        let text = "[network]\nnetwork_backend = \"cni\"\ncni_plugin_dirs = [\"/opt/cni/bin\"]\n\
                    network_config_dir = \"/etc/cni/net.d\"\n\
                    [engine]\ncgroup_manager = \"cgroupfs\"\nruntime = \"runc\"\nevents_logger = \"file\"\n";
        let configuration = stage.node.write("containers.conf", text)?.display().to_string();
        let root = stage.directory("podman")?.display().to_string();
        let arguments = ["--root", &root, "--runroot", RUN, "--storage-driver", "vfs"].map(str::to_owned).to_vec();
        Ok(Podman { stage, arguments, configuration })
    }

    fn output(&self, words: &[&str]) -> Result<Finished> {
        let job = Job::new("podman").args(&self.arguments).args(words).env("CONTAINERS_CONF", &self.configuration);
        self.stage.node.output(&job)
    }

    fn run(&self, words: &[&str]) -> Result<String> {
        let said = self.output(words)?.success().with_context(|| format!("podman {}", words.join(" ")))?;
        Ok(said.stdout_text().trim().to_owned())
    }

    /// A detached container of the image; limits that root may not raise everywhere are left as they are.
    fn serve(&self, name: &str, published: &[&str]) -> Result<()> {
        let parent = self.stage.cgroup();
        let mut words = vec!["run", "--detach", "--name", name, "--cgroup-parent", &parent];
        words.extend(["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]);
        words.extend(published.iter().flat_map(|port| ["--publish", port]));
        words.extend(["localhost/busybox", "/bin/sh", "-c", SERVE]);
        self.run(&words).map(drop)
    }

    fn address(&self, name: &str) -> Result<String> {
        self.run(&["inspect", name, "--format", "{{.NetworkSettings.IPAddress}}"])
    }
}

impl Drop for Podman<'_> {
    fn drop(&mut self) {
        // Of a test that failed; what does not go this way is killed with the lab.
        let _ = self.output(&["rm", "--all", "--force", "--time", "0"]);
    }
}

fn containers_come_and_go(suite: &Suite) -> Result<()> {
    let stage = Stage::new("podman", suite, CONFLIST)?;
    let podman = Podman::new(&stage)?;
    let backend = podman.run(&["info", "--format", "{{.Host.NetworkBackend}}"])?;
    ensure!(backend == "cni", "podman has the network back end {backend:?}");
    podman.run(&["import", &stage.image()?.display().to_string(), "localhost/busybox"])?;

    podman.serve("first", &["8080:80"])?;
    stage.greeted(&stage.neighbour, &format!("{NODE}:8080"))?;
    podman.run(&["rm", "--force", "--time", "0", "first"])?;
    let before = stage.without_containers()?;

    podman.serve("web", &["8080:80", "8443:80"])?;
    podman.serve("other", &["8081:80"])?;
    for port in [8080, 8443, 8081] {
        stage.greeted(&stage.node, &format!("127.0.0.1:{port}"))?;
        stage.greeted(&stage.node, &format!("{NODE}:{port}"))?;
        stage.greeted(&stage.neighbour, &format!("{NODE}:{port}"))?;
    }
    // Of the containers: each other by address and by published port, itself by published port, and out by masquerade.
    let other = podman.address("other")?;
    for url in [format!("http://{other}"), format!("http://{NODE}:8081"), format!("http://{NODE}:8080")] {
        podman.run(&["exec", "web", "wget", "-q", "-O", "-", &url])?;
    }

    podman.run(&["stop", "--time", "0", "web"])?;
    podman.run(&["rm", "web"])?;
    stage.greeted(&stage.neighbour, &format!("{NODE}:8081"))?;
    stage.silent(&stage.neighbour, &format!("{NODE}:8080"))?;

    // The same ports are free again, and the same name.
    podman.serve("web", &["8080:80"])?;
    stage.greeted(&stage.neighbour, &format!("{NODE}:8080"))?;
    podman.run(&["rm", "--force", "--time", "0", "web", "other"])?;
    until("podman to have removed its containers", patience(10), || {
        Ok(podman.run(&["ps", "--all", "--quiet"])?.is_empty().then_some(()))
    })?;
    stage.nothing_is_left("podman", &before, &[])
}

#[test]
fn containers_of_podman_come_and_go_with_the_reference() -> Result<()> {
    containers_come_and_go(&Suite::reference()?)
}

#[test]
fn containers_of_podman_come_and_go() -> Result<()> {
    containers_come_and_go(&Suite::ours()?)
}
