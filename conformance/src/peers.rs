//! The reference: CNI plugins 1.9.1 and cnitool 1.3.0, built from Go modules once, into a cache outside `target/`.
//!
//! The module list and its checksums are part of this program, so that a build names exactly what it compared with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use nix::fcntl::{Flock, FlockArg};

const VERSION: &str = "cni-1.9.1";
const BUILD: &str = "fairlead-lab peers build";
const FILES: [(&str, &str); 3] = [
    ("go.mod", include_str!("../peers/go.mod")),
    ("go.sum", include_str!("../peers/go.sum")),
    ("tools.go", include_str!("../peers/tools.go")),
];
/// The oldest Go that go.mod accepts.
const GO: (u32, u32) = (1, 25);

/// Where the binaries are, or would be: `${XDG_CACHE_HOME:-~/.cache}/fairlead/peers/cni-1.9.1/bin`.
pub fn cni_path() -> Result<PathBuf> {
    Ok(cache()?.join("peers").join(VERSION).join("bin"))
}

/// The directory of the reference plugins, if they are built.
pub fn cni_bin() -> Result<PathBuf> {
    let bin = cni_path()?;
    if !bin.join("bridge").is_file() {
        bail!("the reference plugins are not in {}: run `{BUILD}` (or `cargo xtask setup`)", bin.display());
    }
    Ok(bin)
}

/// Builds what is missing and gives the directory. Two at once: the second waits, then finds it done. Interrupted, it
/// leaves only a draft, which the next one replaces: the directory appears whole, by rename.
pub fn build() -> Result<PathBuf> {
    let bin = cni_path()?;
    if cni_bin().is_ok() {
        return Ok(bin);
    }
    let home = bin.parent().ok_or_else(|| anyhow!("no parent of {}", bin.display()))?;
    fs::create_dir_all(home).with_context(|| format!("make {}", home.display()))?;
    let lock = fs::File::create(home.join("lock")).with_context(|| format!("create {}/lock", home.display()))?;
    let _lock =
        Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| errno).context("lock the peers' cache")?;
    if cni_bin().is_ok() {
        return Ok(bin);
    }
    let go = find_go()?;
    let start = Instant::now();
    eprintln!("building the reference plugins 1.9.1 and cnitool 1.3.0 with {} (10 s, and the download)", go.display());
    let source = home.join("source");
    let draft = home.join("bin.draft");
    for dir in [&source, &draft] {
        fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    }
    for (name, text) in FILES {
        fs::write(source.join(name), text).with_context(|| format!("write {name} to {}", source.display()))?;
    }
    let mut command = Command::new(&go);
    command.current_dir(&source).env("CGO_ENABLED", "0").env("GOFLAGS", "-mod=readonly").env("GOTOOLCHAIN", "local");
    command.args(["build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o"]).arg(&draft).args(packages());
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("start {}", go.display()))?;
    if !status.success() {
        bail!(
            "`go build` of the reference plugins failed after {:.0} s ({status}): what it said stands above; \
               without a network it needs a filled module cache",
            start.elapsed().as_secs_f64()
        );
    }
    fs::rename(&draft, &bin).with_context(|| format!("put {} in place", bin.display()))?;
    eprintln!("built in {:.1} s: {}", start.elapsed().as_secs_f64(), bin.display());
    Ok(bin)
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

/// The packages that tools.go imports: one list, not two.
fn packages() -> Vec<&'static str> {
    FILES[2].1.lines().filter_map(|line| line.trim().strip_prefix("_ \"")?.strip_suffix('"')).collect()
}

fn find_go() -> Result<PathBuf> {
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = String::from("none");
    for dir in std::env::split_paths(&on_path) {
        let go = dir.join("go");
        if let Some(version) = go_version(&go) {
            if version >= GO {
                return Ok(go);
            }
            found = format!("{}.{} at {}", version.0, version.1, go.display());
        }
    }
    bail!(
        "the reference plugins need Go {}.{} or later on PATH (found: {found}): `cargo xtask setup` provides it",
        GO.0,
        GO.1
    )
}

/// Major and minor of `go env GOVERSION`, as in `go1.26.8`.
fn go_version(go: &Path) -> Option<(u32, u32)> {
    let output = Command::new(go).args(["env", "GOVERSION"]).env("GOTOOLCHAIN", "local").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut numbers = text.trim().strip_prefix("go")?.split(['.', 'r', 'b', '-', ' ']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_packages_is_read_from_the_tools_file() {
        let packages = packages();
        assert!(packages.contains(&"github.com/containernetworking/cni/cnitool"), "{packages:?}");
        assert_eq!(packages.len(), 10);
    }
}
