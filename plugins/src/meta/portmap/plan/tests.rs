use fairlead_protocol::{Interface, IpConfig};
use serde_json::{Value, json};

use super::*;
use crate::specimen::request;

fn interface(name: &str, sandbox: &str) -> Interface {
    Interface { name: name.into(), sandbox: sandbox.into(), ..Interface::default() }
}

/// A dual-stack container behind a bridge.
fn result() -> CniResult {
    let ip = |interface, address: &str| IpConfig { interface, address: address.parse().unwrap(), gateway: None };
    CniResult {
        interfaces: vec![interface("cni0", ""), interface("veth0", ""), interface("eth0", "/run/netns/x")],
        ips: vec![
            ip(Some(0), "192.0.2.9/24"),
            ip(Some(2), "2001:db8:1::2/64"),
            ip(Some(2), "10.0.0.2/24"),
            ip(Some(2), "10.0.0.3/24"),
        ],
        ..CniResult::default()
    }
}

fn plan(config: &Value) -> Plan {
    let config = Config::load(&request(config, "")).unwrap();
    Plan::new(&config, &result(), "eth0").unwrap()
}

fn shown(plan: &Plan) -> Vec<String> {
    plan.forwards().map(Forward::to_string).collect()
}

fn mapping(host_port: u16, container_port: u16, protocol: &str, host_ip: &str) -> Value {
    json!({"hostPort": host_port, "containerPort": container_port, "protocol": protocol, "hostIP": host_ip})
}

#[test]
fn the_references_eight_mappings_in_both_families() {
    let config = json!({"runtimeConfig": {"portMappings": [
        mapping(8080, 80, "tcp", ""), mapping(8081, 80, "tcp", ""), mapping(8080, 81, "udp", ""),
        mapping(8082, 82, "udp", ""), mapping(8083, 83, "tcp", "192.168.0.2"), mapping(8084, 84, "tcp", "0.0.0.0"),
        mapping(8085, 85, "tcp", "2001:db8:a::1"), mapping(8086, 86, "tcp", "::"),
    ]}});
    let plan = plan(&config);
    assert_eq!(
        shown(&plan),
        [
            "tcp port 8080 to 10.0.0.2:80",
            "tcp port 8081 to 10.0.0.2:80",
            "udp port 8080 to 10.0.0.2:81",
            "udp port 8082 to 10.0.0.2:82",
            "tcp 192.168.0.2:8083 to 10.0.0.2:83",
            "tcp port 8084 to 10.0.0.2:84",
            "tcp port 8080 to [2001:db8:1::2]:80",
            "tcp port 8081 to [2001:db8:1::2]:80",
            "udp port 8080 to [2001:db8:1::2]:81",
            "udp port 8082 to [2001:db8:1::2]:82",
            "tcp [2001:db8:a::1]:8085 to [2001:db8:1::2]:85",
            "tcp port 8086 to [2001:db8:1::2]:86",
        ]
    );
    let masquerades: Vec<Masquerade> = plan.groups.iter().map(|group| group.masquerade).collect();
    let from = |net: &str| Masquerade::From(net.parse().unwrap());
    assert_eq!(masquerades, [from("10.0.0.0/24"), from("2001:db8:1::/64")]);
    assert_eq!(plan.loopback_to, Some("10.0.0.2".parse().unwrap()));
}

#[test]
fn what_is_masqueraded_is_what_was_said() {
    let with = |snat: bool, all: bool| {
        plan(&json!({"snat": snat, "masqAll": all, "markMasqBit": 5,
            "runtimeConfig": {"portMappings": [mapping(80, 80, "tcp", "0.0.0.0")]}}))
    };
    let of = |plan: &Plan| (plan.groups[0].masquerade, plan.loopback_to.is_some());
    assert_eq!(of(&with(false, false)), (Masquerade::Nothing, false));
    assert_eq!(of(&with(false, true)), (Masquerade::Nothing, false));
    assert_eq!(of(&with(true, true)), (Masquerade::Everything, true));
    assert_eq!((with(true, false).groups.len(), with(true, false).groups[0].bit), (1, 5));
}

#[test]
fn conditions_are_of_their_family() {
    let plan = plan(&json!({"conditionsV6": ["!", "-s", "12::34"],
        "runtimeConfig": {"portMappings": [mapping(80, 80, "tcp", "")]}}));
    let shown: Vec<String> = plan.groups.iter().map(|group| group.conditions.to_string()).collect();
    assert_eq!(shown, ["", "ip6 saddr != 12::34/128"]);
}

#[test]
fn an_address_of_no_known_interface_is_the_containers() {
    let config =
        Config::load(&request(&json!({"runtimeConfig": {"portMappings": [mapping(80, 80, "tcp", "")]}}), "")).unwrap();
    for index in [None, Some(-1), Some(9)] {
        let mut result = result();
        result.ips.truncate(1);
        result.ips[0].interface = index;
        assert_eq!(shown(&Plan::new(&config, &result, "eth0").unwrap()), ["tcp port 80 to 192.0.2.9:80"], "{index:?}");
    }
    assert_eq!(Plan::new(&config, &result(), "net1").unwrap(), Plan::default(), "another interface's addresses");
}

#[test]
fn one_port_leads_to_one_place() {
    let twice =
        json!({"runtimeConfig": {"portMappings": [mapping(80, 80, "tcp", ""), mapping(80, 80, "TCP", "0.0.0.0")]}});
    assert_eq!(shown(&plan(&twice)).len(), 2, "one for each family");
    let both = json!({"runtimeConfig": {"portMappings": [mapping(80, 80, "tcp", ""), mapping(80, 81, "tcp", "")]}});
    let config = Config::load(&request(&both, "")).unwrap();
    let error = Plan::new(&config, &result(), "eth0").unwrap_err();
    assert!(error.msg.contains("tcp port 80 to 10.0.0.2:80 and tcp port 80 to 10.0.0.2:81"), "{}", error.msg);
}
