//! A node as a runtime finds one: its own `/etc`, `/opt/cni/bin`, storage and cgroups, and a neighbour on a wire.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use fairlead_conformance::cni::Suite;
use fairlead_conformance::lab::{Lab, Node, cgroup2_mount};
use fairlead_conformance::limit::{patience, until};
use fairlead_conformance::snapshot::{self, Snapshot};

/// What the container's web server answers.
pub const GREETING: &str = "hello from a container\n";
/// What a container does: it writes the greeting and serves it on port 80.
pub const SERVE: &str = "echo hello from a container > /tmp/index.html; exec httpd -f -p 80 -h /tmp";
/// Where podman keeps what a reboot may take, at most 50 bytes; `/run` is the node's own.
pub const RUN: &str = "/run/podman";
/// Address of the node on the wire.
pub const NODE: &str = "192.168.91.1";

/// A node with the plugins of one suite installed where runtimes look for them.
pub struct Stage {
    _lab: Lab,
    pub node: Node,
    /// A machine on the same wire.
    pub neighbour: Node,
    cgroup: PathBuf,
}

impl Stage {
    pub fn new(name: &str, suite: &Suite, conflist: &str) -> Result<Stage> {
        let lab = Lab::new(&format!("{name}-{}", suite.name))?;
        let (node, neighbour) = (lab.node("node")?, lab.node("neighbour")?);
        lab.wire(&node, &format!("{NODE}/24"), &neighbour, "192.168.91.2/24")?;
        own_directories(&node)?;
        hide_packaged_plugins(&node)?;
        let (bin, installed) = (suite.bin.display().to_string(), "/opt/cni/bin".to_owned());
        node.run(&["mkdir", "-p", &installed, "/etc/cni/net.d"])?;
        // Hard links stay links: the plugins are one binary, and know each other by that.
        node.run(&["cp", "-a", &format!("{bin}/."), &installed])?;
        node.sh("rm -rf /etc/cni/net.d")?;
        node.sh("mkdir -p /etc/cni/net.d")?;
        let file = node.write("10-net.conflist", conflist)?;
        node.run(&["cp", &file.display().to_string(), "/etc/cni/net.d/10-net.conflist"])?;
        let cgroup = node.cgroup_root().strip_prefix(cgroup2_mount()?)?.join("containers");
        Ok(Stage { _lab: lab, node, neighbour, cgroup })
    }

    /// The cgroup below which the runtime puts its containers, as a path from the root of every hierarchy of the machine.
    pub fn cgroup(&self) -> String {
        format!("/{}", self.cgroup.display())
    }

    /// A directory of the runtime's own on the node.
    pub fn directory(&self, name: &str) -> Result<PathBuf> {
        let path = self.node.dir().join(name);
        fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        Ok(path)
    }

