//! `dist`: what ships, laid out as it is installed.
//!
//! ```text
//! target/dist/cni/bin/{fairlead-cni,bridge,host-local,loopback,cnitool}   one inode
//! target/dist/bin/{fairlead-proxy,fairlead-overlay,fairlead-lab}
//! target/dist/SHA256SUMS
//! ```

use crate::place::{self, TARGET};
use crate::setup::{self, For};
use crate::steps;
use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Names under which the plugin binary is started besides its own.
const NAMES: &[&str] = &[
    "bridge",
    "host-local",
    "static",
    "loopback",
    "ptp",
    "cnitool",
    "portmap",
    "firewall",
    "tuning",
    "bandwidth",
    "flannel",
];
/// (package, binary) of the daemons and of the lab.
const DAEMONS: &[(&str, &str)] = &[
    ("fairlead-proxy", "fairlead-proxy"),
    ("fairlead-overlay", "fairlead-overlay"),
    ("fairlead-conformance", "fairlead-lab"),
];
/// A plugin lives for milliseconds, and is told by them. Static: no loader, no library. At a fixed address, as the
/// reference's: relocating itself costs a fifth of its start. And no asking which instructions the processor has for the
/// hundred bytes it hashes: in a guest every such question (CPUID) leaves the guest.
const PLUGIN_FLAGS: &str = "-Ctarget-feature=+crt-static -Crelocation-model=static --cfg sha2_backend=\"soft\"";
/// Largest plugin binary that still counts as small.
const CNI_LIMIT: u64 = 4 << 20;

/// `cargo xtask dist`.
pub fn run() -> Result<ExitCode> {
    setup::ensure(For::Demo)?;
    build()?;
    print!("{}", fs::read_to_string(place::dist().join("SHA256SUMS")).context("read SHA256SUMS")?);
    Ok(ExitCode::SUCCESS)
}

/// Build and lay out. Files are put in place by rename, so that a binary that runs keeps its own image.
pub fn build() -> Result<()> {
    let mut daemons = place::cargo();
    daemons.args(["build", "--release", "--locked"]);
    for (package, binary) in DAEMONS {
        daemons.args(["--package", package, "--bin", binary]);
    }
    steps::run("build the daemons and the lab", &mut daemons)?;

    // `--target` even though it is the host's: only then are build scripts and proc macros, which need a dynamic
    // linker, left out of +crt-static.
    let mut plugins = place::cargo();
    plugins.args(["rustc", "--locked", "--package", "fairlead-cni", "--profile", "cni", "--target", TARGET]);
    plugins.args(["--bin", "fairlead-cni"]).env("RUSTFLAGS", PLUGIN_FLAGS);
    steps::run("build the plugins, static", &mut plugins)?;
    lay_out()
}

fn lay_out() -> Result<()> {
    let dist = place::dist();
    let plugins = dist.join("cni/bin");
    let daemons = dist.join("bin");
    for dir in [&plugins, &daemons] {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    }
    let built = place::target().join(TARGET).join("cni/fairlead-cni");
    check_static(&built)?;
    let multi = plugins.join("fairlead-cni");
    replace(&built, &multi)?;
    let mut laid = vec![multi.clone()];
    for name in NAMES {
        let link = plugins.join(name);
        let fresh = plugins.join(format!(".{name}.new"));
        // Left by an interrupted run; there may be none.
        let _ = fs::remove_file(&fresh);
        fs::hard_link(&multi, &fresh).with_context(|| format!("link {} to {}", fresh.display(), multi.display()))?;
        rename(&fresh, &link)?;
        laid.push(link);
    }
    for (_, binary) in DAEMONS {
        let to = daemons.join(binary);
        replace(&place::target().join("release").join(binary), &to)?;
        laid.push(to);
    }
    write_sums(&dist, &laid)
}

/// Copy under a temporary name, then rename.
fn replace(from: &Path, to: &Path) -> Result<()> {
    let fresh = to.with_extension("new");
    fs::copy(from, &fresh).with_context(|| format!("copy {} to {}", from.display(), fresh.display()))?;
    rename(&fresh, to)
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).with_context(|| format!("rename {} to {}", from.display(), to.display()))?;
    // rename(2) between two names of one inode does nothing and leaves both.
    let _ = fs::remove_file(from);
    Ok(())
}

/// A plugin runs in whatever root the runtime has: it may need no loader and no library, and must be small.
fn check_static(file: &Path) -> Result<()> {
    let size = fs::metadata(file).with_context(|| format!("look at {}", file.display()))?.len();
    if size > CNI_LIMIT {
        bail!("{} has {size} bytes, more than {CNI_LIMIT}: what dependency came in?", file.display());
    }
    let headers = Command::new("readelf").args(["--program-headers", "--dynamic"]).arg(file).output();
    let headers = headers.context("start readelf (Debian package binutils)")?;
    let text = String::from_utf8_lossy(&headers.stdout);
    if let Some(line) = text.lines().find(|line| line.contains("INTERP") || line.contains("(NEEDED)")) {
        bail!("{} is not static: {}", file.display(), line.trim());
    }
    Ok(())
}

fn write_sums(dist: &Path, files: &[PathBuf]) -> Result<()> {
    let mut text = String::new();
    for file in files {
        let bytes = fs::read(file).with_context(|| format!("read {}", file.display()))?;
        let name = file.strip_prefix(dist).unwrap_or(file).display();
        for byte in Sha256::digest(&bytes) {
            write!(text, "{byte:02x}")?;
        }
        writeln!(text, "  {name}")?;
    }
    let sums = dist.join("SHA256SUMS");
    fs::write(&sums, text).with_context(|| format!("write {}", sums.display()))
}
