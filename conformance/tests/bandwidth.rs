//! bandwidth on the reference and on ours: results, disciplines, the ifb; either side's CHECK and DEL after the other's ADD;
//! packets that are slowed down; and what the reference does not do.

use std::path::Path;

use anyhow::{Context, Result};
use fairlead_conformance::cni::{Call, Suite};
use fairlead_conformance::differential::VERSIONS;
use fairlead_conformance::limit::patience;
use fairlead_conformance::snapshot::{Snapshot, render};
use fairlead_conformance::traffic;
use serde_json::{Value, json};

mod chained;
use chained::{Stage, refusal};

const PLUGIN: &str = "bandwidth";

/// One megabit a second, bursts of 16 kB.
fn both() -> Value {
    json!({"ingressRate": 1_000_000, "ingressBurst": 128_000, "egressRate": 2_000_000, "egressBurst": 256_000})
}

fn stage(name: &str) -> Result<Stage> {
    let stage = Stage::new(name, PLUGIN)?;
    // The MTU is not the default's, to see whose it is.
    stage.node.sh("ip link set veth0 mtu 1400")?;
    stage.pod.sh("ip link set eth0 mtu 1400")?;
    Ok(stage)
}

/// The ifbs: name, MTU, queue, state; and every discipline with its numbers. Hardware addresses of ifbs are drawn by lot.
fn shaping(stage: &Stage) -> Result<Vec<String>> {
    let links = stage.node.json("ip -j -d link show type ifb")?;
    let mut seen: Vec<String> = Vec::new();
    for link in links.as_array().into_iter().flatten() {
        let up = link["flags"].as_array().is_some_and(|flags| flags.contains(&"UP".into()));
        seen.push(format!("{} mtu {} txqlen {} up {up}", link["ifname"], link["mtu"], link["txqlen"]));
    }
    for qdisc in stage.node.json("tc -j qdisc show")?.as_array().into_iter().flatten() {
        if qdisc["dev"] != "lo" && qdisc["kind"] != "noqueue" {
            seen.push(format!("{} {} {} {}", qdisc["dev"], qdisc["kind"], qdisc["handle"], qdisc["options"]));
        }
    }
    seen.sort();
    Ok(seen)
}

/// The devices that packets from the container are sent to.
fn redirected(stage: &Stage) -> Result<Vec<String>> {
    let filters = stage.node.sh("tc filter show dev veth0 ingress")?;
    let targets = filters.lines().filter_map(|line| line.split("Redirect to device ").nth(1));
    let mut names: Vec<String> = targets.filter_map(|rest| Some(rest.split(')').next()?.to_owned())).collect();
    names.dedup();
    Ok(names)
}

fn ifbs(stage: &Stage) -> Result<Vec<String>> {
    let links = stage.node.json("ip -j link show type ifb")?;
    let names = links.as_array().into_iter().flatten().filter_map(|link| link["ifname"].as_str());
    Ok(names.map(str::to_owned).collect())
}

/// ADD by one, CHECK and DEL by both: what the result says, and what is there.
fn play(adder: &Suite, deleter: &Suite, version: &str, keys: &Value) -> Result<Vec<String>> {
    let stage = stage("bandwidth")?;
    let mut config = stage.config(version, keys);
    let added = stage.call(adder, "ADD", &config)?.success()?;
    config["prevResult"] = added.json()?;
    let mut text = stage.plain(&added.stdout_text());
    for ifb in added.json()?["interfaces"].as_array().into_iter().flatten().skip(2) {
        let name = ifb["name"].as_str().context("an interface has a name")?;
        let link = &stage.node.json(&format!("ip -j link show dev {name}"))?[0];
        assert_eq!(link["address"], ifb["mac"], "{}", adder.name);
        text = text.replace(ifb["mac"].as_str().unwrap_or_default(), "<mac>");
        assert_eq!(redirected(&stage)?, [name], "{}", adder.name);
    }
    let mut seen = vec![text];
    seen.extend(shaping(&stage)?);
    if version >= "0.4.0" {
        for suite in [adder, deleter] {
            stage.call(suite, "CHECK", &config)?.success().with_context(|| format!("added by {}", adder.name))?;
        }
    }
    for _ in 0..2 {
        stage.call(deleter, "DEL", &config)?.success()?;
        assert_eq!(ifbs(&stage)?, [""; 0], "DEL of {} after ADD of {}", deleter.name, adder.name);
    }
    Ok(seen)
}

