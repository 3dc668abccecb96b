mod model;

use std::fs;
use std::path::Path;

use fairlead_protocol::Io;
use serde_json::{Value, json};

use super::*;

/// A network in a directory of its own.
struct Network {
    root: tempfile::TempDir,
    version: &'static str,
    subnets: Vec<&'static str>,
}

impl Network {
    fn new(subnets: &[&'static str]) -> Self {
        Network { root: tempfile::tempdir().unwrap(), version: "1.1.0", subnets: subnets.to_vec() }
    }

    fn config(&self) -> Value {
        let ranges: Vec<Value> = self.subnets.iter().map(|subnet| json!([{"subnet": subnet}])).collect();
        json!({
            "cniVersion": self.version, "name": "net", "type": "bridge",
            "ipam": {"type": "host-local", "dataDir": self.root.path(), "ranges": ranges,
                     "routes": [{"dst": "0.0.0.0/0"}]},
        })
    }

    fn directory(&self) -> std::path::PathBuf {
        self.root.path().join("net")
    }

    fn call(&self, command: &str, id: &str) -> Result<Value, (u64, String)> {
        call(command, id, &self.config())
    }

    fn addresses(&self, id: &str) -> Vec<String> {
        let result = self.call("ADD", id).unwrap();
        result["ips"].as_array().unwrap().iter().map(|ip| ip["address"].as_str().unwrap().to_owned()).collect()
    }
}

fn call(command: &str, id: &str, config: &Value) -> Result<Value, (u64, String)> {
    let env = |name: &str| {
        let value = match name {
            "CNI_COMMAND" => command,
            "CNI_CONTAINERID" => id,
            "CNI_IFNAME" => "eth0",
            "CNI_ARGS" => return None,
            _ => "/nowhere",
        };
        Some(value.to_owned())
    };
    let text = config.to_string();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut io = Io { env: &env, stdin: &mut text.as_bytes(), stdout: &mut stdout, stderr: &mut stderr };
    let status = fairlead_protocol::run(&HostLocal, &[], &mut io);
    let said: Value = if stdout.is_empty() { Value::Null } else { serde_json::from_slice(&stdout).unwrap() };
    if status == 0 {
        return Ok(said);
    }
    Err((said["code"].as_u64().unwrap(), said["msg"].as_str().unwrap().to_owned()))
}

fn leases(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.parse::<std::net::IpAddr>().is_ok())
        .collect();
    names.sort();
    names
}

#[test]
fn a_pod_comes_and_goes_in_every_version() {
    for version in ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let network = Network { version, ..Network::new(&["10.1.2.0/24", "fd00:1::/64"]) };
        let result = network.call("ADD", "a").unwrap();
        let expected = match version {
            "0.1.0" | "0.2.0" => json!({
                "cniVersion": version,
                "ip4": {"ip": "10.1.2.2/24", "gateway": "10.1.2.1", "routes": [{"dst": "0.0.0.0/0"}]},
                "ip6": {"ip": "fd00:1::2/64", "gateway": "fd00:1::1"},
                "dns": {},
            }),
            "0.3.0" | "0.3.1" | "0.4.0" => json!({
                "cniVersion": version,
                "ips": [{"version": "4", "address": "10.1.2.2/24", "gateway": "10.1.2.1"},
                        {"version": "6", "address": "fd00:1::2/64", "gateway": "fd00:1::1"}],
                "routes": [{"dst": "0.0.0.0/0"}],
                "dns": {},
            }),
            _ => json!({
                "cniVersion": version,
                "ips": [{"address": "10.1.2.2/24", "gateway": "10.1.2.1"},
                        {"address": "fd00:1::2/64", "gateway": "fd00:1::1"}],
                "routes": [{"dst": "0.0.0.0/0"}],
            }),
        };
        assert_eq!(result, expected);
        assert_eq!(leases(&network.directory()), ["10.1.2.2", "fd00:1::2"]);
        if version >= "0.4.0" {
            network.call("CHECK", "a").unwrap();
            let (_, msg) = network.call("CHECK", "b").unwrap_err();
            assert_eq!(msg, "host-local: Failed to find address added by container b");
        }
        assert!(network.call("ADD", "a").unwrap_err().1.contains("duplicate allocation is not allowed"));
        for _ in 0..2 {
            assert_eq!(network.call("DEL", "a"), Ok(Value::Null));
            assert!(leases(&network.directory()).is_empty());
        }
    }
}

