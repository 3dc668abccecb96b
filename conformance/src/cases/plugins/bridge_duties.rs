//! `bridge`: masquerade, CHECK, and what users and other plugins rely on.

use anyhow::{Result, ensure};
use serde_json::json;

use super::super::case::{CHECKS, LATEST, LISTS, case, of};
use super::super::look::{
    addresses, answers, devices, has_route, host_end, ipv4, ipv6, no_rule_of, rules, serve, sysctl,
};
use super::super::stage::{Stage, with_result};
use super::bridge::{DUAL, V4, V6, config};
use crate::cases::Case;
use crate::cni::Call;

const UPSTREAM: &str = "upstream bridge tests";

pub(super) fn cases() -> Vec<Case> {
    of(
        "bridge",
        vec![
            case(
                "T50.default",
                "ADD",
                LISTS,
                (UPSTREAM, "ipMasq: the address is masqueraded, and no more after DEL"),
                |s| masquerade(s, None),
            ),
            case("T50.iptables", "ADD", LISTS, (UPSTREAM, "ipMasqBackend iptables"), |s| {
                masquerade(s, Some("iptables"))
            }),
            case("T50.nftables", "ADD", LISTS, (UPSTREAM, "ipMasqBackend nftables"), |s| {
                masquerade(s, Some("nftables"))
            }),
            case("T50.unknown", "ADD", LATEST, (UPSTREAM, "an unknown ipMasqBackend is refused"), unknown_backend),
            case(
                "T50.gone",
                "DEL",
                CHECKS,
                ("plugins#810", "without its namespace the masquerade goes all the same"),
                masquerade_without_namespace,
            ),
            case("T51", "CHECK", CHECKS, (UPSTREAM, "silent after ADD for IPv4, IPv6 and both"), check),
            case("T51.drift", "CHECK", CHECKS, (UPSTREAM, "an address or a device that is gone is told"), check_drift),
            case(
                "trap3",
                "ADD",
                &["0.1.0", "0.2.0"],
                ("upstream: cannot convert: no valid IP addresses", "a result that cannot be told leaves nothing"),
                old_layer2,
            ),
            case(
                "trap7",
                "ADD",
                LISTS,
                ("chained plugins rely on it", "the result lists bridge, node's end, container's end"),
                order,
            ),
            case(
                "trap12",
                "ADD",
                CHECKS,
                ("host-local default route without gateway and isDefaultGateway", "two equal default routes are one"),
                equal_defaults,
            ),
            case(
                "trap14",
                "ADD",
                LATEST,
                ("reference bridge", "isGateway takes the network's first address when IPAM names none"),
                gateway_by_default,
            ),
            case(
                "trap15",
                "ADD",
                LATEST,
                ("users rely on it", "arp_notify, no DAD, keep_addr_on_down, no router advertisements"),
                sysctls,
            ),
            case(
                "trap16",
                "ADD",
                LATEST,
                ("echo1 of the reference", "forwarding is switched on for what is routed"),
                forwarding,
            ),
            case(
                "trap18",
                "ADD",
                LATEST,
                (UPSTREAM, "a name that is taken in the container is told, and it is kept"),
                name_taken,
            ),
            case(
                "trap22",
                "ADD",
                LATEST,
                ("IFNAMSIZ, comment limits of nft and iptables", "15-byte interface, 64-digit container, long network"),
                long_names,
            ),
            case(
                "packets",
                "ADD",
                LISTS,
                ("that is what it is for", "a request crosses from pod to pod, and from the node to a pod"),
                packets,
            ),
        ],
    )
}

fn masquerade(stage: &mut Stage, backend: Option<&str>) -> Result<()> {
    let pod = stage.pod("p")?;
    let more = backend.map_or(json!({"ipMasq": true}), |name| json!({"ipMasq": true, "ipMasqBackend": name}));
    let config = config(stage, V4.subnets, more);
    // A stranger behind the node: it must see the node's address, never the pod's.
    let stranger = stage.pod("stranger")?;
    stage.node.sh(&format!("ip link add out type veth peer name eth0 netns {}", netns_name(&stranger)))?;
    for (place, line) in [
        (&*stage.node, "ip addr add 192.0.2.1/24 dev out"),
        (&*stage.node, "ip link set out up"),
        (&*stranger, "ip addr add 192.0.2.2/24 dev eth0"),
        (&*stranger, "ip link set eth0 up"),
    ] {
        place.sh(line)?;
    }
    let result = stage.add(&pod, &config)?;
    let ip = ipv4(&result)?;
    ensure!(rules(&stage.node)?.contains(&ip), "no rule speaks of {ip}");
    // No route back to 10.88.0.0/24 on the stranger: only a masqueraded request is answered.
    let _server = serve(&stranger, &["tcp:80"])?;
    answers(&pod, "tcp:192.0.2.2:80", &stranger)?;
    stage.silently("DEL", &pod, &config)?;
    no_rule_of(&stage.node, &[&ip])
}

