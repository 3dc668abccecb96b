//! One port, several containers that want it: at the same time, and one after the other.

use anyhow::Result;
use fairlead_conformance::limit::{patience, until};
use fairlead_conformance::traffic;
use serde_json::{Value, json};

use crate::stage::{NODE, Stage, answers, is_silent, mapping, serve};

#[test]
fn a_port_of_another_container_is_refused_with_its_name() -> Result<()> {
    let stage = Stage::ours("conflict")?;
    let mappings = || json!([mapping(8080, 80, "tcp")]);
    let first = stage.published("first", mappings(), &json!({}))?;
    let server = serve(&first.pod, &["tcp:80"])?;
    let second = stage.pod("second", json!([mapping(8081, 80, "tcp"), mapping(8080, 80, "tcp")]), &json!({}))?;
    let before = stage.rules()?;
    let error = stage.verb("ADD", &second)?.json()?;
    let said = error["msg"].as_str().unwrap_or_default();
    assert_eq!(error["code"], 7, "{error}");
    for word in ["tcp port 8080 to 10.88.0.3:80", "10.88.0.2:80 already", "id: first", "net: net"] {
        assert!(said.contains(word), "no {word:?} in {said}");
    }
    assert_eq!(stage.rules()?, before, "refused whole");
    answers(&stage.far, &format!("tcp:{NODE}:8080"), &first.pod)?;
    // The same container again is no conflict, nor is the same port of another protocol.
    stage.verb("ADD", &first)?.success()?;
    assert_eq!(stage.rules()?, before);
    stage.published("third", json!([mapping(8080, 80, "udp")]), &json!({}))?;

    // Its container gone without a DEL: nobody waits for a collector.
    drop(server);
    first.pod.remove_netns(&stage.lab)?;
    let end = first.config["prevResult"]["interfaces"][1]["name"].as_str().unwrap_or_default().to_owned();
    until("the dead container's link to go", patience(10), || {
        Ok((!stage.node.sh("ip -br link")?.contains(&end)).then_some(()))
    })?;
    let _server = serve(&second.pod, &["tcp:80"])?;
    stage.verb("ADD", &second)?.success()?;
    answers(&stage.far, &format!("tcp:{NODE}:8080"), &second.pod)?;
    stage.verb("DEL", &first)?.success()?;
    answers(&stage.far, &format!("tcp:{NODE}:8080"), &second.pod)
}

/// A runtime asks for a container's ports in each of its networks.
#[test]
fn two_networks_of_one_container_share_its_ports() -> Result<()> {
    let stage = Stage::ours("two-networks")?;
    let published = stage.published("pod", json!([mapping(8080, 80, "tcp")]), &json!({}))?;
    let _server = serve(&published.pod, &["tcp:80"])?;
    let mut second = published.config.clone();
    second["name"] = "second".into();
    second["prevResult"]["ips"] = json!([{"address": "10.99.0.2/24", "interface": 2}]);
    for verb in ["ADD", "CHECK"] {
        stage.call("portmap", verb, "pod", &published.pod, &second)?.success()?;
        answers(&stage.far, &format!("tcp:{NODE}:8080"), &published.pod)?;
    }
    stage.call("portmap", "DEL", "pod", &published.pod, &second)?.success()?;
    answers(&stage.far, &format!("tcp:{NODE}:8080"), &published.pod)?;
    stage.verb("CHECK", &published)?.success()?;
    stage.verb("DEL", &published)?.success()?;
    assert_eq!(stage.rules()?, "");
    Ok(())
}

/// A client that sends on and on from one socket: what the node remembers of where its packets went must not hold.
#[test]
fn a_udp_client_follows_its_port_from_one_container_to_the_next() -> Result<()> {
    let stage = Stage::ours("conntrack")?;
    let mappings = || json!([mapping(8053, 53, "udp")]);
    let nobody = traffic::request_until_told(&[&format!("udp:{NODE}:8053")])?;
    let mut client = stage.far.start(&nobody.args(["--rate", "200", "--timeout-ms", "50"]))?;
    client.wait_ready(patience(10))?;
    let follows = |client: &mut fairlead_conformance::lab::Running, name: &str| {
        until(&format!("an answer of {name}"), patience(10), || {
            let reports = traffic::so_far(client)?;
            Ok(reports.iter().any(|report| report.backends.contains_key(name)).then_some(()))
        })
    };
    for name in ["one", "two"] {
        let published = stage.published(name, mappings(), &json!({}))?;
        let _server = serve(&published.pod, &["udp:53"])?;
        follows(&mut client, name)?;
        stage.verb("DEL", &published)?.success()?;
        // With its last container gone the port is the node's own again, for this client too.
        let _server = serve(&stage.node, &["udp:8053"])?;
        follows(&mut client, "node")?;
    }
    Ok(())
}

#[test]
fn gc_takes_what_is_not_in_the_list_and_nothing_else() -> Result<()> {
    let stage = Stage::ours("gc")?;
    let of = |name: &str| json!({ "name": name });
    let kept = stage.published("kept", json!([mapping(8080, 80, "tcp")]), &json!({}))?;
    let gone = stage.published("gone", json!([mapping(8081, 80, "tcp"), mapping(8082, 80, "udp")]), &json!({}))?;
    let other = stage.published("other", json!([mapping(8083, 80, "tcp")]), &of("elsewhere"))?;
    let everything = stage.rules()?;
    let collect = |valid: Option<Value>| {
        let mut config = crate::stage::portmap(Value::Null, &json!({}));
        if let Some(valid) = valid {
            config["cni.dev/valid-attachments"] = valid;
        }
        stage.call("portmap", "GC", "", &kept.pod, &config)?.success()
    };
    collect(None)?;
    assert_eq!(stage.rules()?, everything, "without a list nothing may be removed");
    for _ in 0..2 {
        collect(Some(json!([{"containerID": "kept", "ifname": "eth0"}])))?;
    }
    let rules = stage.rules()?;
    assert!(!rules.contains("id: gone") && rules.contains("id: kept") && rules.contains("id: other"), "{rules}");
    stage.verb("CHECK", &kept)?.success()?;
    stage.verb("DEL", &gone)?.success()?;
    collect(Some(json!([])))?;
    assert!(stage.rules()?.contains("id: other"));
    stage.verb("DEL", &other)?.success()?;
    assert_eq!(stage.rules()?, "");
    is_silent(&stage.far, &format!("tcp:{NODE}:8080"))
}
