//! Who is answered, and whose address the container sees.

use anyhow::{Context, Result};
use fairlead_conformance::capture::Capture;
use fairlead_conformance::cni::Suite;
use fairlead_conformance::lab::Place;
use fairlead_conformance::traffic;
use serde_json::{Value, json};

use crate::stage::{FAR, GATEWAY, NODE, Stage, answers, ask, at, is_silent, mapping, serve};

/// Both suites, the reference with each of its back ends.
fn suites() -> Result<Vec<(Suite, Value)>> {
    Ok(vec![
        (Suite::reference()?, json!({"backend": "iptables"})),
        (Suite::reference()?, json!({"backend": "nftables"})),
        (Suite::ours()?, json!({})),
    ])
}

#[test]
fn a_published_port_answers_from_everywhere() -> Result<()> {
    for (suite, more) in suites()? {
        let ours = suite.name == "ours";
        let stage = Stage::new("everywhere", suite)?;
        let mappings = json!([mapping(8080, 80, "tcp"), mapping(8053, 53, "udp")]);
        let web = stage.published("web", mappings, &more)?;
        let neighbour = stage.pod("neighbour", Value::Null, &json!({}))?;
        let _server = serve(&web.pod, &["tcp:80", "udp:53"])?;
        let node = format!("[{}]", "2001:db8:77::1");
        let mut ways: Vec<(&Place, &str)> = vec![
            (&stage.far, NODE),
            (&stage.node, NODE),
            (&stage.node, "127.0.0.1"),
            (&web.pod, GATEWAY),
            (&web.pod, NODE),
            (&stage.far, &node),
            (&stage.node, &node),
            (&web.pod, "[fd00:88::1]"),
        ];
        if ours {
            // The reference's nf_tables back end masquerades for the container itself only: without br_netfilter its
            // neighbour's answer takes the short way over the bridge.
            ways.extend([(&*neighbour.pod, GATEWAY), (&*neighbour.pod, NODE), (&*neighbour.pod, "[fd00:88::1]")]);
        }
        for (from, host) in ways {
            for target in [format!("tcp:{host}:8080"), format!("udp:{host}:8053")] {
                answers(from, &target, &web.pod).with_context(|| format!("{}, {more}", stage.suite.name))?;
            }
        }
        if ours {
            // The kernel lets no answer in to ::1. Refused at once, `localhost` is 127.0.0.1 for whoever asks.
            let reports = traffic::counted(stage.node.output(&traffic::request(&["tcp:[::1]:8080"], 1)?)?)?;
            assert_eq!((reports[0].refused, reports[0].lost), (1, 0), "{:?}", reports[0]);
        }
        stage.verb("DEL", &web)?.success()?;
        for target in [format!("tcp:{NODE}:8080"), format!("udp:{NODE}:8053"), format!("tcp:{node}:8080")] {
            is_silent(&stage.far, &target).with_context(|| format!("{}, {more}", stage.suite.name))?;
        }
    }
    Ok(())
}

#[test]
fn behind_ptp_it_is_the_same() -> Result<()> {
    let stage = Stage::ours("ptp")?;
    let mappings = |port| json!([mapping(port, 80, "tcp"), mapping(port, 53, "udp")]);
    let (web, neighbour) = (stage.point_to_point("web", mappings(8080))?, stage.point_to_point("two", mappings(8081))?);
    let _server = serve(&web.pod, &["tcp:80", "udp:53"])?;
    for from in [&*stage.far as &Place, &stage.node, &web.pod, &neighbour.pod] {
        for target in ["tcp:192.168.77.1:8080", "udp:192.168.77.1:8080", "tcp:[2001:db8:77::1]:8080"] {
            answers(from, target, &web.pod)?;
        }
    }
    answers(&stage.node, "tcp:127.0.0.1:8080", &web.pod)?;
    for published in [&web, &neighbour] {
        stage.verb("CHECK", published)?.success()?;
        stage.verb("DEL", published)?.success()?;
    }
    assert_eq!(stage.rules()?, "");
    Ok(())
}

/// Frames between the ports of a bridge pass through the packet filter, or do not, as the node is set.
#[test]
fn a_neighbour_is_answered_whether_bridges_are_filtered_or_not() -> Result<()> {
    for filtered in ["0", "1"] {
        let stage = Stage::ours("br-nf")?;
        for family in ["ip", "ip6"] {
            // Absent where br_netfilter is: then they do not.
            let _ = stage.node.sh(&format!("sysctl -q -w net.bridge.bridge-nf-call-{family}tables={filtered}"));
        }
        let web = stage.published("web", json!([mapping(8080, 80, "tcp"), mapping(8053, 53, "udp")]), &json!({}))?;
        let neighbour = stage.pod("neighbour", Value::Null, &json!({}))?;
        let _server = serve(&web.pod, &["tcp:80", "udp:53"])?;
        for from in [&*web.pod as &Place, &neighbour.pod] {
            for target in ["tcp:10.88.0.1:8080", "udp:192.168.77.1:8053", "tcp:[fd00:88::1]:8080"] {
                answers(from, target, &web.pod).with_context(|| format!("bridge-nf-call-iptables = {filtered}"))?;
            }
        }
    }
    Ok(())
}

