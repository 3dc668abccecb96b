//! Debian packages: each is proved by a file it brings, so that looking takes no process and no time.

use super::need::{Need, Remedy};
use crate::place;
use std::path::Path;

enum Proof {
    Program(&'static str),
    File(&'static str),
}

use Proof::{File, Program};

/// What the build and the demo need, and what proves that it is there.
const BUILD: &[(&str, Proof, &str)] = &[
    ("gcc", Program("cc"), "linker of every Rust program"),
    ("libc6-dev", File("/usr/include/stdio.h"), "C library, also the static one"),
    ("binutils", Program("readelf"), "check that the plugins are static"),
    ("iproute2", Program("ip"), "named namespaces, and commands to play with"),
    ("util-linux", Program("nsenter"), "enter a node or a pod"),
    ("procps", Program("ps"), "look at processes"),
];

/// What the tests and benchmarks need on top: peers and judges.
const TESTS: &[(&str, Proof, &str)] = &[
    ("g++", Program("c++"), "libFuzzer, which is C++"),
    ("nftables", Program("nft"), "read rules back with a tool that is not ours"),
    ("iptables", Program("iptables"), "the reference plugins' masquerade"),
    ("tcpdump", Program("tcpdump"), "captures when a test fails"),
    ("conntrack", Program("conntrack"), "the flows a node remembers"),
    ("strace", Program("strace"), "no exec and no thread on ADD; crash points"),
    ("dbus-daemon", Program("dbus-daemon"), "the firewall plugin's firewalld back end, on a bus of its own"),
    ("dbus-bin", Program("dbus-send"), "the same"),
    ("python3-dbus", File("/usr/lib/python3/dist-packages/dbus/__init__.py"), "the firewalld that the tests fake"),
    ("python3-gi", File("/usr/lib/python3/dist-packages/gi/__init__.py"), "the same"),
    ("busybox-static", File("/bin/busybox"), "ring 4: the image of every container"),
    ("containerd", Program("containerd"), "ring 4: a runtime, by `ctr run --cni`"),
    ("podman", Program("podman"), "ring 4: a runtime, by its CNI back end"),
    ("runc", Program("runc"), "ring 4: what both start containers with"),
];

/// What the build and the demo need.
pub fn build() -> Vec<Need> {
    BUILD.iter().map(|(package, proof, why)| need(package, proof, why)).collect()
}

/// What the tests need on top.
pub fn tests() -> Vec<Need> {
    TESTS.iter().map(|(package, proof, why)| need(package, proof, why)).collect()
}

/// What another kernel needs to boot here.
pub fn emulator() -> Vec<Need> {
    let why = "ring 5: other kernels, without KVM";
    crate::vm::PACKAGES.iter().map(|(program, package)| need(package, &Program(program), why)).collect()
}

fn need(package: &'static str, proof: &Proof, why: &'static str) -> Need {
    let found = match proof {
        Program(name) => place::find(name).map(|file| file.display().to_string()),
        File(file) => Path::new(file).exists().then(|| (*file).to_owned()),
    };
    Need { what: format!("package {package}"), why, found, remedy: Remedy::Package(package) }
}