#[test]
fn disciplines_ifb_and_result_are_the_references() -> Result<()> {
    let [reference, ours] = [Suite::reference()?, Suite::ours()?];
    let runtime = json!({"bandwidth": {"egressRate": 8_000_000, "egressBurst": 8_000_000}});
    for keys in [
        both(),
        json!({"ingressRate": 1_000_000, "ingressBurst": 128_000}),
        json!({"egressRate": 8, "egressBurst": 8}),
        json!({"runtimeConfig": runtime}),
        json!({"ingressRate": 100_000_000_000_u64, "ingressBurst": 400_000_000, "runtimeConfig": runtime}),
        json!({"ingressRate": 0}),
        json!({}),
    ] {
        let wanted = play(&reference, &reference, "1.0.0", &keys).with_context(|| keys.to_string())?;
        assert_eq!(play(&ours, &ours, "1.0.0", &keys).with_context(|| keys.to_string())?, wanted, "{keys}");
    }
    Ok(())
}

#[test]
fn every_version_has_the_same_answer_and_either_side_checks_and_deletes_what_the_other_added() -> Result<()> {
    let [reference, ours] = [Suite::reference()?, Suite::ours()?];
    for version in &VERSIONS[2..] {
        let wanted = play(&reference, &ours, version, &both()).with_context(|| (*version).to_owned())?;
        assert_eq!(play(&ours, &reference, version, &both())?, wanted, "{version}");
    }
    let stage = stage("old")?;
    for suite in [&reference, &ours] {
        let (code, said) = refusal(&stage.call(suite, "ADD", &stage.config("0.2.0", &both()))?)?;
        assert!(code == 1 && said.starts_with("incompatible CNI versions"), "{}: {said}", suite.name);
    }
    Ok(())
}

#[test]
fn what_is_refused_is_refused_in_the_references_words_and_leaves_nothing() -> Result<()> {
    let stage = stage("refused")?;
    let before = Snapshot::network(&stage.node)?;
    let bare = |mut config: Value| {
        config.as_object_mut().map(|members| members.remove("prevResult"));
        config
    };
    let with = |change: &dyn Fn(&mut Value)| {
        let mut config = stage.config("1.0.0", &both());
        change(&mut config["prevResult"]["interfaces"]);
        config
    };
    let keys = |keys: Value| stage.config("1.0.0", &keys);
    let cases = [
        (keys(json!({"ingressRate": 8})), "if rate is set, burst must also be set"),
        (keys(json!({"egressBurst": 8})), "if burst is set, rate must also be set"),
        (keys(json!({"egressRate": 8, "egressBurst": 8 * u64::from(u32::MAX)})), "burst cannot be more than 4GB"),
        (bare(stage.config("1.0.0", &both())), "must be called as chained plugin"),
        (with(&|all| *all = json!([])), "no interfaces provided"),
        (with(&|all| all[0]["name"] = "veth7".into()), "no veth peer of container interface found in host ns"),
        (with(&|all| all[0]["sandbox"] = "/x".into()), "no veth peer of container interface found in host ns"),
    ];
    for suite in [Suite::reference()?, Suite::ours()?] {
        for (config, words) in &cases {
            let (_, said) = refusal(&stage.call(&suite, "ADD", config)?)?;
            assert!(said.starts_with(words), "{}: {config}: {said}", suite.name);
        }
        let call = Call { ifname: "lo", ..Call::new("container", &stage.pod) };
        let (_, said) = refusal(&stage.call_as(&suite, "ADD", &call, &keys(both()))?)?;
        assert!(said.starts_with("container interface lo has no veth peer"), "{}: {said}", suite.name);
    }
    // A rate that is no rate, which the reference divides by.
    let (code, said) =
        refusal(&stage.call(&Suite::ours()?, "ADD", &keys(json!({"egressRate": 7, "egressBurst": 8})))?)?;
    assert!(code == 7 && said.contains("egressRate 7"), "{said}");
    let changes = before.diff(&Snapshot::network(&stage.node)?);
    assert!(changes.is_empty(), "{}", render(&changes));
    Ok(())
}

