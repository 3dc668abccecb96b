//! `ptp`: a pair, routed.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::super::case::{ALL, CHECKS, LATEST, LISTS, case, of};
use super::super::look::{addresses, answers, devices, has_route, host_end, ips, ipv4, ipv6, no_rule_of, rules, serve};
use super::super::stage::{Stage, merge, with_result};
use crate::cases::Case;

const UPSTREAM: &str = "upstream ptp tests";

pub(super) fn cases() -> Vec<Case> {
    of(
        "ptp",
        vec![
            case(
                "T60.v4",
                "ADD",
                ALL,
                (UPSTREAM, "IPv4: addresses, routes, a request each way, DEL leaves nothing"),
                |s| life(s, &["10.88.0.0/24"]),
            ),
            case(
                "T60.v6",
                "ADD",
                ALL,
                (UPSTREAM, "IPv6: addresses, routes, a request each way, DEL leaves nothing"),
                |s| life(s, &["fd00:88::/64"]),
            ),
            case("T60.dual", "ADD", ALL, (UPSTREAM, "both families with routes"), |s| {
                life(s, &["10.88.0.0/24", "fd00:88::/64"])
            }),
            case("T60.masq", "ADD", LISTS, (UPSTREAM, "ipMasq, by default and by each of its back ends"), masquerade),
            case("T60.dns", "ADD", ALL, (UPSTREAM, "dns: IPAM's, or the network's if anything of it is set"), dns),
            case("T60.never", "DEL", ALL, (UPSTREAM, "what was never added is deleted with success"), never),
            case("T60.check", "CHECK", CHECKS, (UPSTREAM, "silent after ADD, tells what is gone"), check),
            case(
                "trap7",
                "ADD",
                LISTS,
                ("chained plugins rely on it", "the result lists node's end, container's end"),
                order,
            ),
            case("packets", "ADD", LATEST, ("that is what it is for", "a request crosses from pod to pod"), pod_to_pod),
            case(
                "T60.fails",
                "ADD",
                LATEST,
                ("plugins: an ADD that fails gives its address back", "a taken name gives the address back"),
                fails_whole,
            ),
            case(
                "reuse",
                "ADD",
                LATEST,
                ("a left-over pair keeps its route", "the next owner of an address is reached"),
                reuse,
            ),
        ],
    )
}

fn config(stage: &Stage, subnets: &[&str], more: Value) -> Value {
    let ranges: Vec<Value> = subnets.iter().map(|subnet| json!([{"subnet": subnet}])).collect();
    let routes = subnets.iter().map(|subnet| json!({"dst": if subnet.contains(':') { "::/0" } else { "0.0.0.0/0" }}));
    let routes: Vec<Value> = routes.collect();
    let mut config = stage.net("ptp", json!({"ipam": {"type": "host-local", "ranges": ranges, "routes": routes}}));
    merge(&mut config, more);
    config
}

fn life(stage: &mut Stage, subnets: &[&str]) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = config(stage, subnets, json!({"mtu": 1400}));
    let result = stage.add(&pod, &config)?;
    ensure!(addresses(&pod, "eth0")?.len() == subnets.len(), "eth0 has {:?}", addresses(&pod, "eth0")?);
    let _servers = (serve(&pod, &["tcp:80"])?, serve(&stage.node, &["tcp:81"])?);
    for address in ips(&result) {
        let address = address.split('/').next().unwrap_or_default().to_owned();
        let (inside, gateway) = match address.contains(':') {
            true => (format!("[{address}]"), "[fd00:88::1]"),
            false => (address.clone(), "10.88.0.1"),
        };
        answers(&stage.node, &format!("tcp:{inside}:80"), &pod)?;
        answers(&pod, &format!("tcp:{gateway}:81"), &stage.node)?;
        has_route(&stage.node, &format!("{address} dev "))?;
        has_route(&pod, &format!("default via {}", gateway.trim_matches(['[', ']'])))?;
    }
    ensure!(super::super::look::device(&pod, "eth0")?["mtu"] == 1400, "mtu is not 1400");
    let config = if stage.has_check() { with_result(&config, &result) } else { config };
    if stage.has_check() {
        stage.silently("CHECK", &pod, &config)?;
    }
    stage.silently("DEL", &pod, &config)?;
    ensure!(devices(&stage.node)? == ["lo"], "the node has {:?}", devices(&stage.node)?);
    stage.no_leases()
}

