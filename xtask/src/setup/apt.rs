//! apt-get, made safe to interrupt and to run again: what an interrupted dpkg left is configured first, nothing is ever
//! removed to make room.

use crate::{place, steps};
use anyhow::{Context, Result};
use std::fs;
use std::process::Command;
use std::sync::OnceLock;

static UPDATED: OnceLock<()> = OnceLock::new();

/// The release of Debian, if this is Debian itself and not a child of it.
pub fn debian() -> Option<u32> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    let value = |key: &str| {
        text.lines().find_map(|line| line.strip_prefix(key)).map(|value| value.trim_matches('"').to_owned())
    };
    if value("ID=")? != "debian" {
        return None;
    }
    value("VERSION_ID=")?.parse().ok()
}

/// Does the archive have this package? Call after [`update`].
pub fn has_candidate(package: &str) -> bool {
    let output = Command::new("apt-cache").args(["show", "--no-all-versions", package]).output();
    output.is_ok_and(|output| output.status.success() && !output.stdout.is_empty())
}

/// Refresh the package lists, once per run.
pub fn update() -> Result<()> {
    if UPDATED.get().is_some() {
        return Ok(());
    }
    if !place::find("apt-get").is_some_and(|file| file.exists()) {
        anyhow::bail!(
            "no apt-get here: setup knows Debian 12+ and Ubuntu 22.04+; install what `setup --check` lists by hand"
        );
    }
    let mut dpkg = place::command("dpkg");
    steps::run("dpkg --configure -a", dpkg.args(["--configure", "-a"]).env("DEBIAN_FRONTEND", "noninteractive"))?;
    let mut apt = place::command("apt-get");
    // Without Error-Mode=any an archive that could not be reached is only a warning.
    apt.args(["update", "-q", "-o", "APT::Update::Error-Mode=any", "-o", "Acquire::Retries=2"]);
    steps::run("apt-get update", &mut apt)
        .context("the package archive cannot be reached: check the network (or apt's proxy) and run this again")?;
    UPDATED.get_or_init(|| ());
    Ok(())
}

/// Install packages with nothing beyond what they depend on.
pub fn install(packages: &[&str]) -> Result<()> {
    update()?;
    let mut apt = place::command("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    apt.args(["install", "-y", "-q", "--no-install-recommends", "--no-remove", "-o", "Acquire::Retries=2"])
        .args(packages);
    steps::run(&format!("apt-get install {}", packages.join(" ")), &mut apt)
        .context("packages could not be installed: what is there stays; mend the cause and run this again")?;
    Ok(())
}
