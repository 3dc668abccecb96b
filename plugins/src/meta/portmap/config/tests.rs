use serde_json::{Value, json};

use super::*;
use crate::specimen::request;

fn load(config: &Value) -> Result<Config, CniError> {
    Config::load(&request(config, ""))
}

fn refused(config: &Value) -> String {
    load(config).unwrap_err().to_string()
}

fn mapped(mapping: &Value) -> Value {
    json!({"runtimeConfig": {"portMappings": [mapping]}})
}

#[test]
fn an_add_has_what_the_reference_reads() {
    let config = load(&json!({
        "backend": "iptables", "snat": false,
        "conditionsV4": ["-s", "1.2.3.4"], "conditionsV6": ["!", "-s", "12::34"],
        "runtimeConfig": {"portMappings": [
            {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
            {"hostPort": 8081, "containerPort": 81, "protocol": "UDP", "hostIP": "::ffff:192.0.2.1"}
        ]}
    }))
    .unwrap();
    assert_eq!((config.snat, config.masquerade_all, config.mark_bit), (false, false, 13));
    assert_eq!(config.conditions_v4.to_string(), "ip saddr 1.2.3.4/32");
    assert_eq!(config.conditions_v6.to_string(), "ip6 saddr != 12::34/128");
    let [first, second] = &config.mappings[..] else { panic!("{:?}", config.mappings) };
    assert_eq!(first, &Mapping { protocol: 6, host_ip: None, host_port: 8080, container_port: 80 });
    let host_ip = Some("192.0.2.1".parse().unwrap());
    assert_eq!(second, &Mapping { protocol: 17, host_ip, host_port: 8081, container_port: 81 });
}

#[test]
fn nothing_said_is_what_the_reference_makes_of_it() {
    let config = load(&json!({})).unwrap();
    assert_eq!((config.snat, config.masquerade_all, config.mark_bit), (true, false, 13));
    assert!(config.mappings.is_empty() && config.conditions_v4.is_empty() && config.conditions_v6.is_empty());
    let null =
        load(&json!({"backend": null, "snat": null, "markMasqBit": null, "conditionsV4": null, "runtimeConfig": null}));
    assert_eq!(null.unwrap(), config);
}

#[test]
fn a_backend_by_name_wants_its_own_language_and_none_takes_both() {
    let nft = json!({"conditionsV4": ["ip", "saddr", "1.2.3.4"], "conditionsV6": ["ip6", "saddr", "12::34"]});
    let iptables = json!({"conditionsV4": ["-s", "1.2.3.4"], "conditionsV6": ["-s", "12::34"]});
    let with = |config: &Value, backend: &str| {
        let mut config = config.clone();
        config["backend"] = backend.into();
        config
    };
    for good in [with(&nft, "nftables"), with(&iptables, "iptables"), with(&nft, ""), nft.clone(), iptables.clone()] {
        assert!(load(&good).is_ok(), "{good}");
    }
    assert_eq!(
        refused(&with(&nft, "iptables")),
        "iptables backend was requested but configuration contains nftables-specific options [conditionsV4 conditionsV6]"
    );
    assert_eq!(
        refused(
            &json!({"backend": "nftables", "externalSetMarkChain": "KUBE-MARK-MASQ", "conditionsV6": ["!", "-s", "::1"]})
        ),
        "nftables backend was requested but configuration contains iptables-specific options [externalSetMarkChain conditionsV6]"
    );
    assert!(refused(&json!({"backend": "pf"})).starts_with("unrecognized backend \"pf\""));
}

#[test]
fn a_mark_is_a_bit_or_somebody_elses() {
    assert_eq!(load(&json!({"markMasqBit": 0})).unwrap().mark_bit, 0);
    assert_eq!(load(&json!({"markMasqBit": 31})).unwrap().mark_bit, 31);
    assert_eq!(load(&json!({"externalSetMarkChain": "KUBE-MARK-MASQ"})).unwrap().mark_bit, 13);
    for bit in [-1, 32, 1_i64 << 40] {
        assert!(refused(&json!({"markMasqBit": bit})).starts_with("MasqMarkBit must be between 0 and 31"));
    }
    let both = json!({"markMasqBit": 3, "externalSetMarkChain": "X"});
    assert_eq!(refused(&both), "Cannot specify externalSetMarkChain and markMasqBit");
}

#[test]
fn a_mapping_that_makes_no_sense_is_named() {
    let cases = [
        (json!({"hostPort": 0, "containerPort": 80, "protocol": "tcp"}), "Invalid host port number: 0"),
        (json!({"hostPort": 70000, "containerPort": 80, "protocol": "tcp"}), "Invalid host port number: 70000"),
        (json!({"hostPort": 80, "containerPort": -1, "protocol": "tcp"}), "Invalid container port number: -1"),
        (json!({"hostPort": 80, "containerPort": 65536, "protocol": "tcp"}), "Invalid container port number: 65536"),
        (
            json!({"hostPort": 80, "containerPort": 80}),
            "portMappings[0]: protocol is \"\", it must be tcp, udp or sctp",
        ),
        (json!({"hostPort": 80, "containerPort": 80, "protocol": "icmp"}), "protocol is \"icmp\""),
        (json!({"hostPort": 80, "containerPort": 80, "protocol": "tcp", "hostIP": "here"}), "hostIP is \"here\""),
    ];
    for (mapping, wanted) in cases {
        let said = refused(&mapped(&mapping));
        assert!(said.contains(wanted), "{mapping}: {said}");
    }
}
