//! The kernel, what we may do in it, and the places that the proxy lives in.

use std::fs;
use std::path::Path;

use super::Finding;
use crate::attach::{self, requirements};
use crate::cli::Roots;
use crate::state;

pub fn kernel() -> Finding {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Finding::of("kernel", format!("Linux {}", release.trim()), requirements::kernel())
}

pub fn privileges() -> Finding {
    Finding::of("privileges", "programs may be loaded and attached", requirements::privileges())
}

/// Types of the kernel's own, which tools need to show what the programs do. The programs themselves do not.
pub fn btf() -> Option<Finding> {
    const PATH: &str = "/sys/kernel/btf/vmlinux";
    (!Path::new(PATH).exists()).then(|| {
        let found = format!("{PATH} is not there: the proxy does not need it, tools as bpftrace do");
        Finding::note("types", found, "to have it, a kernel with CONFIG_DEBUG_INFO_BTF")
    })
}

/// Whether programs run as machine code. The key is there in the host's network namespace only.
pub fn compiler() -> Option<Finding> {
    let enabled = fs::read_to_string("/proc/sys/net/core/bpf_jit_enable").ok()?;
    (enabled.trim() == "0").then(|| {
        let found = "BPF programs are interpreted: connections cost several times as much";
        Finding::warning("compiler", found, "sysctl -w net.core.bpf_jit_enable=1")
    })
}

pub fn cgroup(root: &Path) -> Vec<Finding> {
    let mut findings = vec![Finding::of("cgroup", root.display().to_string(), requirements::cgroup2(root))];
    // The topmost cgroup has no such file (Documentation/admin-guide/cgroup-v2.rst, "Core Interface Files").
    if findings[0].state == super::State::Good && root.join("cgroup.events").exists() {
        let found = format!(
            "{} is not the topmost cgroup (a part of it, or a container's view): processes outside of it are not served",
            root.display()
        );
        let to_do = "in a container, mount the host's /sys/fs/cgroup (hostPath) and give it as --cgroup-root; elsewhere give \
                     the top, unless only a part is meant";
        findings.push(Finding::warning("cgroup", found, to_do));
    }
    findings
}

pub fn bpffs(root: &Path) -> Finding {
    Finding::of("bpffs", root.display().to_string(), requirements::bpffs(root))
}

/// What is in force here already.
pub fn programs(roots: &Roots) -> Finding {
    const WHAT: &str = "programs";
    let running = state::is_running(&roots.state_dir);
    let found = match attach::inspect(&roots.bpffs_root, &roots.cgroup_root) {
        Ok(None) if running => {
            return Finding::warning(WHAT, "a proxy runs, and nothing of it is in the kernel", "see its log");
        }
        Ok(None) => return rehearsed(WHAT),
        Ok(Some(inspection)) => inspection,
        Err(error) => {
            return Finding::warning(
                WHAT,
                format!("what is pinned here cannot be read: {error:#}"),
                "`fairlead-proxy status`",
            );
        }
    };
    let dead: Vec<_> = found.links.iter().filter(|link| !link.attached).map(|link| link.name.as_str()).collect();
    match (dead.is_empty(), running) {
        (false, _) => Finding::warning(
            WHAT,
            format!("not attached: {}", dead.join(", ")),
            "start the proxy (again): it attaches what is missing",
        ),
        (true, false) => {
            Finding::note(WHAT, "attached, and no proxy runs: Services are as they last were", "start the proxy")
        }
        (true, true) => Finding::good(WHAT, format!("all {} are attached; a proxy runs", found.links.len())),
    }
}

/// Whether this kernel would take them.
fn rehearsed(what: &'static str) -> Finding {
    if requirements::privileges().is_err() {
        return Finding::note(what, "none are in the kernel yet, and this process may not try them", "run as root");
    }
    match attach::rehearse() {
        Ok(count) => Finding::good(what, format!("none are in the kernel yet; it takes all {count}; no proxy runs")),
        Err(error) => {
            let found = format!("this kernel does not take them: {error:#}");
            Finding::bad(
                what,
                found,
                "a kernel of a distribution, from 6.1 on, with CONFIG_CGROUP_BPF and CONFIG_BPF_SYSCALL",
            )
        }
    }
}
