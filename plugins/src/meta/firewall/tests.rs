//! Configuration and plan, without a kernel.

use fairlead_protocol::CniResult;
use serde_json::{Value, json};

use super::config::{Backend, Config, Ingress};
use super::plan::{Isolation, Plan};
use crate::specimen::request;

fn config(keys: Value) -> Result<Config, String> {
    Config::load(&request(&keys, ""))
        .map_err(|error| format!("{} {}: {}", error.code.number(), error.msg, error.details))
}

#[test]
fn every_key_is_read_with_its_default() {
    let plain = config(json!({})).unwrap();
    let expected = Config {
        backend: Backend::Automatic,
        admin_chain: "CNI-ADMIN".into(),
        zone: "trusted".into(),
        ingress: Ingress::Open,
    };
    assert_eq!(plain, expected);
    let all = config(json!({
        "Backend": "firewalld", "iptablesAdminChainName": "MINE", "firewalldZone": "cni", "ingresspolicy": "isolated"
    }));
    let expected = Config {
        backend: Backend::Firewalld,
        admin_chain: "MINE".into(),
        zone: "cni".into(),
        ingress: Ingress::Isolated,
    };
    assert_eq!(all.unwrap(), expected);
    for (word, backend) in [("iptables", Backend::Iptables), ("", Backend::Automatic), ("nft", Backend::Automatic)] {
        assert_eq!(config(json!({"backend": word})).unwrap().backend, backend);
    }
    for (word, ingress) in [("", Ingress::Open), ("open", Ingress::Open), ("same-bridge", Ingress::SameBridge)] {
        assert_eq!(config(json!({"ingressPolicy": word})).unwrap().ingress, ingress);
    }
}

#[test]
fn nonsense_is_refused_in_words() {
    let rows = [
        (json!({"ingressPolicy": "closed"}), "7 unknown ingress policy: \"closed\""),
        (json!({"ingressPolicy": 1}), "6 failed to load netconf: ingressPolicy"),
        (json!({"iptablesAdminChainName": "CNI-FORWARD"}), "7 iptablesAdminChainName \"CNI-FORWARD\""),
        (json!({"iptablesAdminChainName": "-x"}), "7 iptablesAdminChainName \"-x\""),
        (json!({"iptablesAdminChainName": "a b"}), "7 iptablesAdminChainName \"a b\""),
        (json!({"iptablesAdminChainName": "a".repeat(29)}), "at most 28"),
    ];
    for (keys, words) in rows {
        let said = config(keys).unwrap_err();
        assert!(said.contains(words), "{words:?} is not in {said:?}");
    }
}

#[test]
fn del_takes_what_it_can_read() {
    let lenient = |keys: Value| Config::load_lenient(&request(&keys, ""));
    let half = lenient(json!({"ingressPolicy": "closed", "firewalldZone": "cni", "backend": "firewalld"}));
    assert_eq!((&half.zone[..], half.backend), ("cni", Backend::Firewalld));
    assert_eq!(lenient(json!({"backend": 7})).zone, "trusted");
}

fn result(interfaces: Value, addresses: &[&str]) -> CniResult {
    let ips: Vec<Value> = addresses.iter().map(|address| json!({"address": address})).collect();
    let value = json!({"cniVersion": "1.1.0", "interfaces": interfaces, "ips": ips});
    CniResult::from_value(&value, "1.1.0").unwrap().0
}

fn bridged() -> Value {
    json!([{"name": "cni0"}, {"name": "veth1"}, {"name": "eth0", "sandbox": "/run/netns/x"}])
}

#[test]
fn the_bridge_and_the_port_are_those_of_the_result() {
    let plan = |policy: &str| {
        let config = config(json!({"ingressPolicy": policy})).unwrap();
        Plan::new(&config, &result(bridged(), &["10.1.0.2/16", "fd00::2/64", "10.1.0.2/16"])).unwrap()
    };
    assert_eq!(plan("open").isolation, None);
    assert_eq!(plan("open").addresses.len(), 2, "each once");
    let shut = Isolation { bridge: "cni0".into(), port: None, strict: false };
    assert_eq!(plan("same-bridge").isolation, Some(shut));
    let shut = Isolation { bridge: "cni0".into(), port: Some("veth1".into()), strict: true };
    assert_eq!(plan("isolated").isolation, Some(shut));
}

#[test]
fn a_policy_without_a_bridge_is_refused_and_without_an_address_is_nothing() {
    let config = config(json!({"ingressPolicy": "same-bridge"})).unwrap();
    let refused = |interfaces: Value| Plan::new(&config, &result(interfaces, &["10.1.0.2/16"])).unwrap_err().msg;
    assert!(refused(json!([])).starts_with("interface needs to be set for ingress policy \"same-bridge\""));
    assert!(refused(json!([{"name": ""}])).contains("got empty bridge name"));
    assert!(refused(json!([{"name": "eth0", "sandbox": "/run/netns/x"}])).contains("eth0 is no bridge of the node"));
    assert_eq!(Plan::new(&config, &result(bridged(), &[])).unwrap().isolation, None);
}
