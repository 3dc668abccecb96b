//! What a forward must not do to others.

use anyhow::Result;
use fairlead_conformance::lab::Place;
use serde_json::{Value, json};

use crate::stage::{FAR, GATEWAY, NODE, Stage, answers, is_silent, mapping, serve};

/// CVE-2025-67499: traffic through the node to the same port elsewhere, and between pods, is nobody's business.
#[test]
fn traffic_that_is_not_for_the_node_is_left_alone() -> Result<()> {
    let stage = Stage::ours("transit")?;
    let thief = stage.published("thief", json!([mapping(53, 53, "udp"), mapping(8080, 80, "tcp")]), &json!({}))?;
    let (one, two) = (stage.pod("one", Value::Null, &json!({}))?, stage.pod("two", Value::Null, &json!({}))?);
    let _servers = [
        serve(&thief.pod, &["udp:53", "tcp:80"])?,
        serve(&stage.far, &["udp:53", "tcp:8080"])?,
        serve(&two.pod, &["udp:53", "tcp:8080"])?,
    ];
    for (host, who) in [(FAR, &*stage.far as &Place), ("[2001:db8:77::2]", &stage.far), ("10.88.0.4", &two.pod)] {
        for target in [format!("udp:{host}:53"), format!("tcp:{host}:8080")] {
            answers(&one.pod, &target, who)?;
        }
    }
    answers(&stage.far, "tcp:10.88.0.4:8080", &two.pod)
}

/// CVE-2019-9946: who translates at the usual place goes first, also when they came later.
#[test]
fn a_service_on_another_address_of_the_node_keeps_its_port() -> Result<()> {
    for service in [
        vec![
            "nft add table ip services",
            "nft add chain ip services prerouting { type nat hook prerouting priority dstnat ; }",
            "nft add rule ip services prerouting ip daddr 192.168.77.100 tcp dport 8080 dnat to 10.88.0.3:8080",
        ],
        vec![
            "iptables -t nat -A PREROUTING -d 192.168.77.100 -p tcp --dport 8080 -j DNAT --to-destination 10.88.0.3:8080",
        ],
    ] {
        let stage = Stage::ours("service")?;
        stage.node.sh("ip addr add 192.168.77.100/24 dev eth0")?;
        let host_port = stage.published("hostport", json!([mapping(8080, 80, "tcp")]), &json!({}))?;
        let backend = stage.pod("backend", Value::Null, &json!({}))?;
        let _servers = [serve(&host_port.pod, &["tcp:80"])?, serve(&backend.pod, &["tcp:8080"])?];
        answers(&stage.far, "tcp:192.168.77.100:8080", &host_port.pod)?;
        for line in service {
            stage.node.sh(line)?;
        }
        answers(&stage.far, "tcp:192.168.77.100:8080", &backend.pod)?;
        answers(&stage.far, &format!("tcp:{NODE}:8080"), &host_port.pod)?;
    }
    Ok(())
}

/// CVE-2020-8558: 127/8 goes out to the container, and does not come in from there.
#[test]
fn what_listens_on_loopback_is_not_for_neighbours() -> Result<()> {
    let stage = Stage::ours("loopback")?;
    let published = stage.published("web", json!([mapping(8080, 80, "tcp")]), &json!({}))?;
    let attacker = stage.pod("attacker", Value::Null, &json!({}))?;
    let _servers = [serve(&stage.node, &["tcp:9999", "udp:9999"])?, serve(&published.pod, &["tcp:80"])?];
    // The pod's own loopback is down: 127.0.0.1 is where it says it is.
    for line in [
        format!("ip route add 127.0.0.1/32 via {GATEWAY} dev eth0"),
        "sysctl -q -w net.ipv4.conf.all.route_localnet=1".into(),
    ] {
        attacker.pod.sh(&line)?;
    }
    for target in ["tcp:127.0.0.1:9999", "udp:127.0.0.1:9999", "tcp:127.0.0.1:8080"] {
        is_silent(&attacker.pod, target)?;
    }
    answers(&stage.node, "tcp:127.0.0.1:8080", &published.pod)?;
    for key in ["all", "default", "eth0"] {
        assert_eq!(stage.sysctl(&format!("ipv4/conf/{key}/route_localnet"))?, "0", "{key}");
    }
    assert_eq!(stage.sysctl("ipv4/conf/cni0/route_localnet")?, "1");
    // It is the guard that keeps it out, nothing else.
    stage.node.sh("nft flush chain inet fairlead_forwards guard")?;
    answers(&attacker.pod, "tcp:127.0.0.1:9999", &stage.node)?;

    stage.verb("DEL", &published)?.success()?;
    assert_eq!(stage.sysctl("ipv4/conf/cni0/route_localnet")?, "0", "without the guard it must not be open");
    is_silent(&attacker.pod, "tcp:127.0.0.1:9999")
}

/// What an operator opened himself stays open.
#[test]
fn a_loopback_that_was_open_before_stays_open() -> Result<()> {
    let stage = Stage::ours("open")?;
    let published = stage.pod("web", json!([mapping(8080, 80, "tcp")]), &json!({}))?;
    stage.node.sh("sysctl -q -w net.ipv4.conf.cni0.route_localnet=1")?;
    stage.verb("ADD", &published)?.success()?;
    stage.verb("DEL", &published)?.success()?;
    assert_eq!(stage.sysctl("ipv4/conf/cni0/route_localnet")?, "1");
    assert_eq!(stage.rules()?, "");
    Ok(())
}
