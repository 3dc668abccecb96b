//! `portmap`, behind `bridge`: its configuration, and packets to published ports.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::super::case::{ALL, CHECKS, LATEST, LISTS, case, of};
use super::super::look::{answers, ask, device, ipv4, ipv6, is_silent, no_rule_of, rules, serve};
use super::super::stage::{Stage, merge, with_result};
use crate::cases::Case;
use crate::cni::Call;
use crate::lab::{Place, Pod};
use crate::limit::until;

const UPSTREAM: &str = "upstream portmap tests";

pub(super) fn cases() -> Vec<Case> {
    of(
        "portmap",
        vec![
            case("T80.chained", "ADD", ALL, (UPSTREAM, "alone it is refused"), alone),
            case(
                "T80.through",
                "ADD",
                LISTS,
                (UPSTREAM, "without mappings the result before it is handed on"),
                through,
            ),
            case(
                "T80.bad",
                "ADD",
                LATEST,
                (UPSTREAM, "bad ports, back ends and conditions are refused in the known words"),
                bad,
            ),
            case(
                "T80.index",
                "ADD",
                LISTS,
                (UPSTREAM, "addresses without an interface, and index 0, are understood"),
                no_index,
            ),
            case("T82.again", "ADD", LISTS, (UPSTREAM, "ADD twice is once; DEL twice is once"), again),
            case(
                "T82.parallel",
                "DEL",
                LATEST,
                (UPSTREAM, "ten ADDs at once and ten DELs at once all succeed"),
                parallel,
            ),
            case(
                "T84.iptables",
                "ADD",
                LISTS,
                (UPSTREAM, "backend iptables: TCP and UDP from outside, the node, and itself"),
                |s| reach(s, json!({"backend": "iptables"})),
            ),
            case(
                "T84.nftables",
                "ADD",
                LISTS,
                (UPSTREAM, "backend nftables: TCP and UDP from outside, the node, and itself"),
                |s| reach(s, json!({"backend": "nftables"})),
            ),
            case(
                "T84.default",
                "ADD",
                LISTS,
                (UPSTREAM, "without backend: TCP and UDP from outside, the node, and itself"),
                |s| reach(s, json!({})),
            ),
            case("T84.v6", "ADD", LATEST, (UPSTREAM, "IPv6 from outside"), over_ipv6),
            case("T84.hostip", "ADD", LATEST, (UPSTREAM, "hostIP: on that address and no other"), host_ip),
            case(
                "T84.udp",
                "ADD",
                LATEST,
                ("plugins#123", "a UDP client reaches the next pod of the port at once"),
                udp_moves,
            ),
            case("T84.many", "ADD", LATEST, (UPSTREAM, "forty ports of one pod"), many),
            case(
                "T84.stranger",
                "ADD",
                LATEST,
                ("CVE-2025-67499", "traffic through the node to another host's port is left alone"),
                |s| forwarded(s, json!({})),
            ),
            case("T84.stranger-nft", "ADD", LATEST, ("CVE-2025-67499", "the same with backend nftables"), |s| {
                forwarded(s, json!({"backend": "nftables"}))
            }),
            case(
                "T84.source",
                "ADD",
                LATEST,
                (UPSTREAM, "the client's address is seen without masqAll, the node's with it"),
                source,
            ),
            case(
                "T83.check",
                "CHECK",
                CHECKS,
                (UPSTREAM, "silent after ADD, an error when the rules are flushed"),
                check,
            ),
            case(
                "T82.nothing",
                "DEL",
                LISTS,
                (UPSTREAM, "without prevResult and namespace the rules go all the same"),
                del_without,
            ),
        ],
    )
}

fn mapping(host: u16, container: u16, protocol: &str) -> Value {
    json!({"hostPort": host, "containerPort": container, "protocol": protocol})
}

