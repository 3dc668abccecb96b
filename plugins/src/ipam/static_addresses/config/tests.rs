use serde_json::{Value, json};

use super::*;
use crate::specimen;

fn load_with(args: &str, config: Value) -> Result<Config, CniError> {
    Config::load(&specimen::request(&config, args))
}

fn texts(config: &Config) -> Vec<String> {
    let gateway = |ip: &IpConfig| ip.gateway.map(|ip| format!(" via {ip}")).unwrap_or_default();
    config.addresses.iter().map(|ip| format!("{}{}", ip.address, gateway(ip))).collect()
}

fn addresses(args: &str, config: Value) -> Vec<String> {
    texts(&load_with(args, config).unwrap())
}

#[test]
fn every_source_has_its_place() {
    let ipam = json!({"addresses": [{"address": "10.10.0.1/24", "gateway": "10.10.0.254"}]});
    let args = "IP=10.10.0.2/24, 11.11.0.2/16;GATEWAY=10.10.0.9,11.11.0.9";
    let config = ["10.10.0.1/24 via 10.10.0.254"];
    let of_args = ["10.10.0.2/24 via 10.10.0.9", "11.11.0.2/16 via 11.11.0.9"];
    assert_eq!(addresses("", json!({"ipam": ipam})), config);
    assert_eq!(addresses(args, json!({"ipam": ipam})), [&config[..], &of_args].concat());
    assert_eq!(addresses(args, json!({"ipam": {}})), of_args);
    let convention = json!({"cni": {"ips": ["10.10.0.3/24"]}});
    assert_eq!(addresses(args, json!({"ipam": ipam, "args": convention})), ["10.10.0.3/24"]);
    let all = json!({"ipam": ipam, "args": convention, "runtimeConfig": {"ips": ["10.10.0.4/24", "fd00::4/64"]}});
    assert_eq!(addresses(args, all), ["10.10.0.4/24", "fd00::4/64"]);
    let empty = json!({"ipam": ipam, "args": {"cni": {"ips": []}}, "runtimeConfig": {"ips": null}});
    assert_eq!(addresses("", empty), config, "an empty list replaces nothing");
    assert!(addresses("", json!({"ipam": {}})).is_empty());
}

#[test]
fn mistakes_are_refused_in_the_references_words() {
    let refusal = |args: &str, config: Value| load_with(args, config).unwrap_err().to_string();
    let bad = || json!({"cni": {"ips": ["10.0.0.1"]}});
    for (args, config, words) in [
        ("", json!({}), "IPAM config missing 'ipam' key"),
        ("", json!({"runtimeConfig": {"ips": ["10.0.0.1/8"]}}), "IPAM config missing 'ipam' key"),
        (
            "",
            json!({"ipam": {"addresses": [{"address": "10.0.0.1"}]}}),
            "the 'address' field is expected to be in CIDR notation, got: '10.0.0.1'",
        ),
        ("", json!({"ipam": {"addresses": [{}]}}), "the 'address' field is expected to be in CIDR notation, got: ''"),
        ("IP=10.0.0.1", json!({"ipam": {}}), "the 'ip' field is expected to be in CIDR notation, got: '10.0.0.1'"),
        ("IP=10.0.0.1/8;GATEWAY=x", json!({"ipam": {}}), "invalid gateway address: x"),
        ("FOO=bar", json!({"ipam": {}}), "ARGS: unknown args [\"FOO=bar\"]"),
        (
            "",
            json!({"ipam": {}, "args": bad()}),
            "an entry in the 'ips' field is NOT in CIDR notation, got: '10.0.0.1'",
        ),
        (
            "",
            json!({"ipam": {}, "runtimeConfig": bad()["cni"]}),
            "an entry in the 'ips' field is NOT in CIDR notation, got: '10.0.0.1'",
        ),
    ] {
        assert_eq!(refusal(args, config), words);
    }
}
