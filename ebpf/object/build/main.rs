//! Builds `ebpf/programs` for `bpfel-unknown-none` and leaves the object in `OUT_DIR`.
//!
//! Plain `cargo build` is enough, given a compiler for the target and `bpf-linker` (`toolchain.rs` says where they are
//! looked for; `cargo xtask setup` installs both). The inner cargo gets a clean environment and a target directory of its
//! own: flags, wrappers and the toolchain of the outer build must not reach it, and two cargos must not wait for one lock.

mod strip;
mod toolchain;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

use toolchain::{Core, Toolchain};

const TARGET: &str = "bpfel-unknown-none";

/// What the inner cargo may see of the outer environment: where things are and how to reach the registry.
const PASSED_ON: [&str; 16] = [
    "PATH",
    "HOME",
    "USER",
    "TMPDIR",
    "CARGO_HOME",
    "CARGO_NET_OFFLINE",
    "CARGO_HTTP_PROXY",
    "CARGO_HTTP_CAINFO",
    "RUSTUP_HOME",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
];

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("cargo::error={}", error.replace('\n', "\ncargo::error="));
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let room = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let ebpf = room.parent().ok_or("the crate has no parent directory")?;
    let programs = ebpf.join("programs");
    for watched in ["programs/src", "programs/Cargo.toml", "programs/Cargo.lock", "shared/src", "shared/Cargo.toml"] {
        println!("cargo::rerun-if-changed={}", ebpf.join(watched).display());
    }
    println!("cargo::rerun-if-changed={}", room.join("build").display());
    if variable("CARGO_CFG_TARGET_ENDIAN")? != "little" {
        return Err("the BPF programs are written for little-endian machines".into());
    }

    let toolchain = Toolchain::find()?;
    let out = PathBuf::from(variable("OUT_DIR")?);
    let target_dir = out.join("programs");
    compile(&toolchain, &programs, &target_dir)?;

    let built = target_dir.join(TARGET).join("release/fairlead");
    let bytes = fs::read(&built).map_err(|error| format!("read {}: {error}", built.display()))?;
    let object = out.join("fairlead.o");
    fs::write(&object, strip::debug(&bytes)?).map_err(|error| format!("write {}: {error}", object.display()))
}

fn compile(toolchain: &Toolchain, programs: &Path, target_dir: &Path) -> Result<(), String> {
    let mut cargo = Command::new(&toolchain.cargo);
    cargo.env_clear().envs(PASSED_ON.iter().filter_map(|name| Some((name, env::var_os(name)?))));
    cargo.current_dir(programs).args(["build", "--release", "--locked", "--target", TARGET, "--target-dir"]);
    cargo.arg(target_dir).env("RUSTC", &toolchain.rustc).env("RUSTC_WRAPPER", "");
    match toolchain.core {
        // aya-ebpf turns features of the compiler on; the name lets it and nothing else do so on a stable one.
        Core::Prebuilt => cargo.env("RUSTC_BOOTSTRAP", "aya_ebpf"),
        Core::Source => cargo.env("RUSTC_BOOTSTRAP", "1").args(["-Z", "build-std=core"]),
    };
    let flags = [
        &format!("-Clinker={}", toolchain.linker.display()),
        // BTF is made from the debug information.
        "-Cdebuginfo=2",
        "-Clink-arg=--btf",
        // Kernel 5.1 and later; 32-bit jumps and registers.
        "-Ctarget-cpu=v3",
        &format!("--cfg=bpf_target_arch=\"{}\"", variable("CARGO_CFG_TARGET_ARCH")?),
    ];
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));

    let output = cargo.output().map_err(|error| format!("run {}: {error}", toolchain.cargo.display()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("the BPF programs did not build ({toolchain}):\n{}", said.trim_end()))
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error| format!("cargo sets {name} for build scripts: {error}"))
}