    /// The files of a container, as a tar archive: busybox under the names that are used.
    pub fn image(&self) -> Result<PathBuf> {
        let root = self.directory("image")?;
        for dir in ["bin", "etc", "proc", "sys", "dev", "tmp"] {
            fs::create_dir_all(root.join(dir))?;
        }
        fs::copy("/bin/busybox", root.join("bin/busybox")).context("copy busybox (Debian package busybox-static)")?;
        for name in ["sh", "httpd", "wget", "sleep", "ip"] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(name))?;
        }
        let archive = self.node.dir().join("image.tar");
        self.node.run(&["tar", "-C", &root.display().to_string(), "-cf", &archive.display().to_string(), "."])?;
        Ok(archive)
    }

    /// Asks until the greeting comes, from the node or from its neighbour.
    pub fn greeted(&self, from: &Node, server: &str) -> Result<()> {
        let mut refused = String::new();
        let heard = until("a greeting", patience(10), || match ask(from, server) {
            Ok(heard) => Ok(Some(heard)),
            Err(error) => {
                refused = format!("{error:#}");
                Ok(None)
            }
        });
        let heard = heard.with_context(|| format!("{} asks {server}: {refused}", from.name()))?;
        ensure!(heard.ends_with(GREETING), "{server} answered {heard:?}");
        Ok(())
    }

    /// Nobody answers there, neither with data nor with a connection.
    pub fn silent(&self, from: &Node, server: &str) -> Result<()> {
        match ask(from, server) {
            Ok(heard) => bail!("{server} answers {heard:?} though nobody should be there"),
            Err(_) => Ok(()),
        }
    }

    /// The node's network with no container on it. The first one to come made the bridge and what else is the network's.
    pub fn without_containers(&self) -> Result<Snapshot> {
        until("the node's own addresses to settle", patience(10), || {
            Ok(self.node.sh("ip -6 address show tentative")?.is_empty().then_some(()))
        })?;
        Snapshot::network(&self.node)
    }

    /// Nothing is left of the containers that came since: not on the network, not in IPAM's directory, not in the cache of
    /// results. Facts with a key that has one of `forgiven` in it are a known fault.
    pub fn nothing_is_left(&self, network: &str, before: &Snapshot, forgiven: &[&str]) -> Result<()> {
        let mut left = Vec::new();
        let waited = until("the network to be as before", patience(10), || {
            left = before.diff(&Snapshot::network(&self.node)?);
            left.retain(|change| !forgiven.iter().any(|fault| change.key.contains(fault)));
            Ok(left.is_empty().then_some(()))
        });
        waited.with_context(|| format!("left behind:\n{}", snapshot::render(&left)))?;
        let links = self.node.sh("ip -o link show type veth")?;
        ensure!(links.lines().all(|line| line.contains(" eth0@")), "links stay: {links}");
        let stays = |name: &str| name == "lock" || name.starts_with("last_reserved_ip.") || name.starts_with('.');
        for dir in [format!("networks/{network}"), "results".to_owned()] {
            let dir = self.node.var_lib().join("cni").join(dir);
            let mut extra = names(&dir)?;
            extra.retain(|name| !stays(name));
            ensure!(extra.is_empty(), "{} still has {extra:?}", dir.display());
        }
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // In hierarchies of version 1, which are not the lab's, a runtime leaves the directories above its containers' too.
        for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let path = hierarchy.path().join(&self.cgroup);
            remove_empty(&path);
            for above in path.ancestors().skip(1).take(self.cgroup.components().count() - 1) {
                // Version 2's hold the lab's processes and are the lab's to remove.
                let _ = fs::remove_dir(above);
            }
        }
    }
}

/// Directories of cgroups without processes, the deepest first.
fn remove_empty(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty(&entry.path());
        }
    }
    // One that was never made, or still has processes, which the lab is about to kill.
    let _ = fs::remove_dir(path);
}

/// One HTTP request, whole.
fn ask(from: &Node, server: &str) -> Result<String> {
    let server: SocketAddr = server.parse().with_context(|| format!("{server} is no address with a port"))?;
    from.enter(|| {
        let mut stream = TcpStream::connect_timeout(&server, patience(2)).context("connect")?;
        stream.set_read_timeout(Some(patience(2)))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").context("send")?;
        let mut heard = String::new();
        stream.read_to_string(&mut heard).context("receive")?;
        Ok(heard)
    })
}

fn names(dir: &Path) -> Result<Vec<String>> {
    match fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("list {}", dir.display())),
    }
}

/// Debian's runtimes also look where Debian packages the reference: there is nothing here.
fn hide_packaged_plugins(node: &Node) -> Result<()> {
    let packaged = Path::new("/usr/lib/cni");
    if packaged.is_dir() {
        node.run(&["mount", "-t", "tmpfs", "none", &packaged.display().to_string()])?;
    }
    Ok(())
}

/// The node's processes get an `/etc` that keeps what they write to themselves, and an empty `/opt`.
fn own_directories(node: &Node) -> Result<()> {
    for dir in ["etc-new", "etc-work", "opt"] {
        fs::create_dir_all(node.dir().join(dir))?;
    }
    let dir = node.dir().display();
    let layers = format!("lowerdir=/etc,upperdir={dir}/etc-new,workdir={dir}/etc-work");
    node.run(&["mount", "-t", "overlay", "overlay", "-o", &layers, "/etc"])?;
    node.run(&["mount", "--bind", &format!("{dir}/opt"), "/opt"])?;
    Ok(())
}
