use fairlead_protocol::Code;
use serde_json::{Value, json};

use super::*;
use crate::specimen;

fn config() -> Value {
    json!({"ipam": {
        "addresses": [{"address": "10.0.0.2/24", "gateway": "10.0.0.1"}, {"address": "fd00::2/64"}],
        "routes": [{"dst": "0.0.0.0/0", "gw": "10.0.0.1"}, {"dst": "0.0.0.0/0", "gw": "10.0.0.9"}],
        "dns": {"nameservers": ["10.0.0.53"], "domain": "example.com", "search": ["a"], "options": ["b"]},
    }})
}

fn check(previous: &Value) -> Result<(), CniError> {
    let mut config = config();
    config["prevResult"] = previous.clone();
    Static.check(&specimen::request(&config, ""))
}

#[test]
fn the_result_is_the_configuration() {
    let result = Static.add(&specimen::request(&config(), "")).unwrap();
    let dns = config()["ipam"]["dns"].clone();
    let expected = json!({
        "cniVersion": "1.1.0",
        "ips": [{"address": "10.0.0.2/24", "gateway": "10.0.0.1"}, {"address": "fd00::2/64"}],
        "routes": [{"dst": "0.0.0.0/0", "gw": "10.0.0.1"}, {"dst": "0.0.0.0/0", "gw": "10.0.0.9"}],
        "dns": dns,
    });
    assert_eq!(result.to_value(fairlead_protocol::Version::NEWEST).unwrap(), expected);
    for verb in [Static::del, Static::gc] {
        verb(&Static, &specimen::request(&json!({"ipam": 5}), "junk")).unwrap();
    }
    Static.status(&specimen::request(&config(), "")).unwrap();
    assert_eq!(Static.status(&specimen::request(&json!({}), "")).unwrap_err().code, Code::InvalidConfig);
}

#[test]
fn check_compares_addresses_prefixes_and_gateways() {
    let ips =
        |first: Value| json!({"cniVersion": "1.1.0", "ips": [first, {"address": "fd00::2/64", "gateway": "fd00::1"}]});
    check(&ips(json!({"address": "10.0.0.2/24", "gateway": "10.0.0.1"}))).unwrap();
    for (first, words) in [
        (
            json!({"address": "10.0.0.2/24", "gateway": "10.0.0.9"}),
            "Failed to match addr 10.0.0.2 on interface eth0: prevResult has 10.0.0.2/24 with gateway 10.0.0.9",
        ),
        (json!({"address": "10.0.0.2/16", "gateway": "10.0.0.1"}), "configured is 10.0.0.2/24 with gateway 10.0.0.1"),
        (json!({"address": "10.0.0.3/24", "gateway": "10.0.0.1"}), "Failed to find addr 10.0.0.2/24 on interface eth0"),
    ] {
        let error = check(&ips(first)).unwrap_err();
        assert!(error.msg.starts_with("static: ") && error.msg.contains(words), "{error}");
    }
    let nothing = check(&json!({"cniVersion": "1.1.0"})).unwrap_err().msg;
    assert!(nothing.contains("10.0.0.2/24") && nothing.contains("fd00::2/64"), "{nothing}");
    let error = Static.check(&specimen::request(&config(), "")).unwrap_err();
    assert_eq!(error.msg, "Required prevResult missing");
}