/// `bridge` with addresses of both families, then `portmap` with these mappings.
pub(super) fn list(stage: &Stage, mappings: Value, more: Value) -> Result<Vec<Value>> {
    stage.need(&["bridge", "host-local"])?;
    let ipam = json!({"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}], [{"subnet": "fd00:88::/64"}]]});
    let bridge =
        stage.net("bridge", json!({"bridge": "cni0", "isDefaultGateway": true, "hairpinMode": true, "ipam": ipam}));
    let mut portmap = stage.net("portmap", json!({"capabilities": {"portMappings": true}}));
    if !mappings.is_null() {
        portmap["runtimeConfig"] = json!({"portMappings": mappings});
    }
    merge(&mut portmap, more);
    Ok(vec![bridge, portmap])
}

/// A host beyond the node, with the node as its way to everything: `198.51.100.2`, `2001:db8:51::2`.
fn outside(stage: &Stage, name: &str) -> Result<Pod> {
    let host = stage.pod(name)?;
    let netns = host.netns().file_name().unwrap_or_default().to_string_lossy().into_owned();
    stage.node.sh(&format!("ip link add {name} type veth peer name eth0 netns {netns}"))?;
    let number = if name == "out" { 51 } else { 52 };
    for (place, line) in [
        (&*stage.node, format!("ip addr add 198.{number}.100.1/24 dev {name}")),
        (&*stage.node, format!("ip addr add 2001:db8:{number}::1/64 dev {name} nodad")),
        (&*stage.node, format!("ip link set {name} up")),
        (&*host, format!("ip addr add 198.{number}.100.2/24 dev eth0")),
        (&*host, format!("ip addr add 2001:db8:{number}::2/64 dev eth0 nodad")),
        (&*host, "ip link set eth0 up".into()),
        (&*host, format!("ip route add default via 198.{number}.100.1")),
        (&*host, format!("ip route add default via 2001:db8:{number}::1")),
    ] {
        place.sh(&line)?;
    }
    Ok(host)
}

fn alone(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = stage.net("portmap", json!({"runtimeConfig": {"portMappings": [mapping(8080, 80, "tcp")]}}));
    stage.refused_for("ADD", &pod, &config, &["must be called as chained plugin"])
}

fn through(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let list = list(stage, Value::Null, json!({}))?;
    let before = stage.add(&pod, &list[0])?;
    let rules_before = rules(&stage.node)?;
    let after = stage.add(&pod, &with_result(&list[1], &before))?;
    ensure!(after == before, "{after}");
    ensure!(rules(&stage.node)? == rules_before, "rules were made:\n{}", rules(&stage.node)?);
    Ok(())
}

fn bad(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let result = json!({"cniVersion": stage.version, "interfaces": [], "ips": [{"address": "10.1.2.3/24"}]});
    let good = json!([mapping(8080, 80, "tcp")]);
    for (more, words) in [
        (json!({"runtimeConfig": {"portMappings": [mapping(0, 80, "tcp")]}}), "Invalid host port number: 0"),
        (json!({"runtimeConfig": {"portMappings": [mapping(80, 0, "tcp")]}}), "Invalid container port number: 0"),
        (json!({"runtimeConfig": {"portMappings": good}, "backend": "ipfw"}), "unrecognized backend \"ipfw\""),
        (json!({"runtimeConfig": {"portMappings": good}, "markMasqBit": 32}), "MasqMarkBit must be between 0 and 31"),
        (
            json!({"runtimeConfig": {"portMappings": good}, "markMasqBit": 5, "externalSetMarkChain": "MARK"}),
            "Cannot specify externalSetMarkChain and markMasqBit",
        ),
        (
            json!({"runtimeConfig": {"portMappings": good}, "backend": "iptables", "conditionsV4": ["ip", "daddr", "1.2.3.4"]}),
            "nftables-specific options",
        ),
        (
            json!({"runtimeConfig": {"portMappings": good}, "backend": "nftables", "conditionsV4": ["-d", "1.2.3.4"]}),
            "iptables-specific options",
        ),
    ] {
        let config = with_result(&stage.net("portmap", more), &result);
        stage.refused_for("ADD", &pod, &config, &[words])?;
    }
    Ok(())
}

fn no_index(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let result = json!({
        "cniVersion": stage.version, "interfaces": [{"name": "eth0", "sandbox": pod.netns()}],
        "ips": [{"address": "10.1.2.3/24", "version": "4"}, {"address": "fd00::3/64", "version": "6", "interface": 0}]
    });
    let config = stage.net("portmap", json!({"runtimeConfig": {"portMappings": [mapping(8080, 80, "tcp")]}}));
    let handed = stage.add(&pod, &with_result(&config, &result))?;
    ensure!(handed["ips"][1]["interface"] == 0 && handed["ips"][0]["interface"].is_null(), "{handed}");
    let rules = rules(&stage.node)?;
    ensure!(rules.contains("10.1.2.3") && rules.contains("fd00::3"), "addresses are missing in:\n{rules}");
    Ok(())
}

fn again(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let list = list(stage, json!([mapping(8080, 80, "tcp")]), json!({}))?;
    let before = stage.add(&pod, &list[0])?;
    let config = with_result(&list[1], &before);
    stage.add(&pod, &config)?;
    let once = rules(&stage.node)?;
    stage.add(&pod, &config)?;
    ensure!(rules(&stage.node)? == once, "once:\n{once}\ntwice:\n{}", rules(&stage.node)?);
    for _ in 0..2 {
        stage.silently("DEL", &pod, &config)?;
    }
    no_rule_of(&stage.node, &["8080", "10.88.0.2"])
}

fn parallel(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let names: Vec<String> = (0..10).map(|number| format!("c{number}")).collect();
    let configs: Vec<Value> = (0..10u16)
        .map(|number| {
            let result = json!({"cniVersion": stage.version, "interfaces": [], "ips": [{"address": format!("10.88.0.{}/24", number + 10)}]});
            let fields = json!({"runtimeConfig": {"portMappings": [mapping(8000 + number, 80, "tcp")]}});
            with_result(&stage.net("portmap", fields), &result)
        })
        .collect();
    for verb in ["ADD", "DEL"] {
        let jobs: Vec<_> =
            names.iter().zip(&configs).map(|(name, config)| stage.job(verb, &Call::new(name, &pod), config)).collect();
        let node = &stage.node;
        let ended: Vec<Result<_>> = std::thread::scope(|scope| {
            let running: Vec<_> = jobs.iter().map(|job| scope.spawn(move || node.output(job)?.success())).collect();
            running.into_iter().map(|one| one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        for one in ended {
            one?;
        }
    }
    no_rule_of(&stage.node, &["10.88.0.1"])
}

fn reach(stage: &mut Stage, more: Value) -> Result<()> {
    let pod = stage.pod("p")?;
    let client = outside(stage, "out")?;
    let list = list(stage, json!([mapping(8080, 80, "tcp"), mapping(8053, 53, "udp")]), more)?;
    let result = stage.add_list(&pod, &list)?;
    let _server = serve(&pod, &["tcp:80", "udp:53"])?;
    let itself = ipv4(&result)?;
    answers(&stage.node, &format!("tcp:{itself}:80"), &pod)?;
    for (from, host) in
        [(&*client, "198.51.100.1"), (&*stage.node, "198.51.100.1"), (&*stage.node, "127.0.0.1"), (&*pod, "10.88.0.1")]
    {
        answers(from, &format!("tcp:{host}:8080"), &pod)?;
        answers(from, &format!("udp:{host}:8053"), &pod)?;
    }
    if stage.has_check() {
        stage.all("CHECK", &pod, &list, &result)?;
    }
    stage.all("DEL", &pod, &list, &result)?;
    no_rule_of(&stage.node, &["8080", "8053", &itself])?;
    is_silent(&client, "tcp:198.51.100.1:8080")
}

fn over_ipv6(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let client = outside(stage, "out")?;
    let list = list(stage, json!([mapping(8080, 80, "tcp"), mapping(8053, 53, "udp")]), json!({}))?;
    let result = stage.add_list(&pod, &list)?;
    let _server = serve(&pod, &["tcp:80", "udp:53"])?;
    for (from, host) in [(&*client, "2001:db8:51::1"), (&*stage.node, "2001:db8:51::1"), (&*pod, "fd00:88::1")] {
        answers(from, &format!("tcp:[{host}]:8080"), &pod)?;
        answers(from, &format!("udp:[{host}]:8053"), &pod)?;
    }
    stage.all("DEL", &pod, &list, &result)?;
    no_rule_of(&stage.node, &["8080", &ipv6(&result)?])
}

fn host_ip(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let client = outside(stage, "out")?;
    stage.node.sh("ip addr add 198.51.100.9/24 dev out")?;
    let mut one = mapping(8080, 80, "tcp");
    one["hostIP"] = "198.51.100.9".into();
    let list = list(stage, json!([one]), json!({}))?;
    let result = stage.add_list(&pod, &list)?;
    let _server = serve(&pod, &["tcp:80"])?;
    answers(&client, "tcp:198.51.100.9:8080", &pod)?;
    is_silent(&client, "tcp:198.51.100.1:8080")?;
    stage.all("DEL", &pod, &list, &result)?;
    is_silent(&client, "tcp:198.51.100.9:8080")
}

/// A client that sends from one socket on and on, as a resolver does: what the node remembers of the first pod must not
/// hold when the second one has the port.
fn udp_moves(stage: &mut Stage) -> Result<()> {
    let client = outside(stage, "out")?;
    let (one, two) = (stage.pod("one")?, stage.pod("two")?);
    let list = list(stage, json!([mapping(8053, 53, "udp")]), json!({}))?;
    let result = stage.add_list(&one, &list)?;
    let first = serve(&one, &["udp:53"])?;
    let asking = crate::traffic::request_until_told(&["udp:198.51.100.1:8053"])?;
    let mut asking = client.start(&asking.args(["--rate", "200", "--timeout-ms", "50"]))?;
    asking.wait_ready(Stage::soon())?;
    stage.all("DEL", &one, &list, &result)?;
    drop(first);
    stage.add_list(&two, &list)?;
    let _second = serve(&two, &["udp:53"])?;
    until("an answer of the second pod", Stage::soon(), || {
        let reports = crate::traffic::so_far(&mut asking)?;
        Ok(reports.iter().any(|report| report.backends.contains_key("two")).then_some(()))
    })
}

fn many(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let mappings: Vec<Value> = (0..40).map(|number| mapping(9000 + number, 80, "tcp")).collect();
    let list = list(stage, json!(mappings), json!({}))?;
    let result = stage.add_list(&pod, &list)?;
    let _server = serve(&pod, &["tcp:80"])?;
    for port in [9000, 9014, 9015, 9039] {
        answers(&stage.node, &format!("tcp:10.88.0.1:{port}"), &pod)?;
    }
    stage.all("DEL", &pod, &list, &result)?;
    no_rule_of(&stage.node, &["9000", "9039"])
}

fn forwarded(stage: &mut Stage, more: Value) -> Result<()> {
    let pod = stage.pod("p")?;
    let (client, server) = (outside(stage, "out")?, outside(stage, "far")?);
    let list = list(stage, json!([mapping(8080, 80, "tcp")]), more)?;
    stage.add_list(&pod, &list)?;
    let _servers = (serve(&pod, &["tcp:80"])?, serve(&server, &["tcp:8080"])?);
    answers(&client, "tcp:198.52.100.2:8080", &server)
}

fn source(stage: &mut Stage) -> Result<()> {
    let client = outside(stage, "out")?;
    for (name, masq_all, port, wanted) in [("plain", false, 8080, "198.51.100.2"), ("masq", true, 8081, "10.88.0.1")] {
        let pod = stage.pod(name)?;
        let list = list(stage, json!([mapping(port, 80, "tcp")]), json!({"masqAll": masq_all}))?;
        stage.add_list(&pod, &list)?;
        let _server = serve(&pod, &["tcp:80"])?;
        let capture = crate::capture::Capture::start(&pod, "eth0", "tcp dst port 80")?;
        answers(&client, &format!("tcp:198.51.100.1:{port}"), &pod)?;
        capture.wait_for(&[&format!("{wanted}.")])?;
    }
    Ok(())
}

fn check(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let list = list(stage, json!([mapping(8080, 80, "tcp")]), json!({}))?;
    let result = stage.add_list(&pod, &list)?;
    let config = with_result(&list[1], &result);
    stage.silently("CHECK", &pod, &config)?;
    flush(&stage.node)?;
    ensure!(ask(&stage.node, "tcp:10.88.0.1:8080")?.is_none(), "the rules were not flushed");
    stage.refused("CHECK", &pod, &config).map(|_| ())
}

/// Every rule of the node goes, as with a reload of somebody's firewall.
pub(super) fn flush(node: &Place) -> Result<()> {
    node.sh("nft flush ruleset").map(|_| ())
}

fn del_without(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let list = list(stage, json!([mapping(8080, 80, "tcp")]), json!({}))?;
    stage.add_list(&pod, &list)?;
    ensure!(device(&pod, "eth0").is_ok(), "no eth0");
    pod.remove_netns(&stage.lab)?;
    stage.silently("DEL", &pod, &list[1])?;
    no_rule_of(&stage.node, &["8080"])
}
