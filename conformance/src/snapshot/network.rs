//! What `ip`, `bridge` and `tc` say about a namespace, as facts.

use anyhow::{Context, Result};
use serde_json::{Map, Value};

use super::{Snapshot, flatten};
use crate::lab::Place;

/// Members of a link that change by themselves, or are numbers of the kernel's own.
const RESTLESS: [&str; 20] = [
    "ifindex",
    "link_index",
    "link_netnsid",
    "link",
    "stats",
    "stats64",
    "hello_timer",
    "tcn_timer",
    "topology_change_timer",
    "gc_timer",
    "topology_change",
    "topology_change_detected",
    "message_age_timer",
    "forward_delay_timer",
    "hold_timer",
    "config_pending",
    "proto_down_reason",
    "fdb_n_learned",
    "parentdev",
    "parentbus",
];

pub(super) fn collect(snapshot: &mut Snapshot, place: &Place) -> Result<()> {
    let ask = |line: &str| place.json(line).with_context(|| format!("snapshot of {}", place.name()));
    for link in objects(ask("ip -j -d link show")?) {
        let name = format!("link {}", word(&link, "ifname"));
        let veiled = link.contains_key("link_netnsid");
        snapshot.add(format!("{name} peer elsewhere"), if veiled { "yes" } else { "no" });
        flatten::flatten(&name, &calm(Value::Object(link)), &mut |key, value| snapshot.add(key, value));
    }
    for link in objects(ask("ip -j addr show")?) {
        let device = word(&link, "ifname");
        for address in objects(link.get("addr_info").cloned().unwrap_or_default()) {
            add_address(snapshot, &device, address);
        }
    }
    for (family, option) in [("inet", "-4"), ("inet6", "-6")] {
        for route in objects(ask(&format!("ip -j -d {option} route show table all"))?) {
            add_row(snapshot, &format!("route {family}"), route, &["type", "dst", "gateway", "dev", "table", "metric"]);
        }
        for rule in objects(ask(&format!("ip -j {option} rule show"))?) {
            add_row(snapshot, &format!("rule {family}"), rule, &["priority", "src", "table"]);
        }
    }
    for neighbour in objects(ask("ip -j neigh show nud permanent")?) {
        add_row(snapshot, "neigh", neighbour, &["dev", "dst"]);
    }
    for entry in objects(ask("bridge -j fdb show")?) {
        // Learned entries come and go with traffic.
        if entry.get("state").is_some_and(|state| state == "permanent") {
            add_row(snapshot, "fdb", entry, &["ifname", "mac", "dst", "vlan", "master"]);
        }
    }
    for discipline in objects(ask("tc -j qdisc show")?) {
        let key = ["dev", "kind"].map(|name| word(&discipline, name)).join(" ");
        snapshot.add(format!("qdisc {key}"), "there");
    }
    Ok(())
}

fn add_address(snapshot: &mut Snapshot, device: &str, mut address: Map<String, Value>) {
    let key = format!("addr {device} {}/{}", word(&address, "local"), word(&address, "prefixlen"));
    for lifetime in ["valid_life_time", "preferred_life_time"] {
        // 2^32 - 1 seconds is "for ever"; anything else counts down.
        let forever = address.get(lifetime).and_then(Value::as_u64) == Some(u64::from(u32::MAX));
        address.insert(lifetime.into(), if forever { "forever" } else { "limited" }.into());
    }
    // The kernel checks its own link-local addresses in its own time.
    if word(&address, "scope") == "link" {
        address.remove("tentative");
    }
    address.retain(|name, _| !["family", "local", "prefixlen"].contains(&name.as_str()));
    snapshot.add(key, rest(&address));
}

fn add_row(snapshot: &mut Snapshot, kind: &str, mut row: Map<String, Value>, identity: &[&str]) {
    let words: Vec<String> = identity
        .iter()
        .filter_map(|name| row.remove(*name).map(|value| format!("{name} {}", flatten::plain(&value))))
        .collect();
    row.retain(|name, _| !["expires", "used", "updated", "refcnt", "probes", "cache"].contains(&name.as_str()));
    snapshot.add(format!("{kind} {}", words.join(" ")), rest(&row));
}

/// The members in one line, sorted by name.
fn rest(row: &Map<String, Value>) -> String {
    let mut words: Vec<String> = Vec::new();
    for (name, value) in row {
        flatten::flatten(name, value, &mut |key, value| words.push(format!("{key}={value}")));
    }
    words.sort();
    if words.is_empty() { "there".into() } else { words.join(" ") }
}

/// The value without its restless members, at any depth.
fn calm(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.into_iter().filter(|(name, _)| !RESTLESS.contains(&name.as_str()));
            Value::Object(kept.map(|(name, value)| (name, calm(value))).collect())
        }
        other => other,
    }
}

fn objects(value: Value) -> Vec<Map<String, Value>> {
    let Value::Array(items) = value else { return Vec::new() };
    items.into_iter().filter_map(|item| if let Value::Object(members) = item { Some(members) } else { None }).collect()
}

fn word(row: &Map<String, Value>, name: &str) -> String {
    row.get(name).map(flatten::plain).unwrap_or_default()
}
