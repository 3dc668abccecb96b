//! Where things are pinned: `<bpffs>/fairlead/v<ABI>/{maps,links}/NAME`.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use fairlead_ebpf_shared::ABI_VERSION;
use fairlead_kernel::error::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::lock;

/// The lock on a pin directory; lasts as long as the value.
pub type Lock = Flock<File>;

/// `<bpffs>/fairlead`: the pins of every ABI version.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
}

impl Tree {
    /// Below a mounted bpffs.
    pub fn at(bpffs_root: &Path) -> Self {
        Self { root: bpffs_root.join("fairlead") }
    }

    /// `<bpffs>/fairlead`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The pins of this build's ABI version.
    pub fn pins(&self) -> Pins {
        Pins { root: self.root.join(format!("v{ABI_VERSION}")) }
    }

    /// Whether this build's directory is there.
    pub fn is_there(&self) -> bool {
        self.pins().root.is_dir()
    }

    /// Makes this build's directories; there already is fine.
    pub fn create(&self) -> Result<Pins> {
        let pins = self.pins();
        for directory in [&self.root, &pins.root, &pins.maps(), &pins.links()] {
            match fs::create_dir(directory) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                    return Err(error).with_context(|| format!("create directory {}", directory.display()));
                }
                _ => {}
            }
        }
        Ok(pins)
    }

    /// All versions that have a directory here.
    pub fn versions(&self) -> Result<Vec<Pins>> {
        let entries = match fs::read_dir(&self.root) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.with_context(|| format!("read directory {}", self.root.display()))?,
        };
        let mut found: Vec<Pins> = Vec::new();
        for entry in entries {
            let path = entry.with_context(|| format!("read directory {}", self.root.display()))?.path();
            if path.is_dir() {
                found.push(Pins { root: path });
            }
        }
        found.sort_unstable_by(|a, b| a.root.cmp(&b.root));
        Ok(found)
    }

    /// What builds with another ABI version left here.
    pub fn others(&self) -> Result<Vec<Pins>> {
        let ours = self.pins().root;
        Ok(self.versions()?.into_iter().filter(|pins| pins.root != ours).collect())
    }
}

/// The pins of one ABI version.
#[derive(Debug)]
pub struct Pins {
    root: PathBuf,
}

impl Pins {
    /// `<bpffs>/fairlead/v<ABI>`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of the maps.
    pub fn maps(&self) -> PathBuf {
        self.root.join("maps")
    }

    /// The directory of the links.
    pub fn links(&self) -> PathBuf {
        self.root.join("links")
    }

    /// The pin of a map.
    pub fn map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }

    /// The pin of a program's link.
    pub fn link(&self, program: &str) -> PathBuf {
        self.links().join(program)
    }

    /// One writer only. The lock goes with its holder, however that one ends.
    pub fn lock(&self) -> Result<Lock> {
        let attempt = || {
            let directory =
                File::open(&self.root).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))?;
            Flock::lock(directory, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno)
        };
        lock::take(attempt).map_err(|errno| match errno {
            Errno::EWOULDBLOCK => anyhow!(
                "another fairlead-proxy holds {}: stop it first (two of them need bpffs mounts of their own)",
                self.root.display()
            ),
            errno => anyhow!("lock {}: {}", self.root.display(), errno.desc()),
        })
    }
}
