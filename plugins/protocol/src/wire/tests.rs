use std::net::IpAddr;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{CniResult, Dns, Interface, IpConfig, Route, Version, gojson};

fn full() -> CniResult {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let interface = |name: &str, sandbox: &str| Interface {
        name: name.into(),
        mac: "00:11:22:33:44:55".into(),
        mtu: 1500,
        sandbox: sandbox.into(),
        socket_path: "/path/to/vhost/fd".into(),
        pci_id: "8086:9a01".into(),
    };
    let mut table = Route::new("1.2.3.0/24".parse().unwrap(), None);
    (table.mtu, table.advmss, table.priority, table.table, table.scope) = (1400, 1360, 7, Some(0), Some(0));
    CniResult {
        interfaces: vec![interface("cni0", ""), interface("eth0", "/run/netns/x")],
        ips: vec![
            IpConfig { interface: Some(0), ..IpConfig::new("1.2.3.30/24".parse().unwrap(), Some(ip("1.2.3.1"))) },
            IpConfig { interface: None, ..IpConfig::new("abcd:1234::5/64".parse().unwrap(), None) },
            IpConfig { interface: Some(-1), ..IpConfig::new("1.2.4.30/24".parse().unwrap(), None) },
        ],
        routes: vec![
            Route::new("15.5.6.0/24".parse().unwrap(), Some(ip("15.5.6.8"))),
            Route::new("1111:dddd::/80".parse().unwrap(), Some(ip("1111:dddd::aaaa"))),
            table,
        ],
        dns: Dns {
            nameservers: vec!["1.2.3.4".into()],
            domain: "a&b".into(),
            search: vec!["s".into()],
            options: vec![],
        },
    }
}

#[test]
fn the_newest_form_is_alphabetical_and_keeps_everything() {
    let text = r#"{
    "cniVersion": "1.1.0",
    "dns": {
        "domain": "a\u0026b",
        "nameservers": [
            "1.2.3.4"
        ],
        "search": [
            "s"
        ]
    },
    "interfaces": [
        {
            "mac": "00:11:22:33:44:55",
            "mtu": 1500,
            "name": "cni0",
            "pciID": "8086:9a01",
            "socketPath": "/path/to/vhost/fd"
        },
        {
            "mac": "00:11:22:33:44:55",
            "mtu": 1500,
            "name": "eth0",
            "pciID": "8086:9a01",
            "sandbox": "/run/netns/x",
            "socketPath": "/path/to/vhost/fd"
        }
    ],
    "ips": [
        {
            "address": "1.2.3.30/24",
            "gateway": "1.2.3.1",
            "interface": 0
        },
        {
            "address": "abcd:1234::5/64"
        },
        {
            "address": "1.2.4.30/24",
            "interface": -1
        }
    ],
    "routes": [
        {
            "dst": "15.5.6.0/24",
            "gw": "15.5.6.8"
        },
        {
            "dst": "1111:dddd::/80",
            "gw": "1111:dddd::aaaa"
        },
        {
            "advmss": 1360,
            "dst": "1.2.3.0/24",
            "mtu": 1400,
            "priority": 7,
            "scope": 0,
            "table": 0
        }
    ]
}"#;
    assert_eq!(pretty(&encode(&full(), Version::V1_1_0).unwrap()), text);
}

