//! The second toolchain: a compiler with a core library for `bpfel-unknown-none`, and bpf-linker on the same LLVM.
//!
//! Two ways, the first that the machine's package archive allows:
//! 1. Debian 12: `rustc-web` with `libstd-rust-web-dev-bpf` (core prebuilt), linked into rustup as the toolchain `bpf`;
//!    bpf-linker built against the packaged LLVM of the same number.
//! 2. elsewhere: a pinned nightly with `rust-src`, and bpf-linker's own prebuilt binary (its LLVM is inside).
//!
//! `ebpf/object/build.rs` looks for them in the same order.

use super::apt;
use super::need::{Need, Remedy};
use crate::{place, steps};
use anyhow::{Context, Result, bail};
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

const LINKER_VERSION: &str = "0.13.0";
/// LLVM 22 inside, as in the packaged rustc; the newest that aya-ebpf 0.2.1 was built with here.
const NIGHTLY: &str = "nightly-2026-05-20";
const LINKER_BINARY: &str = "https://github.com/aya-rs/bpf-linker/releases/download/v0.13.0/\
                             bpf-linker-x86_64-unknown-linux-musl.tar.zst";
/// The packaged compiler's prefix.
const PACKAGED: &str = "/usr";

pub fn needs() -> Vec<Need> {
    let compiler = compiler();
    let linker = place::find("bpf-linker").filter(|file| linker_fits(file, compiler.as_ref()));
    vec![
        Need {
            what: "compiler for bpfel".to_owned(),
            why: "build the BPF programs",
            found: compiler.map(|(name, _)| name),
            remedy: Remedy::BpfCompiler,
        },
        Need {
            what: format!("bpf-linker {LINKER_VERSION}"),
            why: "link the BPF programs",
            found: linker.map(|file| file.display().to_string()),
            remedy: Remedy::BpfLinker,
        },
    ]
}

pub fn announce_compiler() -> String {
    if apt::debian().is_some() {
        "Debian packages rustc-web, libstd-rust-web-dev-bpf; rustup toolchain `bpf`, a link to them".to_owned()
    } else {
        format!("rustup toolchain {NIGHTLY} with rust-src")
    }
}

pub fn announce_linker() -> String {
    if apt::debian().is_some() {
        format!(
            "bpf-linker {LINKER_VERSION} by `cargo install` (about 2 min), Debian packages llvm-N-dev, libpolly-N-dev for it"
        )
    } else {
        format!("bpf-linker {LINKER_VERSION}, prebuilt, from {LINKER_BINARY}")
    }
}

/// The compiler in use: a name for people and the path of its `rustc`.
fn compiler() -> Option<(String, PathBuf)> {
    let toolchains = rustup_home()?.join("toolchains");
    let linked = toolchains.join("bpf");
    if linked.join("lib/rustlib/bpfel-unknown-none/lib").exists() && linked.join("bin/rustc").exists() {
        return Some(("rustup toolchain bpf".to_owned(), linked.join("bin/rustc")));
    }
    let nightly = toolchains.join(format!("{NIGHTLY}-{}", place::TARGET));
    nightly
        .join("lib/rustlib/src/rust/library/core/Cargo.toml")
        .exists()
        .then(|| (format!("rustup toolchain {NIGHTLY}"), nightly.join("bin/rustc")))
}

fn rustup_home() -> Option<PathBuf> {
    env::var_os("RUSTUP_HOME").map(PathBuf::from).or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".rustup")))
}

/// A linker on another LLVM than the compiler's cannot read its bitcode: one that links LLVM dynamically must name the
/// compiler's number. One that carries its LLVM inside says nothing, and is believed.
fn linker_fits(linker: &Path, compiler: Option<&(String, PathBuf)>) -> bool {
    let Ok(libraries) = Command::new("ldd").arg(linker).output() else { return true };
    let libraries = String::from_utf8_lossy(&libraries.stdout).into_owned();
    if libraries.contains("not found") {
        return false;
    }
    let Some(number) = libraries.split("libLLVM").nth(1).and_then(first_number) else { return true };
    match compiler.map(|(_, rustc)| llvm_of(rustc)) {
        Some(Ok(wanted)) => wanted == number,
        _ => true,
    }
}