fn netns_name(place: &crate::lab::Place) -> String {
    place.netns().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn unknown_backend(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = config(stage, V4.subnets, json!({"ipMasq": true, "ipMasqBackend": "ipfw"}));
    stage.refused_for("ADD", &pod, &config, &["unknown ipmasq backend", "ipfw"])
}

fn masquerade_without_namespace(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = config(stage, V4.subnets, json!({"ipMasq": true}));
    let result = stage.add(&pod, &config)?;
    pod.remove_netns(&stage.lab)?;
    stage.silently("DEL", &pod, &with_result(&config, &result))?;
    no_rule_of(&stage.node, &[&ipv4(&result)?])?;
    stage.no_leases()
}

fn check(stage: &mut Stage) -> Result<()> {
    for (name, plan) in [("v4", &V4), ("v6", &V6), ("dual", &DUAL)] {
        let pod = stage.pod(name)?;
        let config = config(stage, plan.subnets, json!({"name": name, "bridge": format!("br-{name}")}));
        let result = stage.add(&pod, &config)?;
        stage.silently("CHECK", &pod, &with_result(&config, &result))?;
    }
    Ok(())
}

fn check_drift(stage: &mut Stage) -> Result<()> {
    let config = config(stage, V4.subnets, json!({}));
    for (name, deed) in [("a", "ip addr flush dev eth0"), ("b", "ip route del default"), ("c", "ip link del eth0")] {
        let pod = stage.pod(name)?;
        let result = stage.add(&pod, &config)?;
        pod.sh(deed)?;
        stage.refused("CHECK", &pod, &with_result(&config, &result))?;
    }
    let pod = stage.pod("d")?;
    stage.add(&pod, &config)?;
    stage.refused_for("CHECK", &pod, &config, &["prevResult"])
}

fn old_layer2(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = stage.net("bridge", json!({"bridge": "cni0"}));
    stage.refused_for("ADD", &pod, &config, &["cannot convert: no valid IP addresses"])?;
    let left = devices(&pod)?;
    ensure!(left == ["lo"], "devices are left: {left:?}");
    Ok(())
}

fn order(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = config(stage, V4.subnets, json!({}));
    let result = stage.add(&pod, &config)?;
    let names: Vec<&str> =
        result["interfaces"].as_array().into_iter().flatten().filter_map(|one| one["name"].as_str()).collect();
    ensure!(names == ["cni0", &host_end(&result)?, "eth0"], "{names:?}");
    ensure!(result["interfaces"][2]["sandbox"] == *pod.netns().to_string_lossy(), "{}", result["interfaces"][2]);
    Ok(())
}

fn equal_defaults(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = config(stage, V4.subnets, json!({"ipam": {"routes": [{"dst": "0.0.0.0/0"}]}}));
    stage.add(&pod, &config)?;
    has_route(&pod, "default via 10.88.0.1")
}

fn gateway_by_default(stage: &mut Stage) -> Result<()> {
    stage.need(&["static"])?;
    let pod = stage.pod("p")?;
    let fields = json!({"bridge": "cni0", "isGateway": true, "ipam": {"type": "static", "addresses": [{"address": "10.99.3.7/20"}]}});
    let config = stage.net("bridge", fields);
    stage.add(&pod, &config)?;
    let found = addresses(&stage.node, "cni0")?;
    ensure!(found == ["10.99.0.1/20"], "cni0 has {found:?}");
    Ok(())
}

fn sysctls(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = config(stage, DUAL.subnets, json!({}));
    let result = stage.add(&pod, &config)?;
    for (key, wanted) in [
        ("net/ipv4/conf/eth0/arp_notify", "1"),
        ("net/ipv6/conf/eth0/accept_dad", "0"),
        ("net/ipv6/conf/eth0/keep_addr_on_down", "1"),
        ("net/ipv6/conf/eth0/disable_ipv6", "0"),
        ("net/ipv6/conf/lo/disable_ipv6", "0"),
    ] {
        let found = sysctl(&pod, key)?;
        ensure!(found == wanted, "{key} is {found} in the pod");
    }
    for device in ["cni0", &host_end(&result)?] {
        let found = sysctl(&stage.node, &format!("net/ipv6/conf/{device}/accept_ra"))?;
        ensure!(found == "0", "accept_ra of {device} is {found}");
    }
    Ok(())
}

fn forwarding(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = config(stage, DUAL.subnets, json!({}));
    stage.add(&pod, &config)?;
    for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        ensure!(sysctl(&stage.node, key)? == "1", "{key} is off");
    }
    Ok(())
}

fn name_taken(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    pod.sh("ip link add eth0 type veth peer name other")?;
    let config = config(stage, V4.subnets, json!({}));
    stage.refused_for("ADD", &pod, &config, &["eth0", "already exists"])?;
    ensure!(devices(&pod)?.contains(&"eth0".into()), "the container's own eth0 is gone");
    stage.no_leases()
}

fn long_names(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let id = "0123456789abcdef".repeat(4);
    let name = "a-network-with-a-name-that-somebody-made-from-a-namespace-and-a-release-and-a-hash-5f9c7d8b6d";
    let config = config(stage, DUAL.subnets, json!({"name": name, "ipMasq": true}));
    let call = Call { ifname: "fifteen-letters", ..Call::new(&id, &pod) };
    let result = stage.add_as(&call, &pod, &config)?;
    let config = with_result(&config, &result);
    stage.silently_as("CHECK", &call, &config)?;
    stage.silently_as("DEL", &call, &config)?;
    no_rule_of(&stage.node, &[&ipv4(&result)?])
}

fn packets(stage: &mut Stage) -> Result<()> {
    let config = config(stage, DUAL.subnets, json!({}));
    let (one, two) = (stage.pod("one")?, stage.pod("two")?);
    stage.add(&one, &config)?;
    let result = stage.add(&two, &config)?;
    let _server = serve(&two, &["tcp:80", "udp:80"])?;
    for target in [format!("{}:80", ipv4(&result)?), format!("[{}]:80", ipv6(&result)?)] {
        for protocol in ["tcp", "udp"] {
            answers(&one, &format!("{protocol}:{target}"), &two)?;
            answers(&stage.node, &format!("{protocol}:{target}"), &two)?;
        }
    }
    Ok(())
}
