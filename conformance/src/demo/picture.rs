//! The path of a request, drawn from what the kernel says.

use anyhow::{Context, Result};
use serde_json::Value;

use super::stage::{PORT, Stage, Town, WEB};
use crate::lab::Place;

/// From the pod that asks on one node to the pod that answers on the other.
pub(super) fn draw(stage: &Stage) -> Result<()> {
    let (asker, answerer) = (&stage.towns[0], &stage.servers[2]);
    let far = &stage.towns[answerer.town];
    println!();
    row("", asker.client.name(), &addresses(&asker.client, "eth0")?, &format!("asks {WEB}"));
    row("│", "connect4", "eBPF at the socket", &format!("picks {}:{PORT}", answerer.address));
    row("│", "eth0", "", &format!("veth to {}", host_end(asker, &asker.client)?));
    for device in ["cni0", "flannel.1", "eth0"] {
        row("│", device, &addresses(&asker.node, device)?, &about(&asker.node, device)?);
    }
    row("║", "", "the wire", &format!("VXLAN in UDP, {} to {}", asker.underlay, far.underlay));
    for device in ["eth0", "flannel.1", "cni0"] {
        row("│", device, &addresses(&far.node, device)?, &about(&far.node, device)?);
    }
    row("│", "eth0", "", &format!("veth to {}", host_end(far, &answerer.pod)?));
    row("▼", answerer.pod.name(), &addresses(&answerer.pod, "eth0")?, "answers; the same way back");
    Ok(())
}

fn row(line: &str, name: &str, address: &str, about: &str) {
    println!("    {line:<2} {name:<10} {address:<20} {about}");
}

/// The IPv4 addresses of a device, with their prefixes.
fn addresses(place: &Place, device: &str) -> Result<String> {
    let shown = place.json(&format!("ip -j -4 addr show dev {device}"))?;
    let list = shown[0]["addr_info"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |entry: &Value| format!("{}/{}", entry["local"].as_str().unwrap_or("?"), entry["prefixlen"]);
    Ok(list.iter().map(text).collect::<Vec<_>>().join(" "))
}

/// Kind and MTU, and for a tunnel its number and port.
fn about(place: &Place, device: &str) -> Result<String> {
    let shown = place.json(&format!("ip -j -d link show dev {device}"))?;
    let (link, info) = (&shown[0], &shown[0]["linkinfo"]);
    let kind = info["info_kind"].as_str().unwrap_or("device");
    let tunnel = match info["info_data"]["id"].as_u64() {
        Some(vni) if kind == "vxlan" => format!(" vni {vni} port {}", info["info_data"]["port"]),
        _ => String::new(),
    };
    Ok(format!("{kind}{tunnel}, mtu {}", link["mtu"]))
}

/// The name of the other end of the pod's `eth0`, on its node.
fn host_end(town: &Town, pod: &Place) -> Result<String> {
    let shown = pod.json("ip -j link show dev eth0")?;
    let index = shown[0]["link_index"].as_u64().context("a pod's eth0 has no peer")?;
    let links = town.node.json("ip -j link show")?;
    let found = links.as_array().into_iter().flatten().find(|link| link["ifindex"].as_u64() == Some(index));
    let name = found.and_then(|link| link["ifname"].as_str()).context("a pod's eth0 has its peer on another node")?;
    Ok(name.to_owned())
}
