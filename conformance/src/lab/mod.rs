//! The lab: nodes and pods as namespaces, wires between them, processes in them.
//!
//! A [`Lab`] owns one directory (a tmpfs of its own), one cgroup v2 directory, and network namespaces whose names begin
//! with `fl<pid>-<serial>-`. All three carry the maker's PID, so that whoever comes next can tell a living run from what
//! a killed one left, and remove the latter without asking anybody.

mod interrupt;
mod job;
mod node;
mod place;
mod pod;
mod remove;
mod running;
mod wire;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};

pub use interrupt::{stand_aside, take_down_on_interrupt};
pub use job::{Finished, Job};
pub use node::Node;
pub use place::Place;
pub use pod::Pod;
pub use remove::remove_kept;
pub use running::Running;
pub use wire::{Switch, netns_name};

static SERIAL: AtomicU32 = AtomicU32::new(0);

/// Nodes, pods and wires that belong together; dropped, everything of it is gone.
#[derive(Debug)]
pub struct Lab {
    /// `<pid>-<serial>`: the unique part of every name.
    id: String,
    dir: PathBuf,
    cgroup: PathBuf,
    kept: bool,
}

impl Lab {
    /// An empty lab. `name` is for people: letters, digits and `-`. Leftovers of dead runs are removed first.
    pub fn new(name: &str) -> Result<Self> {
        if !nix::unistd::geteuid().is_root() {
            bail!("the lab makes network namespaces: run it as root");
        }
        remove::sweep();
        let id = format!("{}-{}", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed));
        let dir = labs_dir().join(format!("{id}-{name}"));
        let cgroup = cgroup2_mount()?.join(format!("fairlead-lab-{id}"));
        let lab = Self { id, dir, cgroup, kept: false };
        lab.furnish().with_context(|| format!("make lab {name}"))?;
        Ok(lab)
    }

    /// A tmpfs, because a bpffs below it and the pins of mount namespaces must not propagate to anybody: the kernel
    /// refuses to pin a mount namespace on a shared mount (unshare(1), "--mount=file").
    fn furnish(&self) -> Result<()> {
        // The last lab that went may have taken the directory above with it, between its making and ours.
        (0..3).find_map(|_| make_dir(&self.dir).ok()).map_or_else(|| make_dir(&self.dir), Ok)?;
        mount(Some("fairlead-lab"), &self.dir, Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))
            .with_context(|| format!("mount a tmpfs on {}", self.dir.display()))?;
        mount(None::<&str>, &self.dir, None::<&str>, MsFlags::MS_PRIVATE, None::<&str>)
            .with_context(|| format!("make {} a private mount", self.dir.display()))?;
        fs::write(self.dir.join("owner"), remove::start_time(std::process::id()).unwrap_or_default().to_string())?;
        make_dir(&self.dir.join("log"))?;
        make_dir(&self.dir.join("notify"))?;
        make_dir(&self.cgroup)
    }

    /// A directory for the caller's own files; it goes with the lab.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A node: a network namespace with `lo` up, a cgroup, a bpffs, and its own `/run` and `/var/lib`.
    pub fn node(&self, name: &str) -> Result<Node> {
        Node::new(self, name).with_context(|| format!("make node {name}"))
    }

    /// A pod on `node`: a network namespace as a runtime makes one, `lo` down, and a cgroup below the node's.
    pub fn pod(&self, node: &Node, name: &str) -> Result<Pod> {
        Pod::new(self, node, name).with_context(|| format!("make pod {name}"))
    }

    /// A switch: a bridge in a namespace of its own, to plug any number of nodes into.
    pub fn switch(&self, name: &str) -> Result<Switch> {
        Switch::new(self, name).with_context(|| format!("make switch {name}"))
    }

    /// A cable between two nodes. The devices are called `eth0` and get these addresses (CIDR).
    pub fn wire(&self, a: &Node, a_address: &str, b: &Node, b_address: &str) -> Result<()> {
        wire::cable(a, a_address, b, b_address)
            .with_context(|| format!("lay a wire between {} and {}", a.name(), b.name()))
    }

    /// Leaves everything standing after the drop, until [`remove_kept`] is called with the same name.
    /// Processes go on when their [`Running`] is forgotten by the caller's exit; hand them over with [`Lab::adopt`].
    pub fn keep(&mut self) -> Result<()> {
        fs::write(self.dir.join("kept"), "").context("mark the lab as kept")?;
        self.kept = true;
        Ok(())
    }

    /// Takes over a process, so that it lives as long as the lab's directory: until the drop, or until [`remove_kept`].
    pub fn adopt(&self, job: Running) {
        job.release();
    }

    fn netns_name(&self, name: &str) -> String {
        format!("fl{}-{name}", self.id)
    }

    /// A new network namespace under `/run/netns`, by `ip netns`, which also makes that directory a shared mount.
    fn add_netns(&self, name: &str) -> Result<PathBuf> {
        let name = self.netns_name(name);
        Place::here(&self.dir).sh(&format!("ip netns add {name}"))?;
        Ok(Path::new("/run/netns").join(name))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_logs();
        }
        if !self.kept {
            for trouble in remove::remove(&self.dir) {
                eprintln!("lab {}: {trouble}", self.dir.display());
            }
        }
    }
}

impl Lab {
    /// The end of every log, on stderr: what a failed test has to say about its processes.
    pub fn print_logs(&self) {
        let mut logs: Vec<PathBuf> =
            fs::read_dir(self.dir.join("log")).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        logs.sort();
        for path in logs {
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()).into_owned();
            if !text.trim().is_empty() {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                eprintln!("--- {name}\n{}", running::tail(&text, 60));
            }
        }
    }
}

/// Where all labs lie: one directory each.
fn labs_dir() -> PathBuf {
    std::env::temp_dir().join("fairlead-lab")
}

/// Where cgroup v2 is mounted: `/sys/fs/cgroup`, or `/sys/fs/cgroup/unified` beside v1 controllers.
pub fn cgroup2_mount() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").context("read /proc/mounts")?;
    let mut rows = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    match rows.find(|row| row.get(2) == Some(&"cgroup2")) {
        Some(row) => Ok(PathBuf::from(row[1])),
        None => bail!("no cgroup v2 is mounted: `mount -t cgroup2 none /sys/fs/cgroup` on a machine without systemd"),
    }
}

fn make_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("make directory {}", path.display()))
}

/// The identity of a namespace: inode number, the one `ls -l /proc/PID/ns` shows.
pub fn namespace_id(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path).with_context(|| format!("look at {}", path.display()))?.ino())
}
