//! Where the things to be judged lie: the tree `cargo xtask dist` lays out, and the tool that drives the traffic.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// `$FAIRLEAD_DIST`, or `target/dist` of this workspace.
pub fn root() -> PathBuf {
    match std::env::var_os("FAIRLEAD_DIST") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/")).join("target/dist"),
    }
}

/// The directory to put into `CNI_PATH`: our plugins and our `cnitool`.
pub fn cni_bin() -> Result<PathBuf> {
    present(root().join("cni/bin/fairlead-cni"))?;
    Ok(root().join("cni/bin"))
}

/// The service proxy's binary.
pub fn proxy() -> Result<PathBuf> {
    present(root().join("bin/fairlead-proxy"))
}

/// The overlay agent's binary.
pub fn overlay() -> Result<PathBuf> {
    present(root().join("bin/fairlead-overlay"))
}

/// `fairlead-lab` itself: this program, the one cargo built beside this test, or the one in `dist`.
pub fn lab_tool() -> Result<PathBuf> {
    let me = std::env::current_exe()?;
    if me.file_stem().is_some_and(|name| name == "fairlead-lab") {
        return Ok(me);
    }
    let beside = me.ancestors().skip(1).take(2).map(|dir| dir.join("fairlead-lab")).find(|path| path.is_file());
    match beside {
        Some(path) => Ok(path),
        None => present(root().join("bin/fairlead-lab")),
    }
}

fn present(path: PathBuf) -> Result<PathBuf> {
    if !path.is_file() {
        bail!("{} is not there: run `cargo xtask dist` (or set FAIRLEAD_DIST to the tree it laid out)", path.display());
    }
    Ok(path)
}