#[test]
fn an_address_of_the_node_is_that_address_only() -> Result<()> {
    let stage = Stage::ours("hostip")?;
    stage.node.sh("ip addr add 192.168.77.9/24 dev eth0")?;
    let one = stage.published(
        "one",
        json!([at("192.168.77.9", mapping(80, 80, "tcp")), at("::", mapping(81, 80, "tcp"))]),
        &json!({}),
    )?;
    let two = stage.published("two", json!([at("127.0.0.1", mapping(80, 80, "tcp"))]), &json!({}))?;
    let all = stage.published("all", json!([at("0.0.0.0", mapping(80, 80, "tcp"))]), &json!({}))?;
    let _servers = [serve(&one.pod, &["tcp:80"])?, serve(&two.pod, &["tcp:80"])?, serve(&all.pod, &["tcp:80"])?];
    answers(&stage.far, "tcp:192.168.77.9:80", &one.pod)?;
    answers(&stage.node, "tcp:127.0.0.1:80", &two.pod)?;
    answers(&stage.far, &format!("tcp:{NODE}:80"), &all.pod)?;
    is_silent(&stage.far, "tcp:[2001:db8:77::1]:80")?;
    answers(&stage.far, "tcp:[2001:db8:77::1]:81", &one.pod)?;
    is_silent(&stage.far, "tcp:192.168.77.9:81")
}

/// Client, what it asks, and the address that the container sees of it.
type Seen<'a> = (&'a Place, &'a str, &'a str);

#[test]
fn the_container_sees_the_client_unless_it_must_not() -> Result<()> {
    for (more, seen_of_far, seen_of_neighbour) in [
        (json!({}), FAR, GATEWAY),
        (json!({"markMasqBit": 5}), FAR, GATEWAY),
        (json!({"externalSetMarkChain": "KUBE-MARK-MASQ"}), FAR, GATEWAY),
        (json!({"snat": false}), FAR, "10.88.0.3"),
        (json!({"masqAll": true}), GATEWAY, GATEWAY),
        (json!({"masqAll": true, "snat": false}), FAR, "10.88.0.3"),
    ] {
        let stage = Stage::ours("source")?;
        let web = stage.published("web", json!([mapping(8080, 80, "tcp")]), &more)?;
        let neighbour = stage.pod("neighbour", Value::Null, &json!({}))?;
        let _server = serve(&web.pod, &["tcp:80"])?;
        let node = format!("tcp:{NODE}:8080");
        let ways: [Seen<'_>; 2] = [(&stage.far, &node, seen_of_far), (&neighbour.pod, &node, seen_of_neighbour)];
        for (client, target, seen) in ways {
            let capture = Capture::start(&web.pod, "eth0", "tcp dst port 80")?;
            ask(client, target)?;
            capture.wait_for(&[&format!("{seen}.")]).with_context(|| format!("{more}, {} asks", client.name()))?;
        }
    }
    Ok(())
}

#[test]
fn conditions_of_both_languages_decide_who_is_meant() -> Result<()> {
    for conditions in [
        json!({"conditionsV4": ["!", "-s", FAR], "conditionsV6": ["!", "-i", "eth0"]}),
        json!({"conditionsV4": ["ip saddr != 192.168.77.2"], "conditionsV6": ["iifname", "!=", "eth0"]}),
        json!({"conditionsV4": ["-m", "addrtype", "--src-type", "LOCAL"], "conditionsV6": ["-m", "addrtype", "--src-type", "LOCAL"]}),
        json!({"conditionsV4": ["fib saddr type local"], "conditionsV6": ["ip6 saddr { 2001:db8:77::1, ::1 }"]}),
    ] {
        let stage = Stage::ours("conditions")?;
        let web = stage.published("web", json!([mapping(8080, 80, "tcp")]), &conditions)?;
        let _server = serve(&web.pod, &["tcp:80"])?;
        for host in [NODE, "[2001:db8:77::1]"] {
            is_silent(&stage.far, &format!("tcp:{host}:8080")).with_context(|| conditions.to_string())?;
            answers(&stage.node, &format!("tcp:{host}:8080"), &web.pod).with_context(|| conditions.to_string())?;
        }
        stage.verb("CHECK", &web)?.success()?;
        stage.verb("DEL", &web)?.success()?;
        assert_eq!(stage.rules()?, "");
    }
    // The same port for different clients.
    let stage = Stage::ours("both")?;
    let port = || json!([at("0.0.0.0", mapping(8080, 80, "tcp"))]);
    let far = stage.published("for-far", port(), &json!({"conditionsV4": ["-s", FAR]}))?;
    let rest = stage.published("for-rest", port(), &json!({}))?;
    let _servers = [serve(&far.pod, &["tcp:80"])?, serve(&rest.pod, &["tcp:80"])?];
    answers(&stage.far, &format!("tcp:{NODE}:8080"), &far.pod)?;
    answers(&stage.node, &format!("tcp:{NODE}:8080"), &rest.pod)
}
