//! Other service proxies, and what they left: who else leads the packets of this node.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use fairlead_kernel::link;
use fairlead_kernel::netlink::Socket;
use fairlead_kernel::nft::{Family, Nftables, Table};

use super::{Finding, processes};

/// Programs of sockets that others attach, by how their names begin (16 bytes in the kernel): Cilium's, and Calico's.
const PROGRAMS: [(&str, &str); 5] = [
    ("cil_sock", "Cilium"),
    ("sock4_", "Cilium"),
    ("sock6_", "Cilium"),
    ("calico_connect", "Calico"),
    ("cali_ctlb", "Calico"),
];
/// Processes by name (15 bytes in `/proc/PID/comm`).
const PROXIES: [(&str, &str); 4] = [
    ("kube-proxy", "kube-proxy"),
    ("cilium-agent", "Cilium"),
    ("kube-router", "kube-router"),
    ("calico-node", "Calico"),
];

pub fn findings() -> Vec<Finding> {
    const WHAT: &str = "other proxies";
    let mut findings = Vec::new();
    let mut running = BTreeSet::new();
    for process in processes::all() {
        if let Some((_, whose)) = PROXIES.iter().find(|(name, _)| process.name == *name) {
            running.insert(format!("{whose} (process {})", process.pid));
        }
    }
    if !running.is_empty() {
        let running = running.into_iter().collect::<Vec<_>>().join(", ");
        findings.push(Finding::warning(
            WHAT,
            format!("there runs {running}; two that serve the same Services compete for health ports"),
            "let one of them serve this node",
        ));
    }
    findings.extend(rules(WHAT));
    findings.extend(programs(WHAT));
    if Socket::open().is_ok_and(|mut socket| link::get_by_name(&mut socket, "kube-ipvs0").is_ok()) {
        findings.push(Finding::warning(
            WHAT,
            "the interface kube-ipvs0 has the cluster IPs of kube-proxy's mode ipvs: to the kernel they are this node's own",
            "end kube-proxy, then `kube-proxy --cleanup` (or `ip link del kube-ipvs0`)",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::good(WHAT, "none, and nothing left of one"));
    }
    findings
}

/// kube-proxy's tables of nf_tables, and its chains in those of iptables.
fn rules(what: &'static str) -> Vec<Finding> {
    let places = [
        (Table::new(Family::Ip, "kube-proxy"), None, "table ip kube-proxy"),
        (Table::new(Family::Ip6, "kube-proxy"), None, "table ip6 kube-proxy"),
        (Table::new(Family::Ip, "nat"), Some("KUBE-SERVICES"), "chain KUBE-SERVICES of iptables"),
        (Table::new(Family::Ip6, "nat"), Some("KUBE-SERVICES"), "chain KUBE-SERVICES of ip6tables"),
    ];
    let asked = places.map(|(table, chain, _)| (table, chain));
    let mut findings = Vec::new();
    match Nftables::open().map_err(anyhow::Error::from).and_then(|mut nft| Ok(nft.exist(asked)?)) {
        Ok(there) => {
            let found: Vec<&str> =
                places.iter().zip(there).filter_map(|((_, _, name), is_there)| is_there.then_some(*name)).collect();
            if !found.is_empty() {
                findings.push(Finding::note(
                    what,
                    format!(
                        "kube-proxy's rules are in force ({}): they lead packets from outside; sockets of this node are led \
                         before they see them",
                        found.join(", ")
                    ),
                    "when kube-proxy is gone for good, `kube-proxy --cleanup`",
                ));
            }
        }
        Err(error) => {
            findings.push(Finding::note(what, format!("rules of nf_tables cannot be seen: {error:#}"), "run as root"))
        }
    }
    for (names, tool) in [("ip_tables_names", "iptables-legacy"), ("ip6_tables_names", "ip6tables-legacy")] {
        let names = fs::read_to_string(Path::new("/proc/thread-self/net").join(names)).unwrap_or_default();
        if names.lines().any(|name| name == "nat") {
            let found =
                format!("{tool} has rules for addresses here, which are not read: kube-proxy's may be among them");
            findings.push(Finding::note(what, found, format!("{tool}-save | grep KUBE-SERVICES")));
        }
    }
    findings
}

/// Programs that lead sockets as ours do.
fn programs(what: &'static str) -> Vec<Finding> {
    let mut whose = BTreeSet::new();
    for program in aya::programs::loaded_programs() {
        let Ok(program) = program else { break };
        let Some(name) = program.name_as_str() else { continue };
        whose.extend(PROGRAMS.iter().filter(|(prefix, _)| name.starts_with(prefix)).map(|(_, whose)| *whose));
    }
    whose
        .into_iter()
        .map(|whose| {
            Finding::warning(
                what,
                format!("{whose} has programs loaded that lead sockets to Services themselves; whoever is attached first wins"),
                "switch that off there (Cilium: kubeProxyReplacement=false and socketLB.enabled=false), or do not run this proxy",
            )
        })
        .collect()
}
