//! nf_tables and sysctls as facts.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::Snapshot;
use crate::lab::Place;

/// Per interface, `all` and `default` included.
const IPV4: [&str; 9] = [
    "accept_local",
    "arp_announce",
    "arp_ignore",
    "arp_notify",
    "forwarding",
    "proxy_arp",
    "route_localnet",
    "rp_filter",
    "send_redirects",
];
const IPV6: [&str; 10] = [
    "accept_dad",
    "accept_ra",
    "addr_gen_mode",
    "autoconf",
    "disable_ipv6",
    "enhanced_dad",
    "forwarding",
    "keep_addr_on_down",
    "ndisc_notify",
    "proxy_ndp",
];

pub(super) fn collect(snapshot: &mut Snapshot, place: &Place) -> Result<()> {
    let rules = place.sh("nft -s -n list ruleset").context("list nf_tables (nft comes with `cargo xtask setup`)")?;
    nft(snapshot, &rules);
    // A thread sees the sysctls of the network namespace it is in.
    let sysctls = place.enter(|| {
        let mut found = Vec::new();
        let root = Path::new("/proc/sys/net");
        for (dir, names) in [("ipv4/conf", &IPV4[..]), ("ipv6/conf", &IPV6[..])] {
            for device in entries(&root.join(dir)) {
                found.extend(names.iter().filter_map(|name| read(root, format!("{dir}/{device}/{name}"))));
            }
        }
        found.extend(entries(&root.join("bridge")).into_iter().filter_map(|name| read(root, format!("bridge/{name}"))));
        found.extend(read(root, "ipv4/ip_forward".into()));
        Ok(found)
    })?;
    for (name, value) in sysctls {
        snapshot.add(format!("sysctl net/{name}"), value);
    }
    Ok(())
}

fn entries(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn read(root: &Path, file: String) -> Option<(String, String)> {
    let value = fs::read_to_string(root.join(&file)).ok()?;
    Some((file, value.trim().to_owned()))
}

/// `nft list ruleset` prints one statement a line, nested by braces: the way there is the key, with the number of the
/// statement in its chain.
fn nft(snapshot: &mut Snapshot, ruleset: &str) {
    let mut path: Vec<String> = Vec::new();
    let mut number = 0;
    for line in ruleset.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(opening) = line.strip_suffix('{') {
            path.push(opening.trim().to_owned());
            snapshot.add(format!("nft {}", path.join(" / ")), "there");
            number = 0;
        } else if line == "}" {
            path.pop();
        } else {
            number += 1;
            snapshot.add(format!("nft {} / {number}", path.join(" / ")), line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ruleset_is_told_by_the_way_to_each_statement() {
        let mut snapshot = Snapshot::default();
        let ruleset = "table inet t {\n\tchain post {\n\t\ttype nat hook postrouting priority 100; policy accept;\n\
                       \t\tip saddr 10.1.0.2 masquerade\n\t}\n}\n";
        nft(&mut snapshot, ruleset);
        assert_eq!(snapshot.get("nft table inet t / chain post / 2"), Some("ip saddr 10.1.0.2 masquerade"));
    }
}