#[test]
fn a_failed_add_takes_back_what_it_made() -> Result<()> {
    let stage = stage("undo")?;
    let ours = Suite::ours()?;
    // Somebody holds the filter's place, with something else: the last step but one fails.
    stage.node.sh("tc qdisc add dev veth0 ingress")?;
    stage.node.sh("tc filter add dev veth0 ingress prio 1 protocol ip u32 match u32 0 0 flowid 1:1")?;
    // How tc calls the parent depends on who spoke to the kernel last.
    let filters = || stage.node.sh("tc filter show dev veth0 ingress").map(|said| said.replace("parent ffff: ", ""));
    let before = (shaping(&stage)?, filters()?);
    let (_, said) = refusal(&stage.call(&ours, "ADD", &stage.config("1.1.0", &both()))?)?;
    assert!(said.contains("redirect what comes in by link"), "{said}");
    assert_eq!((shaping(&stage)?, filters()?), before);
    Ok(())
}

#[test]
fn an_add_again_takes_over_what_a_killed_one_left() -> Result<()> {
    let stage = stage("again")?;
    let ours = Suite::ours()?;
    let config = stage.config("1.1.0", &both());
    let added = stage.call(&ours, "ADD", &config)?.success()?.json()?;
    let whole = shaping(&stage)?;
    assert_eq!(stage.call(&ours, "ADD", &config)?.success()?.json()?, added, "nothing to do");
    assert_eq!((shaping(&stage)?, redirected(&stage)?.len()), (whole.clone(), 1));
    // The ifb was deleted behind it: the filter leads nowhere, and what the pod sends is dropped.
    let ifb = ifbs(&stage)?.remove(0);
    for deed in
        [format!("ip link del {ifb}"), format!("ip link set {ifb} down mtu 1300"), "tc qdisc del dev veth0 root".into()]
    {
        stage.node.sh(&deed)?;
        stage.call(&ours, "ADD", &config)?.success()?;
        assert_eq!((shaping(&stage)?, redirected(&stage)?), (whole.clone(), vec![ifb.clone()]), "{deed}");
        stage.call(&ours, "CHECK", &config)?.success()?;
    }
    // Killed before it could write its alias: DEL finds it by name.
    stage.node.run(&["ip", "link", "set", &ifb, "alias", ""])?;
    stage.call(&ours, "DEL", &config)?.success()?;
    assert_eq!(ifbs(&stage)?, [""; 0]);
    Ok(())
}

#[test]
fn two_interfaces_of_one_container_have_an_ifb_each() -> Result<()> {
    let [reference, ours] = [Suite::reference()?, Suite::ours()?];
    let stage = stage("two")?;
    stage.connect("veth9", "net1", &stage.pod, "02:00:00:00:00:09")?;
    let first = stage.config("1.0.0", &both());
    let mut second = first.clone();
    second["prevResult"]["interfaces"][0]["name"] = "veth9".into();
    second["prevResult"]["interfaces"][1]["name"] = "net1".into();
    let net1 = Call { ifname: "net1", ..Call::new("container", &stage.pod) };
    stage.call(&reference, "ADD", &first)?.success()?;
    let (_, said) = refusal(&stage.call_as(&reference, "ADD", &net1, &second)?)?;
    assert!(said.contains("file exists"), "the reference's fault is gone: {said}");
    // Beside the reference's, and then both of ours.
    stage.call_as(&ours, "ADD", &net1, &second)?.success()?;
    assert_eq!(ifbs(&stage)?.len(), 2);
    stage.call_as(&ours, "CHECK", &net1, &second)?.success()?;
    stage.call(&ours, "CHECK", &first)?.success()?;
    stage.call(&ours, "DEL", &first)?.success()?;
    assert_eq!(ifbs(&stage)?.len(), 1);
    stage.call_as(&ours, "CHECK", &net1, &second)?.success()?;
    stage.call(&ours, "ADD", &first)?.success()?;
    for (call, config, left) in [(net1, &second, 1), (Call::new("container", &stage.pod), &first, 0)] {
        stage.call_as(&ours, "DEL", &call, config)?.success()?;
        assert_eq!(ifbs(&stage)?.len(), left);
    }
    Ok(())
}

