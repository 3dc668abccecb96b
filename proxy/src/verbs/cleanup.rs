//! `cleanup`: everything of ours goes, and nothing else.

use std::fs;
use std::path::Path;

use anyhow::{Result, anyhow, bail};

use super::print;
use crate::cli::{Cleanup, Roots};
use crate::{attach, kernel_settings, state};

/// `cleanup`. Does not stop at an error: what can go goes, and the error names what could not.
pub fn cleanup(arguments: &Cleanup) -> Result<()> {
    let Roots { cgroup_root, bpffs_root, state_dir } = &arguments.roots;
    if state::is_running(state_dir) {
        bail!("a fairlead-proxy runs with the state directory {}; stop it first", state_dir.display());
    }
    let deeds: [&dyn Fn() -> Result<Vec<String>>; 4] = [
        &|| attach::cleanup(bpffs_root, cgroup_root),
        &|| kernel_settings::restore(state_dir),
        &|| state::remove(state_dir),
        &|| Ok(remove_own_parent(state_dir).into_iter().collect()),
    ];
    let (mut removed, mut failed) = (Vec::new(), Vec::new());
    for deed in deeds {
        match deed() {
            Ok(lines) => removed.extend(lines),
            Err(error) => failed.push(format!("{error:#}")),
        }
    }
    for line in &removed {
        print(&format!("{line}\n"))?;
    }
    match failed.len() {
        0 if removed.is_empty() => print("nothing was left to remove\n"),
        0 => Ok(()),
        _ => Err(anyhow!(failed.join("; "))),
    }
}

/// `/run/fairlead`, which the state directory was made in, if nobody else lives there.
fn remove_own_parent(state_dir: &Path) -> Option<String> {
    let parent = state_dir.parent().filter(|parent| parent.file_name().is_some_and(|name| name == "fairlead"))?;
    let is_removed = !state_dir.exists() && fs::remove_dir(parent).is_ok();
    is_removed.then(|| format!("removed {}", parent.display()))
}
