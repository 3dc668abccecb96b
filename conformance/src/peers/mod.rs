//! The references, built from Go modules once, into a cache outside `target/`: the CNI plugins 1.9.1 with cnitool 1.3.0, and
//! Kubernetes 1.37.2 (kube-apiserver and kube-proxy) with etcd 3.7.0.
//!
//! The module lists and their checksums are part of this program, so that a build names exactly what it compared with.

mod go;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use nix::fcntl::{Flock, FlockArg};

/// What is built together.
#[derive(Debug)]
struct Peers {
    /// For people.
    what: &'static str,
    /// The directory in the cache; a new version has a new name.
    version: &'static str,
    /// The verb that builds it.
    build: &'static str,
    /// How long that takes on two cores, cold.
    takes: &'static str,
    /// Paths and contents of the module.
    files: &'static [(&'static str, &'static str)],
    /// The oldest Go that go.mod accepts.
    go: (u32, u32),
    /// Packages besides those that tools.go imports.
    own: &'static [&'static str],
    /// What the linker is told.
    link: &'static str,
    /// A binary that is there when it is built.
    proof: &'static str,
}

const CNI: Peers = Peers {
    what: "the reference plugins 1.9.1 and cnitool 1.3.0",
    version: "cni-1.9.1",
    build: "fairlead-lab peers build",
    takes: "10 s",
    files: &[
        ("go.mod", include_str!("../../peers/cni/go.mod")),
        ("go.sum", include_str!("../../peers/cni/go.sum")),
        ("tools.go", include_str!("../../peers/cni/tools.go")),
    ],
    go: (1, 25),
    own: &[],
    link: "-s -w",
    proof: "bridge",
};

const KUBERNETES: Peers = Peers {
    what: "kube-apiserver and kube-proxy 1.37.2 and etcd 3.7.0",
    version: "kubernetes-1.37.2",
    build: "fairlead-lab peers build kubernetes",
    takes: "6 minutes",
    files: &[
        ("go.mod", include_str!("../../peers/kubernetes/go.mod")),
        ("go.sum", include_str!("../../peers/kubernetes/go.sum")),
        ("tools.go", include_str!("../../peers/kubernetes/tools.go")),
        ("etcd/main.go", include_str!("../../peers/kubernetes/etcd/main.go")),
    ],
    go: (1, 26),
    own: &["./etcd"],
    // Built from a module they know no version, and a client refuses to talk to v0.0.0.
    link: "-s -w -X k8s.io/component-base/version.gitVersion=v1.37.2 -X k8s.io/component-base/version.gitMajor=1 \
           -X k8s.io/component-base/version.gitMinor=37",
    proof: "kube-proxy",
};

/// Where the reference plugins are, or would be: `${XDG_CACHE_HOME:-~/.cache}/fairlead/peers/cni-1.9.1/bin`.
pub fn cni_path() -> Result<PathBuf> {
    CNI.path()
}

/// The directory of the reference plugins, if they are built.
pub fn cni_bin() -> Result<PathBuf> {
    CNI.bin()
}

/// Builds the reference plugins, unless they are there, and gives the directory.
pub fn build_cni() -> Result<PathBuf> {
    CNI.build()
}

/// The directory of `etcd`, `kube-apiserver` and `kube-proxy`, if they are built.
pub fn kubernetes_bin() -> Result<PathBuf> {
    KUBERNETES.bin()
}

/// Builds etcd, kube-apiserver and kube-proxy, unless they are there, and gives the directory.
pub fn build_kubernetes() -> Result<PathBuf> {
    KUBERNETES.build()
}

impl Peers {
    fn path(&self) -> Result<PathBuf> {
        Ok(cache()?.join("peers").join(self.version).join("bin"))
    }

    fn bin(&self) -> Result<PathBuf> {
        let bin = self.path()?;
        if !bin.join(self.proof).is_file() {
            bail!("no {} in {}: run `{}` (or `cargo xtask setup`)", self.what, bin.display(), self.build);
        }
        Ok(bin)
    }

