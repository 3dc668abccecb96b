//! tuning on the reference and on ours: results, the interface, the back-up file; either side's DEL after the other's ADD;
//! and what the reference does not do.

use anyhow::{Context, Result, ensure};
use fairlead_conformance::cni::{Call, Suite};
use fairlead_conformance::differential::VERSIONS;
use serde_json::{Map, Value, json};

mod chained;
use chained::{MAC, Stage, refusal};

const PLUGIN: &str = "tuning";
const BACKUP: &str = "run/cni/tuning/container_eth0.json";

/// Everything that can be said of the interface.
fn everything() -> Value {
    json!({"mac": "02:00:00:00:00:99", "mtu": 1400, "promisc": true, "allmulti": true, "txQLen": 77})
}

/// What `ip` says of the interface, as far as tuning can change it.
fn interface(stage: &Stage) -> Result<Value> {
    let link = &stage.pod.json("ip -j -d link show dev eth0")?[0];
    let has = |flag: &str| link["flags"].as_array().is_some_and(|flags| flags.contains(&flag.into()));
    Ok(json!({
        "mac": link["address"], "mtu": link["mtu"], "txQLen": link["txqlen"],
        "promisc": has("PROMISC"), "promiscuity": link["promiscuity"], "allmulti": has("ALLMULTI"), "up": has("UP")
    }))
}

/// The back-up, without our record.
fn backup(stage: &Stage, path: &str) -> Result<Option<Value>> {
    let Ok(text) = std::fs::read_to_string(stage.node.dir().join(path)) else { return Ok(None) };
    let mut value: Value = serde_json::from_str(&text).with_context(|| format!("{path}: {text}"))?;
    value.as_object_mut().context("a back-up is an object")?.remove("fairlead");
    Ok(Some(value))
}

fn suites() -> Result<[Suite; 2]> {
    Ok([Suite::reference()?, Suite::ours()?])
}

/// ADD, CHECK and DEL: everything there is to see after each, for comparison.
fn play(adder: &Suite, deleter: &Suite, version: &str, keys: &Value, args: &str) -> Result<Vec<String>> {
    let stage = Stage::new("tuning", PLUGIN)?;
    let call = Call { args, ..Call::new("container", &stage.pod) };
    let mut config = stage.config(version, keys);
    let before = interface(&stage)?;
    let added = stage.call_as(adder, "ADD", &call, &config)?.success()?;
    let mut seen = vec![stage.plain(&added.stdout_text()), interface(&stage)?.to_string()];
    let path = keys["dataDir"].as_str().map_or(BACKUP.to_owned(), |dir| format!("{}/container_eth0.json", &dir[1..]));
    seen.push(format!("{:?}", backup(&stage, &path)?));
    config["prevResult"] = added.json()?;
    if version >= "0.4.0" {
        stage.call_as(deleter, "CHECK", &call, &config)?.success()?;
    }
    stage.call_as(deleter, "DEL", &call, &config)?.success()?;
    seen.push(interface(&stage)?.to_string());
    ensure!(interface(&stage)? == before, "DEL of {} restored {} to {}", deleter.name, before, interface(&stage)?);
    ensure!(backup(&stage, &path)?.is_none(), "DEL of {} left {path}", deleter.name);
    stage.call_as(deleter, "DEL", &call, &config)?.success()?;
    Ok(seen)
}

