//! Where things are: the checkout, its target directory, the cache outside it, and the programs on PATH.

use anyhow::{Context, Result};
use std::env;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The host's target triple; what ships is built for it.
pub const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Root of the checkout this xtask was built from.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask/ lies in the workspace")
}

/// `target/`, or what `CARGO_TARGET_DIR` says.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), |dir| workspace().join(dir))
}

/// What ships, laid out by `dist`. `FAIRLEAD_DIST` is how the lab is told.
pub fn dist() -> PathBuf {
    target().join("dist")
}

/// `${XDG_CACHE_HOME:-~/.cache}/fairlead`: kernels, peers, Go. Survives `cargo clean`.
pub fn cache() -> Result<PathBuf> {
    let base = match env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?).join(".cache"),
    };
    Ok(base.join("fairlead"))
}

/// The Go that `setup` fetches when the machine has none or an old one.
pub const GO_VERSION: &str = "1.26.6";

/// Where that Go lies, or will.
pub fn go_home() -> Option<PathBuf> {
    cache().ok().map(|cache| cache.join(format!("go-{GO_VERSION}")))
}

/// PATH with the system's sbin directories (a plain user's shell lacks them) and our own Go first, if we have one.
pub fn path() -> OsString {
    let mut dirs: Vec<PathBuf> = Vec::new();
    // Only the finished unpacking has the final name.
    dirs.extend(go_home().map(|home| home.join("go/bin")).filter(|bin| bin.join("go").exists()));
    dirs.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    for dir in ["/usr/local/sbin", "/usr/sbin", "/sbin"] {
        if !dirs.iter().any(|known| known == Path::new(dir)) {
            dirs.push(PathBuf::from(dir));
        }
    }
    env::join_paths(dirs).unwrap_or_default()
}

/// The file a command name stands for, searched as `path` says.
pub fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&path()).map(|dir| dir.join(program)).find(|file| {
        file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    })
}

/// A command in the checkout with our PATH.
pub fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(workspace()).env("PATH", path());
    command
}

/// The cargo that runs us, without the variables it set for us: they would be taken for the child's own.
pub fn cargo() -> Command {
    let mut command = command("cargo");
    for variable in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "CARGO_PKG_VERSION", "RUSTUP_TOOLCHAIN", "RUSTC_BOOTSTRAP"]
    {
        command.env_remove(variable);
    }
    command
}

/// Is this process root?
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Version of the running kernel, `(major, minor)`.
pub fn kernel() -> Result<(u32, u32)> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").context("read /proc/sys/kernel/osrelease")?;
    parse_kernel(&release)
        .with_context(|| format!("kernel release {:?} does not begin with a number.number", release.trim()))
}

/// `6.12.117-1~deb12u1` → `(6, 12)`.
pub fn parse_kernel(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.trim().split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_release_is_read_to_its_minor_number() {
        assert_eq!(parse_kernel("6.12.117-1~deb12u1\n"), Some((6, 12)));
        assert_eq!(parse_kernel("6.18.44-fc-v657"), Some((6, 18)));
        assert_eq!(parse_kernel("7.0-rc1"), Some((7, 0)));
        assert_eq!(parse_kernel("linux"), None);
    }
}
