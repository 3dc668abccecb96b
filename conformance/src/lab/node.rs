//! A node: what a machine of a cluster is to the programs under test.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::place::Place;
use super::{Lab, make_dir};

/// A network namespace, a mount namespace, a cgroup and a bpffs. A [`Place`]: run things on it directly.
///
/// Its processes see `/run` and `/var/lib` of their own (so `/run/flannel`, `/run/fairlead`, `/var/lib/cni` and iptables'
/// lock are the node's) and its bpffs on `/sys/fs/bpf`. `/run/netns` is the machine's: pods made later appear in it.
#[derive(Clone, Debug)]
pub struct Node {
    place: Place,
    dir: PathBuf,
}

impl Node {
    pub(super) fn new(lab: &Lab, name: &str) -> Result<Self> {
        let dir = lab.dir.join("nodes").join(name);
        let cgroup = lab.cgroup.join(name);
        make_dir(&cgroup)?;
        for part in ["run/netns", "var-lib/cni", "bpf", "net.d"] {
            make_dir(&dir.join(part))?;
        }
        let netns = lab.add_netns(name)?;
        mount(Some("bpf"), &dir.join("bpf"), Some("bpf"), MsFlags::empty(), Some("mode=0700"))
            .with_context(|| format!("mount a bpffs on {}", dir.join("bpf").display()))?;
        pin_mount_namespace(&dir)?;
        let place = Place {
            name: name.into(),
            netns: Some(netns),
            mount_ns: Some(dir.join("mnt")),
            cgroup: Some(cgroup),
            files: lab.dir.clone(),
        };
        place.sh("ip link set lo up")?;
        Ok(Self { place, dir })
    }

    /// Its directory, the same path inside and outside: `run`, `var-lib`, `bpf`, `net.d`, and room for the caller's files.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its bpffs, for `--bpffs-root`.
    pub fn bpffs(&self) -> PathBuf {
        self.dir.join("bpf")
    }

    /// Its cgroup v2 directory, for `--cgroup-root`; the pods' directories are below it.
    pub fn cgroup_root(&self) -> &Path {
        self.place.cgroup().unwrap_or(Path::new("/"))
    }

    /// Its network configurations, for `NETCONFPATH`.
    pub fn net_d(&self) -> PathBuf {
        self.dir.join("net.d")
    }

    /// What its processes see as `/run`, seen from outside.
    pub fn run_dir(&self) -> PathBuf {
        self.dir.join("run")
    }

    /// What its processes see as `/var/lib`, seen from outside.
    pub fn var_lib(&self) -> PathBuf {
        self.dir.join("var-lib")
    }

    /// Writes a file below its directory, by rename, as an operator's tool would; gives the path.
    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.dir.join(path);
        if let Some(parent) = path.parent() {
            make_dir(parent)?;
        }
        let mut draft = path.clone().into_os_string();
        draft.push("~");
        fs::write(&draft, text).with_context(|| format!("write {}", path.display()))?;
        fs::rename(&draft, &path).with_context(|| format!("put {} in place", path.display()))?;
        Ok(path)
    }
}

impl Deref for Node {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

/// Makes the node's mount namespace on a thread that dies, and pins it at `<dir>/mnt` while the thread waits.
fn pin_mount_namespace(dir: &Path) -> Result<()> {
    let pin = dir.join("mnt");
    fs::write(&pin, "").with_context(|| format!("create {}", pin.display()))?;
    let (made, when_made) = std::sync::mpsc::channel();
    let (pinned, when_pinned) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let maker = scope.spawn(move || {
            furnish_mount_namespace(dir)?;
            let _ = made.send(nix::unistd::gettid());
            // Ends when the pin is in place, or when the other side gave up.
            let _ = when_pinned.recv();
            Ok(())
        });
        let result = match when_made.recv() {
            Ok(thread) => {
                let source = format!("/proc/self/task/{thread}/ns/mnt");
                mount(Some(source.as_str()), &pin, None::<&str>, MsFlags::MS_BIND, None::<&str>)
                    .with_context(|| format!("pin the mount namespace at {}", pin.display()))
            }
            // The maker ended early: its own error says more.
            Err(_) => Ok(()),
        };
        drop(pinned);
        maker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).and(result)
    })
}

fn furnish_mount_namespace(dir: &Path) -> Result<()> {
    unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS).context("unshare the mount namespace")?;
    // A slave receives what is mounted outside later (the pods' namespaces) and passes nothing back.
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>)
        .context("make / a slave mount")?;
    bind(Path::new("/run/netns"), &dir.join("run/netns"))?;
    bind(&dir.join("run"), Path::new("/run"))?;
    bind(&dir.join("var-lib"), Path::new("/var/lib"))?;
    if Path::new("/sys/fs/bpf").is_dir() {
        bind(&dir.join("bpf"), Path::new("/sys/fs/bpf"))?;
    }
    Ok(())
}

fn bind(from: &Path, to: &Path) -> Result<()> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .with_context(|| format!("bind {} on {}", from.display(), to.display()))
}
