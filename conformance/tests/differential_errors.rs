//! What is refused, with which code and which words, on the reference and on ours; and that nothing is left behind.

use anyhow::Result;
use fairlead_conformance::cni::Call;
use fairlead_conformance::differential::{Judge, judge};
use serde_json::{Value, json};

fn good(version: &str) -> Value {
    json!({
        "cniVersion": version, "name": "net", "type": "bridge", "bridge": "cni0", "isGateway": true,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}]]}
    })
}

/// A call of bridge with one variable of the environment changed.
fn with_env(judge: &mut Judge, name: &str, verb: &str, changes: &[(&str, &str)]) -> Result<()> {
    judge.try_call(name, |suite, pod| {
        let job = suite.plugin("bridge", verb, &Call::new("container-1", pod), &good("1.0.0"));
        changes.iter().fold(job, |job, (key, value)| job.env(key, value))
    })
}

/// A call of `plugin` with these bytes on standard input.
fn with_stdin(judge: &mut Judge, plugin: &'static str, name: &str, verb: &str, stdin: &str) -> Result<()> {
    judge.try_call(name, |suite, pod| {
        suite.plugin(plugin, verb, &Call::new("container-1", pod), &Value::Null).stdin(stdin)
    })
}

#[test]
fn a_bad_environment_is_refused_in_the_same_words() -> Result<()> {
    let mut judge = judge("errors-environment")?;
    for verb in ["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"] {
        for variable in ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"] {
            with_env(&mut judge, &format!("{verb} without {variable}"), verb, &[(variable, "")])?;
        }
    }
    with_env(&mut judge, "ADD without three", "ADD", &[("CNI_NETNS", ""), ("CNI_IFNAME", ""), ("CNI_PATH", "")])?;
    with_env(&mut judge, "no command", "", &[])?;
    with_env(&mut judge, "unknown command", "FROB", &[])?;
    for id in ["-x", "a/b", "a b", "ü"] {
        with_env(&mut judge, &format!("container {id}"), "ADD", &[("CNI_CONTAINERID", id)])?;
    }
    for ifname in ["sixteen-letters-", ".", "..", "a/b", "a:b", "a b"] {
        with_env(&mut judge, &format!("interface {ifname}"), "ADD", &[("CNI_IFNAME", ifname)])?;
    }
    judge.finish()
}

#[test]
fn a_bad_namespace_is_refused_and_nothing_is_left() -> Result<()> {
    let mut judge = judge("errors-namespace")?;
    with_env(&mut judge, "ADD to a missing namespace", "ADD", &[("CNI_NETNS", "/run/netns/not-there")])?;
    with_env(&mut judge, "ADD to a file", "ADD", &[("CNI_NETNS", "/etc/passwd")])?;
    with_env(&mut judge, "DEL of a missing namespace", "DEL", &[("CNI_NETNS", "/run/netns/not-there")])?;
    with_env(&mut judge, "ADD as lo", "ADD", &[("CNI_IFNAME", "lo")])?;
    with_env(&mut judge, "ADD without the IPAM plugin", "ADD", &[("CNI_PATH", "/nowhere:/nowhere-else")])?;
    judge.finish()
}

#[test]
fn a_bad_configuration_is_refused_in_the_same_words() -> Result<()> {
    let mut judge = judge("errors-configuration")?;
    for (name, stdin) in [
        ("empty", ""),
        ("broken", "{\"cniVersion\": \"1.0.0\", \"name\": \"net\","),
        ("no name", "{\"cniVersion\": \"1.0.0\"}"),
        ("bad name", "{\"cniVersion\": \"1.0.0\", \"name\": \"a/b\"}"),
        ("unknown version", "{\"cniVersion\": \"9.9.9\", \"name\": \"net\"}"),
        ("no version at all", "{\"name\": \"net\", \"type\": \"bridge\", \"bridge\": \"cni0\"}"),
        ("version of letters", "{\"cniVersion\": \"abc\", \"name\": \"net\"}"),
    ] {
        for verb in ["ADD", "DEL", "CHECK", "GC", "STATUS"] {
            with_stdin(&mut judge, "bridge", &format!("{name}, {verb}"), verb, stdin)?;
        }
    }
    for (verb, version) in [("CHECK", "0.3.1"), ("GC", "1.0.0"), ("STATUS", "1.0.0"), ("CHECK", "1.0.0")] {
        with_stdin(&mut judge, "bridge", &format!("{verb} in {version}"), verb, &good(version).to_string())?;
    }
    judge.finish()
}

