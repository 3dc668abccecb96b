//! Looking at what a plugin did, with tools that are not its own.

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use super::stage::Stage;
use crate::lab::{Place, Running};
use crate::limit::patience;
use crate::traffic;

/// The device's addresses with their prefix lengths, without those of the link.
pub(super) fn addresses(place: &Place, device: &str) -> Result<Vec<String>> {
    let links = place.json(&format!("ip -j addr show dev {device}"))?;
    let entries = links[0]["addr_info"].as_array().cloned().unwrap_or_default();
    let global = entries.iter().filter(|entry| entry["scope"] != "link");
    Ok(global.map(|entry| format!("{}/{}", text(&entry["local"]), entry["prefixlen"])).collect())
}

/// The names of all devices.
pub(super) fn devices(place: &Place) -> Result<Vec<String>> {
    let links = place.json("ip -j link show")?;
    Ok(links.as_array().into_iter().flatten().map(|link| text(&link["ifname"])).collect())
}

/// One device with all details; an error if it is not there.
pub(super) fn device(place: &Place, name: &str) -> Result<Value> {
    Ok(place.json(&format!("ip -j -d link show dev {name}"))?[0].clone())
}

/// Routes of the main table of both families, one a line, as `ip` prints them.
pub(super) fn routes(place: &Place) -> Result<String> {
    Ok(place.sh("ip -4 route show")? + &place.sh("ip -6 route show")?)
}

/// A route is there whose line begins so.
pub(super) fn has_route(place: &Place, beginning: &str) -> Result<()> {
    let routes = routes(place)?;
    ensure!(routes.lines().any(|line| line.starts_with(beginning)), "no route {beginning:?} in:\n{routes}");
    Ok(())
}

/// A sysctl as the place sees it.
pub(super) fn sysctl(place: &Place, key: &str) -> Result<String> {
    let path = format!("/proc/sys/{key}");
    place.enter(|| {
        let value = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        Ok(value.trim().to_owned())
    })
}

/// Every packet filter rule of the node, in the form of `nft` and in that of `iptables` (which is where most rules of the
/// reference are: `nft` shows them too, and what it cannot read as a comment).
pub(super) fn rules(place: &Place) -> Result<String> {
    let nft = place.sh("nft -s -n list ruleset")?;
    let tables = ["iptables-save", "ip6tables-save"].map(|tool| place.sh(tool).unwrap_or_default());
    // The heads and ends tell the time, the lines of the built-in chains count packets.
    let saved = tables
        .concat()
        .lines()
        .filter(|line| line.starts_with('-'))
        .fold(String::new(), |text, line| text + line + "\n");
    Ok(nft + &saved)
}

/// No rule speaks of any of these words.
pub(super) fn no_rule_of(place: &Place, words: &[&str]) -> Result<()> {
    let rules = rules(place)?;
    let left: Vec<&str> = rules.lines().filter(|line| words.iter().any(|word| line.contains(word))).collect();
    ensure!(left.is_empty(), "rules are left:\n{}", left.join("\n"));
    Ok(())
}

/// The addresses of a result, in any version.
pub(super) fn ips(result: &Value) -> Vec<String> {
    let listed = result["ips"].as_array().into_iter().flatten().map(|ip| text(&ip["address"]));
    let single = ["ip4", "ip6"].iter().map(|family| text(&result[*family]["ip"])).filter(|ip| !ip.is_empty());
    listed.chain(single).collect()
}

/// The first IPv4 address of a result, without its prefix length.
pub(super) fn ipv4(result: &Value) -> Result<String> {
    host(result, |ip| !ip.contains(':'))
}

/// The first IPv6 address of a result, without its prefix length.
pub(super) fn ipv6(result: &Value) -> Result<String> {
    host(result, |ip| ip.contains(':'))
}

fn host(result: &Value, is_wanted: impl Fn(&str) -> bool) -> Result<String> {
    let ips = ips(result);
    let wanted = ips.iter().find(|ip| is_wanted(ip)).and_then(|ip| ip.split('/').next());
    wanted.map(str::to_owned).ok_or_else(|| anyhow!("no such address in {result}"))
}

/// The port of the bridge, or the host's end of a pair: the interface of a result that is a veth outside of any sandbox.
pub(super) fn host_end(result: &Value) -> Result<String> {
    let interfaces = result["interfaces"].as_array().cloned().unwrap_or_default();
    let outside = |link: &&Value| link["sandbox"].as_str().unwrap_or_default().is_empty();
    let name = interfaces.iter().filter(outside).map(|link| text(&link["name"])).find(|name| name.starts_with("veth"));
    name.ok_or_else(|| anyhow!("no end of a pair on the node in {result}"))
}

/// The only veth of the node (0.1 and 0.2 do not name it).
pub(super) fn only_veth(stage: &Stage) -> Result<String> {
    let names = devices(&stage.node)?;
    names.into_iter().find(|name| name.starts_with("veth")).ok_or_else(|| anyhow!("the node has no veth"))
}

/// A server in this place that answers with its place's name.
pub(super) fn serve(place: &Place, ports: &[&str]) -> Result<Running> {
    let mut server = place.start(&traffic::serve(place.name(), ports)?)?;
    server.wait_ready(patience(10))?;
    Ok(server)
}

/// Asks `target` once; who answered, if anybody did within half a second.
pub(super) fn ask(place: &Place, target: &str) -> Result<Option<String>> {
    let wait = (patience(1).as_millis() / 2).to_string();
    let job = traffic::request(&[target], 1)?.args(["--timeout-ms", &wait]);
    let reports = traffic::counted(place.output(&job)?)?;
    Ok(reports.into_iter().find_map(|report| report.backends.into_keys().next()))
}

/// `who` answers at `target`.
pub(super) fn answers(place: &Place, target: &str, who: &Place) -> Result<()> {
    let answer = ask(place, target)?;
    ensure!(answer.as_deref() == Some(who.name()), "{target} asked on {}: {answer:?} answered", place.name());
    Ok(())
}

/// Nobody answers at `target`.
pub(super) fn is_silent(place: &Place, target: &str) -> Result<()> {
    let answer = ask(place, target)?;
    ensure!(answer.is_none(), "{target} asked on {}: {answer:?} answered", place.name());
    Ok(())
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