#[test]
fn the_middle_form_has_struct_order_a_version_per_address_and_dns_always() {
    let result = CniResult { dns: Dns::default(), ..full() };
    let value = encode(&result, Version::V0_3_1).unwrap();
    let text = value.to_string();
    assert!(
        text.starts_with(r#"{"cniVersion":"0.3.1","interfaces":[{"name":"cni0","mac":"00:11:22:33:44:55"}"#),
        "{text}"
    );
    assert!(
        text.contains(r#""ips":[{"version":"4","interface":0,"address":"1.2.3.30/24","gateway":"1.2.3.1"}"#),
        "{text}"
    );
    assert!(
        text.contains(r#"{"dst":"1.2.3.0/24","mtu":1400,"advmss":1360,"priority":7,"table":0,"scope":0}"#),
        "{text}"
    );
    assert!(text.ends_with(r#""dns":{}}"#), "{text}");
}

#[test]
fn the_oldest_form_has_one_address_a_family_with_its_routes() {
    let value = encode(&full(), Version::V0_2_0).unwrap();
    let expected = json!({
        "cniVersion": "0.2.0",
        "ip4": {"ip": "1.2.3.30/24", "gateway": "1.2.3.1",
                "routes": [{"dst": "15.5.6.0/24", "gw": "15.5.6.8"}, {"dst": "1.2.3.0/24"}]},
        "ip6": {"ip": "abcd:1234::5/64", "routes": [{"dst": "1111:dddd::/80", "gw": "1111:dddd::aaaa"}]},
        "dns": {"nameservers": ["1.2.3.4"], "domain": "a&b", "search": ["s"]},
    });
    assert_eq!(value.to_string(), expected.to_string());
}

#[test]
fn the_oldest_form_cannot_say_a_result_without_addresses() {
    let result = CniResult { ips: Vec::new(), ..full() };
    let error = encode(&result, Version::V0_1_0).unwrap_err();
    assert_eq!(error.msg, "cannot convert: no valid IP addresses");
    assert!(encode(&result, Version::V0_3_0).is_ok());
}

#[test]
fn empty_lists_are_left_out() {
    assert_eq!(encode(&CniResult::default(), Version::V1_0_0).unwrap(), json!({"cniVersion": "1.0.0"}));
    assert_eq!(encode(&CniResult::default(), Version::V0_4_0).unwrap(), json!({"cniVersion": "0.4.0", "dns": {}}));
}

#[test]
fn a_previous_result_without_a_version_has_the_configurations() {
    let read = |value, version| decode_prev_result(&value, version).map(|result| result.ips.len());
    let new = json!({"ips": [{"address": "10.0.0.2/24"}]});
    assert_eq!(read(new.clone(), Version::V1_0_0), Ok(1));
    assert_eq!(read(json!({"ip4": {"ip": "10.0.0.2/24"}}), Version::V0_1_0), Ok(1));
    // Same generation: fine. Another: refused.
    let said = |version: &str| json!({"cniVersion": version, "ips": [{"address": "10.0.0.2/24"}]});
    assert_eq!(read(said("1.0.0"), Version::V1_1_0), Ok(1));
    assert_eq!(read(said("0.3.0"), Version::V0_4_0), Ok(1));
    assert_eq!(
        read(said("0.4.0"), Version::V1_1_0),
        Err("result type supports [1.0.0 1.1.0] but unmarshalled CNIVersion is \"0.4.0\"".into())
    );
    assert_eq!(
        read(said("1.0.0"), Version::V0_2_0),
        Err("result type supports [ 0.1.0 0.2.0] but unmarshalled CNIVersion is \"1.0.0\"".into())
    );
}

#[test]
fn a_delegates_result_may_be_old_bare_or_null() {
    let read = |text: &str| decode_delegate_result(text.as_bytes(), Version::V1_1_0);
    assert_eq!(read("null"), Ok(CniResult::default()));
    assert_eq!(read("{}"), Ok(CniResult::default()));
    assert_eq!(read(r#"{"cniVersion": "0.2.0", "ip4": {"ip": "10.0.0.2/24"}}"#).unwrap().ips.len(), 1);
    assert_eq!(read(r#"{"IPs": [{"Address": "10.0.0.2/24", "interface": null}]}"#).unwrap().ips[0].interface, None);
    for bad in ["", "[]", r#"{"cniVersion": "9.9.9"}"#, r#"{"ips": [{}]}"#, r#"{"ips": [{"address": "10.0.0.2"}]}"#] {
        assert!(read(bad).is_err(), "{bad}");
    }
}

#[test]
fn errors_in_a_result_name_the_place() {
    let error =
        decode_delegate_result(br#"{"routes": [{"dst": "1.0.0.0/8", "gw": "x"}]}"#, Version::V1_1_0).unwrap_err();
    assert_eq!(error, "routes[0].gw: invalid IP address: x");
}

fn any_result() -> impl Strategy<Value = CniResult> {
    let v4 = (any::<[u8; 4]>(), 0u8..=32).prop_map(|(ip, prefix)| ipnet::IpNet::new(ip.into(), prefix).unwrap());
    let v6 = (any::<[u8; 16]>(), 0u8..=128)
        .prop_filter("mapped addresses are IPv4", |(ip, _)| IpAddr::from(*ip).to_canonical().is_ipv6())
        .prop_map(|(ip, prefix)| ipnet::IpNet::new(ip.into(), prefix).unwrap());
    let net = prop_oneof![v4, v6].boxed();
    let ip = (proptest::option::of(-1i64..4), net.clone(), proptest::option::of(net.clone()))
        .prop_map(|(i, net, gw)| IpConfig { interface: i, address: net, gateway: gw.map(|gw| gw.addr()) });
    let route = (net.clone(), proptest::option::of(net), any::<(u16, u16, u32)>(), any::<(Option<u32>, Option<u8>)>())
        .prop_map(|(dst, gw, (mtu, advmss, priority), (table, scope))| Route {
            dst,
            gw: gw.map(|gw| gw.addr()),
            mtu: mtu.into(),
            advmss: advmss.into(),
            priority,
            table,
            scope,
        });
    let interface = ("[a-z0-9<>&\u{e4}]{1,15}", any::<u16>(), "[a-z/]{0,9}")
        .prop_map(|(name, mtu, sandbox)| Interface { name, mtu: mtu.into(), sandbox, ..Interface::default() });
    let dns = proptest::collection::vec("[a-z\u{2028}\"]{1,5}", 0..3);
    (
        proptest::collection::vec(interface, 0..4),
        proptest::collection::vec(ip, 0..4),
        proptest::collection::vec(route, 0..4),
        dns,
    )
        .prop_map(|(interfaces, ips, routes, search)| CniResult {
            interfaces,
            ips,
            routes,
            dns: Dns { search, ..Dns::default() },
        })
}

proptest! {
    #[test]
    fn a_result_survives_every_version_that_can_say_it(result in any_result()) {
        for version in Version::ALL {
            let Ok(value) = encode(&result, version) else {
                prop_assert!(version.results_need_an_address() && result.ips.is_empty());
                continue;
            };
            let text = pretty(&value);
            let escaped = !text.contains(['<', '>', '&', char::from_u32(0x2028).unwrap()]);
            prop_assert!(escaped);
            let back = decode_delegate_result(text.as_bytes(), Version::NEWEST).unwrap();
            let mut expected = result.clone();
            if version < Version::V1_0_0 {
                expected.interfaces.iter_mut().for_each(|interface| interface.mtu = 0);
            }
            if version.results_need_an_address() {
                expected.interfaces.clear();
                prop_assert!(back.ips.len() <= 2);
                prop_assert!(back.ips.iter().all(|ip| ip.interface.is_none()));
                prop_assert!(back.ips.iter().all(|ip| result.ips.iter().any(|was| was.address == ip.address)));
            } else {
                prop_assert_eq!(&back, &expected);
            }
            // And saying it again says the same.
            prop_assert_eq!(encode(&back, version).unwrap(), value);
        }
    }

    #[test]
    fn no_document_makes_the_reader_panic(text in ".{0,60}", version in 0usize..7) {
        let _ = gojson::parse(text.as_bytes());
        let _ = decode_delegate_result(text.as_bytes(), Version::ALL[version]);
        let shaped = format!(r#"{{"cniVersion":"1.1.0","ips":[{{"address":{text:?}}}],"routes":[{{"dst":{text:?}}}]}}"#);
        let _ = decode_delegate_result(shaped.as_bytes(), Version::ALL[version]);
    }
}
