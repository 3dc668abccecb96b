//! What setup cannot install: each missing thing is one line that says what to do.

use super::need::{Need, Remedy};
use crate::place;
use std::fs;
use std::path::Path;

/// Oldest kernel the BPF programs and links are built for.
const KERNEL_FLOOR: (u32, u32) = (6, 1);

pub fn needs() -> Vec<Need> {
    vec![kernel(), architecture(), filesystem("cgroup2"), filesystem("bpf"), rustup()]
}

fn kernel() -> Need {
    let (major, minor) = KERNEL_FLOOR;
    let running = place::kernel().ok();
    let line = format!(
        "this kernel is {}, Fairlead needs {major}.{minor} or later: boot a newer one \
         (Ubuntu 22.04: apt-get install linux-generic-hwe-22.04)",
        running.map_or_else(|| "unknown".to_owned(), |(major, minor)| format!("{major}.{minor}"))
    );
    Need {
        what: format!("kernel {major}.{minor} or later"),
        why: "cgroup and tc programs as links, replaced in place",
        found: running.filter(|running| *running >= KERNEL_FLOOR).map(|(major, minor)| format!("{major}.{minor}")),
        remedy: Remedy::User(line),
    }
}

fn architecture() -> Need {
    Need {
        what: "x86_64".to_owned(),
        why: "the only architecture it is built and tested for",
        found: (std::env::consts::ARCH == "x86_64").then(|| std::env::consts::ARCH.to_owned()),
        remedy: Remedy::User(format!("this machine is {}: only x86_64 is supported", std::env::consts::ARCH)),
    }
}

fn filesystem(name: &'static str) -> Need {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let found = known.lines().any(|line| line.split_whitespace().last() == Some(name));
    Need {
        what: format!("file system {name}"),
        why: if name == "bpf" { "pinned maps and links" } else { "where the connect programs are attached" },
        found: found.then(|| "in /proc/filesystems".to_owned()),
        remedy: Remedy::User(format!(
            "this kernel has no {name}: boot one with CONFIG_CGROUP_BPF and CONFIG_BPF_SYSCALL"
        )),
    }
}

fn rustup() -> Need {
    let line = "rustup is not on PATH: install rustup with the stable toolchain (no root needed), open a new shell, run this again";
    Need {
        what: "rustup".to_owned(),
        why: "holds the second toolchain beside the stable one",
        found: place::find("rustup").map(|file| file.display().to_string()),
        remedy: Remedy::User(line.to_owned()),
    }
}

/// The line for a deed that needs root, when we are not.
pub fn refuse_without_root(deed: &str) -> anyhow::Result<()> {
    if place::is_root() {
        return Ok(());
    }
    let cargo = place::find("cargo").unwrap_or_else(|| Path::new("cargo").to_path_buf());
    anyhow::bail!(
        "{deed} needs root (packages, namespaces, BPF): run `sudo -E env PATH=\"$PATH\" {} xtask …`",
        cargo.display()
    )
}