/// `.so.22.1 => …` or `-22.so.1` → 22.
fn first_number(text: &str) -> Option<u32> {
    let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit());
    digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Major number of the LLVM inside a compiler, as `rustc -vV` tells.
fn llvm_of(rustc: &Path) -> Result<u32> {
    let output = Command::new(rustc).arg("-vV").output().with_context(|| format!("start {}", rustc.display()))?;
    llvm_number(&String::from_utf8_lossy(&output.stdout))
        .with_context(|| format!("{} -vV names no LLVM", rustc.display()))
}

fn llvm_number(version: &str) -> Option<u32> {
    first_number(version.lines().find_map(|line| line.strip_prefix("LLVM version:"))?)
}

/// Get the compiler.
pub fn install_compiler() -> Result<()> {
    if apt::has_candidate("libstd-rust-web-dev-bpf") {
        apt::install(&["rustc-web", "libstd-rust-web-dev-bpf"])?;
        let mut link = place::command("rustup");
        steps::run("rustup toolchain link bpf", link.args(["toolchain", "link", "bpf", PACKAGED]))?;
    } else {
        let mut rustup = place::command("rustup");
        rustup.args(["toolchain", "install", NIGHTLY, "--profile", "minimal", "--component", "rust-src"]);
        steps::run(&format!("rustup toolchain install {NIGHTLY}"), &mut rustup)
            .context("the nightly cannot be fetched: check the network and run this again")?;
    }
    Ok(())
}

/// Get the linker that fits the compiler; the compiler is there by now.
pub fn install_linker() -> Result<()> {
    let Some((name, rustc)) = compiler() else { bail!("no BPF compiler although it was just installed") };
    let llvm = llvm_of(&rustc)?;
    let (dev, polly) = (format!("llvm-{llvm}-dev"), format!("libpolly-{llvm}-dev"));
    if !apt::has_candidate(&dev) {
        return install_prebuilt_linker().with_context(|| format!("{name} has LLVM {llvm}, which apt does not have"));
    }
    apt::install(&[&dev, &polly, "zlib1g-dev", "libzstd-dev"])?;
    let prefix = format!("/usr/lib/llvm-{llvm}");
    let mut path = std::ffi::OsString::from(format!("{prefix}/bin:"));
    path.push(place::path());
    let mut cargo = place::cargo();
    cargo.env("LLVM_PREFIX", &prefix).env("PATH", path).env("CARGO_TARGET_DIR", place::target().join("bpf-linker"));
    cargo.args(["install", "bpf-linker", "--version", LINKER_VERSION, "--locked", "--force", "--no-default-features"]);
    steps::run(
        &format!("cargo install bpf-linker (LLVM {llvm})"),
        cargo.args(["--features", &format!("llvm-{llvm}")]),
    )?;
    Ok(())
}

fn install_prebuilt_linker() -> Result<()> {
    apt::install(&["curl", "zstd"])?;
    let bin = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")))
        .context("neither CARGO_HOME nor HOME is set")?
        .join("bin");
    let archive = place::cache()?.join("bpf-linker.tar.zst");
    let mut curl = place::command("curl");
    curl.args(["--fail", "--silent", "--show-error", "--location", "--create-dirs", "--output"]).arg(&archive);
    steps::run("fetch bpf-linker", curl.arg(LINKER_BINARY))
        .context("bpf-linker cannot be fetched: check the network and run this again")?;
    let mut tar = place::command("tar");
    steps::run("unpack bpf-linker", tar.arg("--zstd").arg("-xf").arg(&archive).arg("-C").arg(bin))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_llvm_number_is_read_from_either_spelling_of_the_library() {
        assert_eq!(first_number(".so.22.1 => /usr/lib/llvm-22/lib/libLLVM.so.22.1"), Some(22));
        assert_eq!(first_number("-14.so.1 => /lib/libLLVM-14.so.1"), Some(14));
    }

    #[test]
    fn the_llvm_number_is_read_from_the_compilers_own_words() {
        assert_eq!(llvm_number("rustc 1.96.0\nrelease: 1.96.0\nLLVM version: 22.1.8\n"), Some(22));
        assert_eq!(llvm_number("rustc 1.96.0\n"), None);
    }
}