#[test]
fn bad_bridge_keys_are_refused_in_the_same_words() -> Result<()> {
    let mut judge = judge("errors-bridge")?;
    for (name, keys) in [
        ("hairpin and promiscuous", json!({"hairpinMode": true, "promiscMode": true})),
        ("vlan too high", json!({"vlan": 5000})),
        ("vlan negative", json!({"vlan": -100})),
        ("address for a disabled interface", json!({"disableContainerInterface": true})),
        ("mtu is text", json!({"mtu": "1500"})),
        ("mtu is a fraction", json!({"mtu": 1450.5})),
        ("unknown masquerade", json!({"ipMasq": true, "ipMasqBackend": "ipchains"})),
        ("trunk from 0", json!({"vlanTrunk": [{"minID": 0, "maxID": 5}]})),
        ("trunk to 4095", json!({"vlanTrunk": [{"minID": 1, "maxID": 4095}]})),
        ("trunk backwards", json!({"vlanTrunk": [{"minID": 9, "maxID": 5}]})),
        ("trunk without end", json!({"vlanTrunk": [{"id": 7}, {"minID": 9}]})),
        ("trunk without begin", json!({"vlanTrunk": [{"maxID": 9}]})),
        ("trunk of 4095", json!({"vlanTrunk": [{"id": 4095}]})),
        ("bridge is lo", json!({"bridge": "lo"})),
        ("ipam of no type", json!({"ipam": {"subnet": "10.88.0.0/24"}})),
        ("unknown ipam", json!({"ipam": {"type": "no-such-plugin"}})),
        ("ipam with a slash", json!({"ipam": {"type": "../bridge"}})),
    ] {
        let mut config = good("1.0.0");
        if let (Value::Object(config), Value::Object(keys)) = (&mut config, keys) {
            config.extend(keys);
        }
        with_stdin(&mut judge, "bridge", name, "ADD", &config.to_string())?;
    }
    judge.finish()
}

#[test]
fn bad_ranges_are_refused_in_the_same_words() -> Result<()> {
    let mut judge = judge("errors-host-local")?;
    let net = "10.88.0.0/24";
    for (name, ipam) in [
        ("no ranges", json!({})),
        ("empty set", json!({"ranges": [[]]})),
        ("too small", json!({"ranges": [[{"subnet": "10.88.0.0/31"}]]})),
        ("host bits", json!({"ranges": [[{"subnet": "10.88.0.1/24"}]]})),
        ("not a subnet", json!({"ranges": [[{"subnet": "10.88.0.0"}]]})),
        ("start outside", json!({"ranges": [[{"subnet": net, "rangeStart": "10.89.0.1"}]]})),
        ("end outside", json!({"ranges": [[{"subnet": net, "rangeEnd": "10.89.0.1"}]]})),
        (
            "end before start",
            json!({"ranges": [[{"subnet": net, "rangeStart": "10.88.0.9", "rangeEnd": "10.88.0.3"}]]}),
        ),
        ("mixed families", json!({"ranges": [[{"subnet": net}, {"subnet": "fd00:88::/64"}]]})),
        ("overlap in a set", json!({"ranges": [[{"subnet": net}, {"subnet": "10.88.0.0/25"}]]})),
        ("overlap of sets", json!({"ranges": [[{"subnet": net}], [{"subnet": "10.88.0.0/16"}]]})),
        ("no resolv.conf", json!({"ranges": [[{"subnet": net}]], "resolvConf": "/nowhere/resolv.conf"})),
        ("route to nonsense", json!({"ranges": [[{"subnet": net}]], "routes": [{"dst": "nonsense"}]})),
    ] {
        for verb in ["ADD", "DEL"] {
            let mut config = json!({"cniVersion": "1.0.0", "name": "net", "type": "bridge", "ipam": ipam});
            config["ipam"]["type"] = "host-local".into();
            with_stdin(&mut judge, "host-local", &format!("{name}, {verb}"), verb, &config.to_string())?;
        }
    }
    with_stdin(&mut judge, "host-local", "no ipam", "ADD", "{\"cniVersion\": \"1.0.0\", \"name\": \"net\"}")?;
    judge.finish()
}
