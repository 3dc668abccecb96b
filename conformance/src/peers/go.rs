//! A Go that is new enough.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

/// The first one on PATH that is at least `oldest`.
pub(super) fn find(what_for: &str, oldest: (u32, u32)) -> Result<PathBuf> {
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = String::from("none");
    for dir in std::env::split_paths(&on_path) {
        let go = dir.join("go");
        if let Some(version) = version(&go) {
            if version >= oldest {
                return Ok(go);
            }
            found = format!("{}.{} at {}", version.0, version.1, go.display());
        }
    }
    bail!(
        "{what_for} need Go {}.{} or later on PATH (found: {found}): `cargo xtask setup` provides it",
        oldest.0,
        oldest.1
    )
}

/// Major and minor of `go env GOVERSION`, as in `go1.26.8`.
fn version(go: &Path) -> Option<(u32, u32)> {
    let output = Command::new(go).args(["env", "GOVERSION"]).env("GOTOOLCHAIN", "local").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut numbers = text.trim().strip_prefix("go")?.split(['.', 'r', 'b', '-', ' ']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}