fn masquerade(stage: &mut Stage) -> Result<()> {
    for backend in [json!(null), json!("iptables"), json!("nftables")] {
        let name = backend.as_str().unwrap_or("default").to_owned();
        let pod = stage.pod(&name)?;
        let config = config(stage, &["10.88.0.0/24"], json!({"ipMasq": true, "ipMasqBackend": backend}));
        let result = stage.add(&pod, &config)?;
        let ip = ipv4(&result)?;
        ensure!(rules(&stage.node)?.contains(&ip), "{name}: no rule speaks of {ip}");
        stage.silently("DEL", &pod, &config)?;
        no_rule_of(&stage.node, &[&format!("{ip} "), &format!("{ip}/")])?;
    }
    Ok(())
}

fn dns(stage: &mut Stage) -> Result<()> {
    let file = stage.node.write("resolv.conf", "nameserver 192.0.2.1\n")?;
    let mut config = config(stage, &["10.88.0.0/24"], json!({"ipam": {"resolvConf": file}}));
    let kept = json!({"nameservers": ["192.0.2.1"]});
    for (name, own, wanted) in [
        ("unset", json!(null), kept.clone()),
        (
            "set",
            json!({"nameservers": ["192.0.2.9"], "search": ["x.example"]}),
            json!({"nameservers": ["192.0.2.9"], "search": ["x.example"]}),
        ),
        ("empty", json!({"nameservers": []}), json!({})),
    ] {
        config["dns"] = own;
        let pod = stage.pod(name)?;
        let result = stage.add(&pod, &config)?;
        let found = if result["dns"].is_null() { json!({}) } else { result["dns"].clone() };
        ensure!(found == wanted, "{name}: dns is {found}");
    }
    Ok(())
}

fn never(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = config(stage, &["10.88.0.0/24"], json!({"ipMasq": true}));
    stage.silently("DEL", &pod, &config)?;
    stage.silently("DEL", &pod, &config)
}

fn check(stage: &mut Stage) -> Result<()> {
    let config = config(stage, &["10.88.0.0/24"], json!({}));
    for (name, deed) in [("a", "ip addr flush dev eth0"), ("b", "ip route del default"), ("c", "ip link del eth0")] {
        let pod = stage.pod(name)?;
        let result = stage.add(&pod, &config)?;
        stage.silently("CHECK", &pod, &with_result(&config, &result))?;
        pod.sh(deed)?;
        stage.refused("CHECK", &pod, &with_result(&config, &result))?;
    }
    Ok(())
}

fn order(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = config(stage, &["10.88.0.0/24"], json!({}));
    let result = stage.add(&pod, &config)?;
    let interfaces = &result["interfaces"];
    ensure!(interfaces[0]["name"] == host_end(&result)?.as_str() && interfaces[1]["name"] == "eth0", "{interfaces}");
    ensure!(
        interfaces[1]["sandbox"] == *pod.netns().to_string_lossy() && result["ips"][0]["interface"] == 1,
        "{result}"
    );
    Ok(())
}

fn pod_to_pod(stage: &mut Stage) -> Result<()> {
    let config = config(stage, &["10.88.0.0/24", "fd00:88::/64"], json!({}));
    let (one, two) = (stage.pod("one")?, stage.pod("two")?);
    stage.add(&one, &config)?;
    let result = stage.add(&two, &config)?;
    let _server = serve(&two, &["tcp:80"])?;
    answers(&one, &format!("tcp:{}:80", ipv4(&result)?), &two)?;
    answers(&one, &format!("tcp:[{}]:80", ipv6(&result)?), &two)
}

fn fails_whole(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    pod.sh("ip link add eth0 type veth peer name other")?;
    let config = config(stage, &["10.88.0.0/24"], json!({}));
    stage.refused_for("ADD", &pod, &config, &["eth0", "already exists"])?;
    ensure!(devices(&stage.node)? == ["lo"], "devices are left: {:?}", devices(&stage.node)?);
    stage.no_leases()
}

/// The pod went without a DEL, its namespace is kept by somebody, and its address is given to another one.
fn reuse(stage: &mut Stage) -> Result<()> {
    let config = config(stage, &["10.88.0.0/24"], json!({}));
    let (old, new) = (stage.pod("old")?, stage.pod("new")?);
    let result = stage.add(&old, &config)?;
    let lease = stage.node.var_lib().join("cni/networks/net").join(ipv4(&result)?);
    std::fs::remove_file(&lease)?;
    std::fs::remove_file(lease.with_file_name("last_reserved_ip.0"))?;
    let again = stage.add(&new, &config)?;
    ensure!(ipv4(&again)? == ipv4(&result)?, "it was not the same address: {again}");
    let _server = serve(&new, &["tcp:80"])?;
    answers(&stage.node, &format!("tcp:{}:80", ipv4(&again)?), &new)
}