#[test]
fn check_names_each_drift() -> Result<()> {
    let stage = stage("drift")?;
    let ours = Suite::ours()?;
    let config = stage.config("1.1.0", &both());
    stage.call(&ours, "ADD", &config)?.success()?;
    let ifb = ifbs(&stage)?.remove(0);
    let tbf = |dev: &str, rest: &str| format!("tc qdisc replace dev {dev} root handle 1: tbf {rest}");
    for (deed, words) in [
        ("tc qdisc del dev veth0 root".to_owned(), "the root of veth0 is none, not tbf"),
        (tbf("veth0", "rate 3mbit burst 16000 limit 19125"), "veth0 has 375000 bytes a second, not 125000"),
        (tbf("veth0", "rate 1mbit burst 16000 limit 20000"), "in veth0 20000 bytes may wait, not 19125"),
        (tbf("veth0", "rate 1mbit burst 15000 limit 19125"), "Buffer doesn't match: the bucket of veth0"),
        (tbf(&ifb, "rate 3mbit burst 32000 limit 38250"), "has 375000 bytes a second, not 250000"),
        ("tc filter del dev veth0 ingress".into(), "nothing sends what comes in by veth0 to bwp"),
        ("tc qdisc del dev veth0 ingress".into(), "nothing sends what comes in by veth0 to bwp"),
        (format!("ip link set {ifb} down"), "is down: what veth0 sends is dropped"),
        (format!("ip link del {ifb}"), "get ifb device: neither bwp"),
    ] {
        stage.call(&ours, "CHECK", &config)?.success().with_context(|| format!("before {deed}"))?;
        stage.node.sh(&deed)?;
        let (code, said) = refusal(&stage.call(&ours, "CHECK", &config)?)?;
        assert!(code == 999 && said.contains(words), "after {deed}: {said}");
        stage.call(&ours, "ADD", &config)?.success().with_context(|| format!("after {deed}"))?;
    }
    stage.node.sh("tc qdisc del dev veth0 root")?;
    stage.node.sh("tc qdisc del dev veth0 ingress")?;
    let (_, said) = refusal(&stage.call(&ours, "CHECK", &config)?)?;
    assert!(said.contains("not tbf") && said.contains("nothing sends"), "{said}");
    Ok(())
}

#[test]
fn del_needs_neither_namespace_nor_result_nor_a_configuration_that_makes_sense() -> Result<()> {
    let stage = stage("del")?;
    let [reference, ours] = [Suite::reference()?, Suite::ours()?];
    let config = stage.config("1.1.0", &both());
    let stranger = stage.lab.pod(&stage.node, "stranger")?;
    for (suite, netns) in [(&ours, Path::new("/run/netns/gone")), (&reference, stranger.netns())] {
        stage.call(suite, "ADD", &config)?.success()?;
        let call = Call { netns, args: "junk", ..Call::new("container", &stage.pod) };
        let changed =
            json!({"cniVersion": "1.1.0", "name": "net", "type": PLUGIN, "ingressRate": 8, "egressRate": "x"});
        stage.call_as(&ours, "DEL", &call, &changed)?.success()?;
        assert_eq!(ifbs(&stage)?, [""; 0], "added by {}", suite.name);
        stage.node.sh("tc qdisc del dev veth0 root")?;
        stage.node.sh("tc qdisc del dev veth0 ingress")?;
    }
    // A device of somebody else under our name.
    stage.call(&ours, "ADD", &config)?.success()?;
    let name = ifbs(&stage)?.remove(0);
    stage.call(&ours, "DEL", &config)?.success()?;
    stage.node.sh(&format!("ip link add {name} type bridge"))?;
    stage.call(&ours, "DEL", &config)?.success()?;
    stage.node.sh(&format!("ip link show dev {name}"))?;
    Ok(())
}

