//! Finds a compiler that can build for BPF, and the linker.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::TARGET;

/// A rustup toolchain, by name, tried alone.
const TOOLCHAIN_VARIABLE: &str = "FAIRLEAD_BPF_TOOLCHAIN";
/// The path of bpf-linker.
const LINKER_VARIABLE: &str = "FAIRLEAD_BPF_LINKER";

/// rustup toolchains in the order they are tried: Debian's packages linked in as `bpf`, then a nightly with rust-src, the
/// one that `cargo xtask setup` installs before whichever is there.
const TOOLCHAINS: [&str; 3] = ["bpf", "nightly-2026-05-20", "nightly"];

/// Where `core` for the target comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Core {
    /// Installed with the compiler (Debian: libstd-rust-web-dev-bpf).
    Prebuilt,
    /// Built from the component rust-src.
    Source,
}

/// What builds the programs.
pub struct Toolchain {
    /// The cargo to run: the toolchain's own to build `core`, else the one that runs us (a linked toolchain has none).
    pub cargo: PathBuf,
    pub rustc: PathBuf,
    pub linker: PathBuf,
    pub core: Core,
}

impl Toolchain {
    /// The first that will do. The error says what was looked for, and what installs it.
    pub fn find() -> Result<Self, String> {
        println!("cargo::rerun-if-env-changed={TOOLCHAIN_VARIABLE}");
        println!("cargo::rerun-if-env-changed={LINKER_VARIABLE}");
        let linker = linker()?;
        let (names, asked) = match env::var(TOOLCHAIN_VARIABLE) {
            Ok(name) => (vec![name], true),
            Err(_) => (TOOLCHAINS.map(String::from).to_vec(), false),
        };
        let by_rustup = names.iter().find_map(|name| compiler(&rustup_which(name, "rustc")?, Some(name)));
        let found = by_rustup.or_else(|| if asked { None } else { compiler(Path::new("/usr/bin/rustc"), None) });
        let Some((rustc, core, cargo)) = found else {
            return Err(format!(
                "no Rust compiler for {TARGET}: looked for the rustup toolchain(s) {} with that target or rust-src. \
                 Run `cargo xtask setup`, which installs one",
                names.join(", ")
            ));
        };
        Ok(Self { cargo, rustc, linker, core })
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let core = match self.core {
            Core::Prebuilt => "with core for the target",
            Core::Source => "building core from rust-src",
        };
        write!(f, "{} {core}, {}", self.rustc.display(), self.linker.display())
    }
}

/// `rustc`, if it can build for the target, how, and the cargo that goes with it.
fn compiler(rustc: &Path, name: Option<&String>) -> Option<(PathBuf, Core, PathBuf)> {
    let sysroot = PathBuf::from(output(Command::new(rustc).args(["--print", "sysroot"]))?);
    let rustlib = sysroot.join("lib/rustlib");
    let outer = PathBuf::from(env::var_os("CARGO")?);
    if rustlib.join(TARGET).is_dir() {
        return Some((rustc.into(), Core::Prebuilt, outer));
    }
    let cargo = rustup_which(name?, "cargo").unwrap_or(outer);
    rustlib.join("src/rust/library/core").is_dir().then(|| (rustc.into(), Core::Source, cargo))
}

fn rustup_which(toolchain: &str, tool: &str) -> Option<PathBuf> {
    output(Command::new("rustup").args(["which", "--toolchain", toolchain, tool])).map(PathBuf::from)
}

fn linker() -> Result<PathBuf, String> {
    if let Some(path) = env::var_os(LINKER_VARIABLE).map(PathBuf::from) {
        return if path.is_file() {
            Ok(path)
        } else {
            Err(format!("{LINKER_VARIABLE}={}: no such file", path.display()))
        };
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let homes = [env::var_os("CARGO_HOME").map(PathBuf::from), env::home_dir().map(|home| home.join(".cargo"))];
    env::split_paths(&path)
        .chain(homes.into_iter().flatten().map(|home| home.join("bin")))
        .map(|directory| directory.join("bpf-linker"))
        .find(|linker| linker.is_file())
        .ok_or_else(|| "bpf-linker is not installed. Run `cargo xtask setup`, which installs it".into())
}

/// The trimmed output of a command that succeeded. Which toolchain cargo was started with must not decide the answer.
fn output(command: &mut Command) -> Option<String> {
    let command =
        command.env_remove("RUSTUP_TOOLCHAIN").env_remove("LD_LIBRARY_PATH").stderr(std::process::Stdio::null());
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
