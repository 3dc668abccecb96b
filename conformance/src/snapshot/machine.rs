//! What does not belong to a network namespace: BPF objects, cgroups, names of namespaces, mounts.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Snapshot, flatten};
use crate::lab::{Place, cgroup2_mount};

pub(super) fn collect(snapshot: &mut Snapshot) -> Result<()> {
    let here = Place::here(&std::env::temp_dir());
    for (kind, identity) in [
        ("prog", &["type", "name", "tag"][..]),
        ("map", &["type", "name", "bytes_key", "bytes_value", "max_entries"]),
        ("link", &["type", "attach_type", "cgroup_id", "netns_ino", "ifindex"]),
    ] {
        let objects = here
            .json(&format!("bpftool -j {kind} show"))
            .context("list BPF objects (bpftool comes with `cargo xtask setup`)")?;
        for object in objects.as_array().into_iter().flatten() {
            let words = identity.iter().filter_map(|name| object.get(name)).map(flatten::plain);
            snapshot.add(format!("bpf {kind} {}", words.collect::<Vec<_>>().join(" ")), pins(object));
        }
    }
    cgroups(snapshot, &cgroup2_mount()?, "");
    for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        snapshot.add(format!("netns {}", entry.file_name().to_string_lossy()), "named");
    }
    let mounts = fs::read_to_string("/proc/self/mounts").context("read /proc/self/mounts")?;
    for line in mounts.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        // `ip netns add` leaves /run/netns as a mount of its own, for good: the directory and not a trace of anybody.
        if let [_, point, kind, ..] = words[..]
            && point != "/run/netns"
        {
            snapshot.add(format!("mount {point}"), kind);
        }
    }
    Ok(())
}

fn pins(object: &Value) -> String {
    object.get("pinned").map_or_else(|| "there".into(), |pins| format!("pinned {}", flatten::plain(pins)))
}

fn cgroups(snapshot: &mut Snapshot, root: &Path, below: &str) {
    for entry in fs::read_dir(root.join(below)).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let path = Path::new(below).join(entry.file_name());
            snapshot.add(format!("cgroup {}", path.display()), "there");
            cgroups(snapshot, root, &path.to_string_lossy());
        }
    }
}