    /// Two at once: the second waits, then finds it done. Interrupted, it leaves only a draft, which the next one
    /// replaces: the directory appears whole, by rename.
    fn build(&self) -> Result<PathBuf> {
        if let Ok(bin) = self.bin() {
            return Ok(bin);
        }
        let bin = self.path()?;
        let home = bin.parent().ok_or_else(|| anyhow!("no parent of {}", bin.display()))?;
        fs::create_dir_all(home).with_context(|| format!("make {}", home.display()))?;
        let lock = fs::File::create(home.join("lock")).with_context(|| format!("create {}/lock", home.display()))?;
        let _lock =
            Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| errno).context("lock the peers' cache")?;
        if let Ok(bin) = self.bin() {
            return Ok(bin);
        }
        let go = go::find(self.what, self.go)?;
        eprintln!("building {} with {} ({}, and the download)", self.what, go.display(), self.takes);
        let start = Instant::now();
        let draft = home.join("bin.draft");
        fs::create_dir_all(&draft).with_context(|| format!("make {}", draft.display()))?;
        self.compile(&go, &self.unpack(home)?, &draft)?;
        fs::rename(&draft, &bin).with_context(|| format!("put {} in place", bin.display()))?;
        eprintln!("built in {:.1} s: {}", start.elapsed().as_secs_f64(), bin.display());
        Ok(bin)
    }

    /// Writes the module, and gives its directory.
    fn unpack(&self, home: &Path) -> Result<PathBuf> {
        let source = home.join("source");
        for (name, text) in self.files {
            let path = source.join(name);
            let parent = path.parent().unwrap_or(&source);
            fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(source)
    }

    fn compile(&self, go: &Path, source: &Path, draft: &Path) -> Result<()> {
        let mut command = Command::new(go);
        command.current_dir(source).env("CGO_ENABLED", "0").env("GOFLAGS", "-mod=readonly").env("GOTOOLCHAIN", "local");
        command.args(["build", "-trimpath", "-buildvcs=false", "-ldflags", self.link, "-o"]).arg(draft);
        command.args(self.own).args(self.imported());
        let status = command.stdin(Stdio::null()).status().with_context(|| format!("start {}", go.display()))?;
        if !status.success() {
            bail!(
                "`go build` of {} failed ({status}): what it said stands above; without a network it needs a filled \
                 module cache",
                self.what
            );
        }
        Ok(())
    }

    /// The packages that tools.go imports: one list, not two.
    fn imported(&self) -> Vec<&'static str> {
        let tools = self.files.iter().filter(|(name, _)| *name == "tools.go").flat_map(|(_, text)| text.lines());
        tools.filter_map(|line| line.trim().strip_prefix("_ \"")?.strip_suffix('"')).collect()
    }
}

/// `${XDG_CACHE_HOME:-~/.cache}/fairlead`.
fn cache() -> Result<PathBuf> {
    let base = match (std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME")) {
        (Some(cache), _) if !cache.is_empty() => PathBuf::from(cache),
        (_, Some(home)) => PathBuf::from(home).join(".cache"),
        _ => bail!("neither XDG_CACHE_HOME nor HOME is set: set one to say where the cache is"),
    };
    Ok(base.join("fairlead"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_packages_is_read_from_the_tools_file() {
        let packages = CNI.imported();
        assert!(packages.contains(&"github.com/containernetworking/cni/cnitool"), "{packages:?}");
        assert_eq!(packages.len(), 10);
        assert_eq!(KUBERNETES.imported(), ["k8s.io/kubernetes/cmd/kube-apiserver", "k8s.io/kubernetes/cmd/kube-proxy"]);
    }

    #[test]
    fn what_is_compared_with_has_its_checksum() {
        for (peers, module) in [
            (CNI, "github.com/containernetworking/plugins v1.9.1"),
            (KUBERNETES, "k8s.io/kubernetes v1.37.2"),
            (KUBERNETES, "go.etcd.io/etcd/server/v3 v3.7.0"),
        ] {
            let file = |name| peers.files.iter().find(|(path, _)| *path == name).map_or("", |(_, text)| text);
            assert!(file("go.mod").contains(module), "{module}");
            assert!(file("go.sum").contains(&format!("{module} h1:")), "{module}");
        }
    }
}