#[test]
fn each_setting_is_made_saved_and_restored_as_the_reference_does_it() -> Result<()> {
    let [reference, ours] = suites()?;
    let mut cases: Vec<(Value, &str)> = vec![(json!({}), ""), (everything(), ""), (json!({"mac": MAC}), "")];
    let everything = everything().as_object().cloned().unwrap_or_default();
    for (key, value) in &everything {
        let one: Map<String, Value> = [(key.clone(), value.clone())].into_iter().collect();
        cases.push((Value::Object(one.clone()), ""));
        cases.push((json!({"args": {"cni": one}}), ""));
    }
    cases.push((json!({"mac": MAC}), "IgnoreUnknown=1;MAC=02:00:00:00:00:55;K8S_POD_NAME=x"));
    cases.push((json!({"mac": MAC, "runtimeConfig": {"mac": "02:00:00:00:00:56"}}), "MAC=02:00:00:00:00:55"));
    cases.push((json!({"mtu": 1300, "promisc": true, "args": {"cni": {"mtu": 0, "promisc": false}}}), ""));
    cases.push((json!({"mtu": 1300, "dataDir": "/run/of/mine"}), ""));
    cases.push((json!({"sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}}), ""));
    for (keys, args) in &cases {
        let wanted = play(&reference, &reference, "1.0.0", keys, args).with_context(|| format!("{keys} {args}"))?;
        let found = play(&ours, &ours, "1.0.0", keys, args).with_context(|| format!("{keys} {args}"))?;
        assert_eq!(found, wanted, "{keys} {args}");
    }
    Ok(())
}

#[test]
fn every_version_has_the_same_answer() -> Result<()> {
    let [reference, ours] = suites()?;
    for version in VERSIONS {
        let wanted = play(&reference, &reference, version, &everything(), "")?;
        assert_eq!(play(&ours, &ours, version, &everything(), "")?, wanted, "{version}");
    }
    Ok(())
}

#[test]
fn either_side_deletes_what_the_other_added() -> Result<()> {
    let [reference, ours] = suites()?;
    let seen = play(&reference, &reference, "1.0.0", &everything(), "")?;
    assert_eq!(play(&reference, &ours, "1.0.0", &everything(), "")?, seen);
    assert_eq!(play(&ours, &reference, "1.0.0", &everything(), "")?, seen);
    Ok(())
}

#[test]
fn sysctls_are_written_in_order_in_the_container_and_nowhere_else() -> Result<()> {
    let stage = Stage::new("sysctl", PLUGIN)?;
    let ours = Suite::ours()?;
    // Of `all` and one interface the later one wins for that interface, whichever comes first in the alphabet.
    for (first, second, wanted) in [("all", "IFNAME", "1"), ("IFNAME", "all", "0")] {
        let keys = json!({"sysctl": {
            format!("net.ipv4.conf.{first}.forwarding"): if first == "all" { "0" } else { "1" },
            format!("net.ipv4.conf.{second}.forwarding"): if second == "all" { "0" } else { "1" },
            "net.ipv4.tcp_rmem": "4096 87380 6291456",
            "net.ipv4.route.flush": "1",
        }});
        let config = stage.config("1.1.0", &keys);
        stage.pod.sh("sysctl -qw net.ipv4.conf.all.forwarding=1")?;
        stage.call(&ours, "ADD", &config)?.success()?;
        assert_eq!(stage.pod.sh("sysctl -n net.ipv4.conf.eth0.forwarding")?.trim(), wanted, "{first}, {second}");
        let told = stage.call(&ours, "CHECK", &config)?;
        // The later one changed the earlier one only where `all` came last.
        assert_eq!(told.status.success(), first == "all", "{}", told.stdout_text());
    }
    assert_eq!(stage.node.sh("sysctl -n net.ipv4.conf.default.forwarding")?.trim(), "0");
    Ok(())
}

#[test]
fn what_is_refused_is_refused_in_the_references_words_and_leaves_nothing() -> Result<()> {
    let [reference, ours] = suites()?;
    let stage = Stage::new("refused", PLUGIN)?;
    let before = interface(&stage)?;
    let good = stage.config("1.0.0", &json!({}));
    let mut without_result = good.clone();
    without_result.as_object_mut().context("an object")?.remove("prevResult");
    let sysctl = |pairs: &str| good.to_string().replacen('{', &format!("{{\"sysctl\": {{{pairs}}},"), 1);
    let cases = [
        (without_result.to_string(), "Required prevResult missing"),
        (sysctl(r#""net.a": "1", "net.b": "2", "net.a": "1""#), "duplicated sysctl keys are not allowed"),
        (sysctl(r#""kernel.shm_rmid_forced": "1""#), "invalid net sysctl key: \"kernel/shm_rmid_forced\""),
        (sysctl(r#""net": "1""#), "invalid net sysctl key: \"net\""),
    ];
    for (text, words) in cases {
        for suite in [&reference, &ours] {
            let job =
                suite.plugin(PLUGIN, "ADD", &Call::new("container", &stage.pod), &Value::Null).stdin(text.clone());
            let (_, said) = refusal(&stage.node.output(&job)?)?;
            assert!(said.starts_with(words), "{}: {said}", suite.name);
        }
    }
    // Values smuggle nothing (CVE-2022-0811), and nothing is written before all keys have been looked at.
    stage.pod.sh("sysctl -qw net.ipv4.conf.eth0.arp_filter=0")?;
    for second in [r#""net.ipv4.conf.eth0.arp_ignore": "1\nkernel.core_pattern=|x""#, r#""kernel.core_pattern": "x""#] {
        let text = sysctl(&format!(r#""net.ipv4.conf.IFNAME.arp_filter": "1", {second}"#));
        let job = ours.plugin(PLUGIN, "ADD", &Call::new("container", &stage.pod), &Value::Null).stdin(text);
        refusal(&stage.node.output(&job)?)?;
        assert_eq!(stage.pod.sh("sysctl -n net.ipv4.conf.eth0.arp_filter")?.trim(), "0", "{second}");
    }
    assert_eq!(interface(&stage)?, before);
    assert_eq!(backup(&stage, BACKUP)?, None);
    Ok(())
}

#[test]
fn a_failed_add_takes_back_what_it_changed() -> Result<()> {
    let stage = Stage::new("undo", PLUGIN)?;
    let ours = Suite::ours()?;
    let before = interface(&stage)?;
    stage.pod.sh("sysctl -qw net.ipv4.conf.eth0.arp_filter=0")?;
    // An MTU that no Ethernet device takes: the address and the mode are changed by then.
    let mut keys = everything();
    keys["mtu"] = 17.into();
    keys["sysctl"] = json!({"net.ipv4.conf.IFNAME.arp_filter": "1"});
    let (_, said) = refusal(&stage.call(&ours, "ADD", &stage.config("1.1.0", &keys))?)?;
    assert!(said.contains("set MTU of link") && said.contains("EINVAL"), "{said}");
    assert_eq!(interface(&stage)?, before);
    assert_eq!(backup(&stage, BACKUP)?, None);
    assert_eq!(stage.pod.sh("sysctl -n net.ipv4.conf.eth0.arp_filter")?.trim(), "0");
    // A key that the kernel does not have, behind one that it has.
    keys["sysctl"] = json!({"net.ipv4.conf.IFNAME.arp_filter": "1", "net.ipv4.no_such_key": "1"});
    let (_, said) = refusal(&stage.call(&ours, "ADD", &stage.config("1.1.0", &keys))?)?;
    assert!(said.contains("write sysctl net/ipv4/no_such_key = 1: No such file"), "{said}");
    assert_eq!(stage.pod.sh("sysctl -n net.ipv4.conf.eth0.arp_filter")?.trim(), "0");
    Ok(())
}

#[test]
fn args_without_a_map_to_write_into_and_two_of_one_list_are_no_trouble() -> Result<()> {
    let [reference, ours] = suites()?;
    let stage = Stage::new("twice", PLUGIN)?;
    let before = interface(&stage)?;
    let args = stage.config("1.0.0", &json!({"args": {"cni": {"sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}}}}));
    let panicked = stage.call(&reference, "ADD", &args)?;
    assert!(panicked.stderr_text().contains("nil map"), "the reference does not panic any more: {panicked:?}");
    stage.call(&ours, "ADD", &args)?.success()?;
    assert_eq!(stage.pod.sh("sysctl -n net.ipv4.conf.eth0.arp_filter")?.trim(), "1");
    // The second one saves what the first one made; in the reference what was there before the list is lost.
    let first = stage.config("1.0.0", &json!({"mtu": 1400, "mac": "02:00:00:00:00:77"}));
    let second = stage.config("1.0.0", &json!({"mtu": 1300, "txQLen": 9}));
    for config in [&first, &second] {
        stage.call(&ours, "ADD", config)?.success()?;
    }
    for config in [&second, &first] {
        stage.call(&ours, "DEL", config)?.success()?;
    }
    assert_eq!(interface(&stage)?, before);
    Ok(())
}

#[test]
fn check_names_each_drift_and_nothing_that_is_none() -> Result<()> {
    let stage = Stage::new("drift", PLUGIN)?;
    let ours = Suite::ours()?;
    let mut keys = everything();
    keys["sysctl"] = json!({"net.ipv4.conf.IFNAME.arp_filter": "1", "net.ipv4.tcp_rmem": "4096 87380 6291456"});
    let config = stage.config("1.1.0", &keys);
    stage.call(&ours, "ADD", &config)?.success()?;
    for (deed, words) in [
        (
            "ip link set eth0 address 02:00:00:00:00:98",
            "Ethernet of eth0 is 02:00:00:00:00:99, current value is 02:00:00:00:00:98",
        ),
        ("ip link set eth0 mtu 1399", "MTU of eth0 is 1400, current value is 1399"),
        ("ip link set eth0 promisc off", "promiscuous mode of eth0 is true, current value is false"),
        ("ip link set eth0 allmulticast off", "all-multicast mode of eth0 is true, current value is false"),
        ("ip link set eth0 txqueuelen 78", "Transmit Queue Length of eth0 is 77, current value is 78"),
        (
            "sysctl -qw net.ipv4.conf.eth0.arp_filter=0",
            "/proc/sys/net/ipv4/conf/eth0/arp_filter is 1, current value is 0",
        ),
    ] {
        stage.call(&ours, "CHECK", &config)?.success().with_context(|| format!("before {deed}"))?;
        stage.pod.sh(deed)?;
        let (code, said) = refusal(&stage.call(&ours, "CHECK", &config)?)?;
        assert!(code == 999 && said.contains(words) && !said.contains(';'), "after {deed}: {said}");
        stage.call(&ours, "ADD", &config)?.success()?;
    }
    stage.pod.sh("ip link set eth0 mtu 1399 txqueuelen 78")?;
    let (_, said) = refusal(&stage.call(&ours, "CHECK", &config)?)?;
    assert!(said.contains("MTU") && said.contains("Queue"), "{said}");
    // Somebody looks: no drift of a configuration that does not speak of it.
    stage.pod.sh("ip link set eth0 promisc on")?;
    stage.call(&ours, "CHECK", &stage.config("1.1.0", &json!({"mtu": 1399})))?.success()?;
    stage.pod.sh("ip link del eth0")?;
    let (_, said) = refusal(&stage.call(&ours, "CHECK", &config)?)?;
    assert!(said.contains("Cannot find container link eth0"), "{said}");
    Ok(())
}

#[test]
fn del_needs_no_namespace_and_touches_no_strangers_interface() -> Result<()> {
    let stage = Stage::new("del", PLUGIN)?;
    let ours = Suite::ours()?;
    let stranger = stage.lab.pod(&stage.node, "stranger")?;
    stage.connect("veth1", "eth0", &stranger, "02:00:00:00:00:33")?;
    let fifo = stage.lab.pod(&stage.node, "unused")?.scratch_file("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU)?;
    let config = stage.config("1.1.0", &everything());
    for netns in [std::path::Path::new(""), "/run/netns/gone".as_ref(), "/etc/passwd".as_ref(), &fifo, stranger.netns()]
    {
        stage.call(&ours, "ADD", &config)?.success()?;
        assert!(backup(&stage, BACKUP)?.is_some());
        let call = Call { netns, args: "junk", ..Call::new("container", &stage.pod) };
        let mut junk = config.clone();
        junk["mtu"] = "many".into();
        stage.call_as(&ours, "DEL", &call, &junk)?.success()?;
        assert_eq!(backup(&stage, BACKUP)?, None, "{}", netns.display());
    }
    let theirs = stranger.sh("ip -br link show dev eth0")?;
    assert!(theirs.contains("02:00:00:00:00:33"), "another container's interface was changed: {theirs}");
    // A data directory that is a file, a back-up that is nonsense.
    let broken = stage.config("1.1.0", &json!({"dataDir": "/run/file"}));
    stage.node.write("run/file", "")?;
    stage.call(&ours, "DEL", &broken)?.success()?;
    stage.node.write(BACKUP, "{\"mtu\": ")?;
    stage.call(&ours, "DEL", &config)?.success()?;
    assert!(!stage.node.dir().join(BACKUP).exists());
    Ok(())
}

#[test]
fn gc_removes_the_back_ups_of_this_network_that_are_nobodys() -> Result<()> {
    let [reference, ours] = suites()?;
    let stage = Stage::new("gc", PLUGIN)?;
    let config = stage.config("1.1.0", &json!({"mtu": 1400}));
    let mut other = config.clone();
    other["name"] = "other".into();
    for (suite, container, config) in [
        (&ours, "kept", &config),
        (&ours, "dead", &config),
        (&ours, "elsewhere", &other),
        (&reference, "theirs", &config),
    ] {
        stage.call_as(suite, "ADD", &Call::new(container, &stage.pod), config)?.success()?;
    }
    let left = || -> Result<Vec<String>> {
        let entries = std::fs::read_dir(stage.node.dir().join("run/cni/tuning"))?.flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        Ok(names)
    };
    let all = left()?;
    stage.call(&ours, "GC", &config)?.success()?;
    assert_eq!(left()?, all, "without a list nothing may be removed");
    let mut valid = config.clone();
    valid["cni.dev/valid-attachments"] = json!([{"containerID": "kept", "ifname": "eth0"}]);
    stage.call(&ours, "GC", &valid)?.success()?;
    assert_eq!(left()?, ["elsewhere_eth0.json", "kept_eth0.json", "theirs_eth0.json"]);
    Ok(())
}

#[test]
fn status_tells_what_an_add_would_miss() -> Result<()> {
    let stage = Stage::new("status", PLUGIN)?;
    let ours = Suite::ours()?;
    let sysctl = stage.config("1.1.0", &json!({"sysctl": {"net.ipv4.ip_forward": "1"}}));
    stage.call(&ours, "STATUS", &sysctl)?.success()?;
    let read_only = ["unshare", "-m", "sh", "-c", "mount -o bind,ro /proc/sys /proc/sys && exec \"$0\" \"$@\""];
    let (code, said) = refusal(&stage.call_under(&ours, &read_only, "STATUS", &sysctl)?)?;
    assert!(code == 51 && said.contains("/proc/sys is mounted read-only"), "{code}: {said}");
    // What is right already needs no writing.
    stage.pod.sh("sysctl -qw net.ipv4.ip_forward=1")?;
    stage.call_under(&ours, &read_only, "ADD", &sysctl)?.success()?;
    stage.node.write("run/file", "")?;
    let nowhere = stage.config("1.1.0", &json!({"mtu": 1400, "dataDir": "/run/file/below"}));
    let (code, said) = refusal(&stage.call(&ours, "STATUS", &nowhere)?)?;
    assert!(code == 51 && said.contains("/run/file is not a directory"), "{code}: {said}");
    Ok(())
}

#[test]
fn the_administrators_list_is_obeyed() -> Result<()> {
    let stage = Stage::new("allowed", PLUGIN)?;
    let list = "mount -t tmpfs none /etc && mkdir -p /etc/cni/tuning && \
                printf '^net\\\\.ipv4\\\\.conf\\\\.IFNAME\\\\.[a-z_]*$\\n\\n  arp_ignore\\n' > /etc/cni/tuning/allowlist.conf && exec \"$0\" \"$@\"";
    for suite in suites()? {
        for (key, wanted) in [
            ("net.ipv4.conf.IFNAME.arp_filter", true),
            ("net/ipv4/conf/eth0/arp_ignore", true),
            ("net.ipv4.conf.all.arp_filter", false),
        ] {
            let config = stage.config("1.0.0", &json!({"sysctl": {key: "1"}}));
            let called = stage.call_under(&suite, &["unshare", "-m", "sh", "-c", list], "ADD", &config)?;
            assert_eq!(called.status.success(), wanted, "{} {key}: {}", suite.name, called.stdout_text());
            if !wanted {
                let lines = "^net\\.ipv4\\.conf\\.IFNAME\\.[a-z_]*$ arp_ignore";
                let text = format!("Sysctl {key} is not allowed. Only the following sysctls are allowed: [{lines}]");
                assert_eq!(refusal(&called)?.1, text, "{}", suite.name);
            }
        }
    }
    Ok(())
}