#[test]
fn round_robin_passes_over_addresses_that_have_just_become_free() {
    let network = Network::new(&["10.0.0.0/29"]);
    for expected in ["2", "3", "4", "5", "6", "2"] {
        assert_eq!(network.addresses("a"), [format!("10.0.0.{expected}/29")]);
        network.call("DEL", "a").unwrap();
    }
}

#[test]
fn a_pool_of_one_serves_one_and_says_so() {
    let network = Network::new(&["10.0.0.0/30"]);
    network.call("STATUS", "").unwrap();
    assert!(!network.directory().exists(), "asking makes nothing");
    assert_eq!(network.addresses("a"), ["10.0.0.2/30"]);
    let full = "no IP addresses available in range set: 10.0.0.1-10.0.0.2";
    assert_eq!(network.call("ADD", "b"), Err((11, format!("failed to allocate for range 0: {full}"))));
    assert_eq!(network.call("STATUS", ""), Err((50, full.into())));
    network.call("DEL", "a").unwrap();
    network.call("STATUS", "").unwrap();
    assert_eq!(network.addresses("b"), ["10.0.0.2/30"]);
}

#[test]
fn both_families_or_none() {
    let network = Network::new(&["10.0.0.0/24", "fd00::/126"]);
    for id in ["a", "b"] {
        network.call("ADD", id).unwrap();
    }
    let (code, msg) = network.call("ADD", "c").unwrap_err();
    assert_eq!((code, msg.contains("range 1")), (11, true), "{msg}");
    assert_eq!(leases(&network.directory()), ["10.0.0.2", "10.0.0.3", "fd00::2", "fd00::3"]);
}

#[test]
fn gc_keeps_exactly_the_valid_ones_and_without_a_list_everything() {
    let network = Network::new(&["10.0.0.0/24"]);
    for id in ["a", "b", "c"] {
        network.call("ADD", id).unwrap();
    }
    network.call("GC", "").unwrap();
    assert_eq!(leases(&network.directory()).len(), 3);
    let mut config = network.config();
    config["cni.dev/valid-attachments"] =
        json!([{"containerID": "b", "ifname": "eth0"}, {"containerID": "c", "ifname": "eth1"}]);
    call("GC", "", &config).unwrap();
    assert_eq!(leases(&network.directory()), ["10.0.0.3"]);
    config["cni.dev/valid-attachments"] = json!([]);
    call("GC", "", &config).unwrap();
    assert!(leases(&network.directory()).is_empty());
}

#[test]
fn del_needs_neither_a_good_configuration_nor_a_directory() {
    let network = Network::new(&["10.0.0.0/24"]);
    network.call("ADD", "a").unwrap();
    let mut config = network.config();
    config["ipam"]["ranges"] = json!("nonsense");
    config["args"] = json!(5);
    call("DEL", "a", &config).unwrap();
    assert!(leases(&network.directory()).is_empty());

    let nowhere = Network::new(&["10.0.0.0/24"]);
    nowhere.call("DEL", "a").unwrap();
    assert!(!nowhere.directory().exists(), "DEL makes nothing");

    fs::write(nowhere.directory(), "").unwrap();
    nowhere.call("DEL", "a").unwrap();
    assert_eq!(nowhere.call("ADD", "a").unwrap_err().0, 5);
    assert_eq!(nowhere.call("STATUS", "").unwrap_err().0, 50);
    let below = json!({"cniVersion": "1.1.0", "name": "x", "ipam": {"dataDir": nowhere.directory()}});
    call("DEL", "a", &below).unwrap();
}

#[test]
fn name_servers_come_from_the_file_that_is_named() {
    let network = Network::new(&["10.0.0.0/24"]);
    let file = network.root.path().join("resolv.conf");
    let mut config = network.config();
    config["ipam"]["resolvConf"] = json!(file);
    let (code, msg) = call("ADD", "a", &config).unwrap_err();
    assert_eq!(code, 5);
    assert!(msg.starts_with(&format!("open {}: ", file.display())), "{msg}");
    assert!(!network.directory().exists(), "refused before anything was made");
    fs::write(&file, "nameserver 192.0.2.3\nsearch example.com\n").unwrap();
    let result = call("ADD", "a", &config).unwrap();
    assert_eq!(result["dns"], json!({"nameservers": ["192.0.2.3"], "search": ["example.com"]}));
}