#[test]
fn gc_removes_exactly_the_ifbs_of_this_network_that_are_nobodys() -> Result<()> {
    let [reference, ours] = [Suite::reference()?, Suite::ours()?];
    let stage = stage("gc")?;
    let config = stage.config("1.1.0", &json!({"egressRate": 8000, "egressBurst": 8000}));
    let mut other = config.clone();
    other["name"] = "other".into();
    for (suite, container, config) in [
        (&ours, "kept", &config),
        (&ours, "dead", &config),
        (&ours, "elsewhere", &other),
        (&reference, "theirs", &config),
    ] {
        stage.call_as(suite, "ADD", &Call::new(container, &stage.pod), config)?.success()?;
        // The next one finds a device that nobody has shaped.
        stage.node.sh("tc qdisc del dev veth0 ingress")?;
    }
    let all = ifbs(&stage)?;
    stage.call(&ours, "GC", &config)?.success()?;
    assert_eq!((ifbs(&stage)?, all.len()), (all, 4), "without a list nothing may be removed");
    let mut valid = config.clone();
    valid["cni.dev/valid-attachments"] = json!([{"containerID": "kept", "ifname": "eth0"}]);
    for _ in 0..2 {
        stage.call(&ours, "GC", &valid)?.success()?;
    }
    let aliases = stage.node.sh("ip link show type ifb")?;
    for (id, there) in [("kept", true), ("dead", false), ("elsewhere", true)] {
        assert_eq!(aliases.contains(&format!("id: {id}")), there, "{id}: {aliases}");
    }
    assert_eq!(ifbs(&stage)?.len(), 3);
    Ok(())
}

#[test]
fn status_tries_everything_and_leaves_nothing() -> Result<()> {
    let stage = stage("status")?;
    let ours = Suite::ours()?;
    let before = Snapshot::network(&stage.node)?;
    stage.call(&ours, "STATUS", &stage.config("1.1.0", &json!({})))?.success()?;
    let changes = before.diff(&Snapshot::network(&stage.node)?);
    assert!(changes.is_empty(), "{}", render(&changes));
    let nobody = ["setpriv", "--reuid=65534", "--clear-groups"];
    let (code, said) = refusal(&stage.call_under(&ours, &nobody, "STATUS", &stage.config("1.1.0", &both()))?)?;
    assert!(code == 51 && said.contains("bandwidth cannot slow anything down: "), "{code}: {said}");
    Ok(())
}

/// What passed a device's root discipline, and what did not: (sent, dropped, had to wait), in packets.
fn counted(stage: &Stage, device: &str) -> Result<(u64, u64, u64)> {
    let said = stage.node.json(&format!("tc -s -j qdisc show dev {device} root"))?;
    let number = |key: &str| said[0][key].as_u64().with_context(|| format!("{key} in {said}"));
    Ok((number("packets")?, number("drops")?, number("overlimits")?))
}

#[test]
fn packets_are_slowed_down_both_ways_and_get_through() -> Result<()> {
    for suite in [Suite::reference()?, Suite::ours()?] {
        let stage = stage("packets")?;
        stage.node.sh("ip addr add 10.88.0.1/24 dev veth0")?;
        stage.pod.sh("ip addr add 10.88.0.2/24 dev eth0")?;
        // Addresses that nobody answers for, so that nothing comes back.
        stage.node.sh("ip neigh add 10.88.0.8 lladdr 02:00:00:00:00:02 dev veth0 nud permanent")?;
        stage.pod.sh("ip neigh add 10.88.0.9 lladdr 02:00:00:00:01:01 dev eth0 nud permanent")?;
        stage.call(&suite, "ADD", &stage.config("1.0.0", &both()))?.success()?;
        let ifb = ifbs(&stage)?.remove(0);
        let mut server = stage.node.start(&traffic::serve("node", &["udp:9000"])?)?;
        server.wait_ready(patience(10))?;
        let reports = traffic::counted(stage.pod.output(&traffic::request(&["udp:10.88.0.1:9000"], 3)?)?)?;
        assert_eq!((reports[0].answered, counted(&stage, &ifb)?.1), (3, 0), "{}: what is little passes", suite.name);
        // 1.4 MB at once, where 32 kB and 38 kB may wait: ten times more than the rest of a second can carry.
        for (from, target, device) in
            [(&*stage.pod, "10.88.0.9", &ifb), (&*stage.node, "10.88.0.8", &"veth0".to_owned())]
        {
            let flood = format!("exec dd if=/dev/zero bs=1400 count=1000 status=none >/dev/udp/{target}/9");
            from.run(&["bash", "-c", &flood])?;
            let (sent, dropped, waited) = counted(&stage, device)?;
            assert!(sent > 3 && dropped > 100 && waited > 0, "{} {device}: {sent} {dropped} {waited}", suite.name);
            assert!(sent + dropped >= 900, "{} {device}: {sent} {dropped}", suite.name);
        }
    }
    Ok(())
}
