//! ptp on the reference and on ours, every version of the specification.

use anyhow::Result;
use fairlead_conformance::differential::{Case, FAMILIES, VERSIONS, judge};
use serde_json::{Value, json};

/// ptp with the given keys over host-local with the given ranges.
fn ptp(name: &str, keys: Value, ranges: Value) -> Case {
    let mut config = json!({
        "name": "net", "type": "ptp",
        "ipam": {"type": "host-local", "ranges": ranges, "routes": [{"dst": "0.0.0.0/0"}, {"dst": "10.99.0.0/16"}]}
    });
    if let (Value::Object(config), Value::Object(keys)) = (&mut config, keys) {
        config.extend(keys);
    }
    Case::new(name, "ptp", config)
}

fn v4() -> Value {
    json!([[{"subnet": "10.88.0.0/24"}]])
}

fn dual() -> Value {
    json!([[{"subnet": "10.88.0.0/24"}], [{"subnet": "fd00:88::/64"}]])
}

#[test]
fn a_pair_with_an_address_is_the_same() -> Result<()> {
    let mut judge = judge("ptp")?;
    judge.try_versions(&VERSIONS, &ptp("one family", json!({"mtu": 1400}), v4()))?;
    judge.finish()
}

#[test]
fn two_families_are_the_same() -> Result<()> {
    let mut judge = judge("ptp-dual")?;
    judge.try_versions(&VERSIONS, &ptp("dual", json!({}), dual()))?;
    judge.finish()
}

#[test]
fn masquerade_is_set_up_and_taken_away() -> Result<()> {
    let mut judge = judge("ptp-masquerade")?;
    judge.try_versions(&FAMILIES, &ptp("nftables", json!({"ipMasq": true, "ipMasqBackend": "nftables"}), v4()))?;
    judge.try_versions(&["1.0.0"], &ptp("iptables", json!({"ipMasq": true, "ipMasqBackend": "iptables"}), v4()))?;
    judge.finish()
}

#[test]
fn name_servers_are_those_of_the_network_if_it_has_any() -> Result<()> {
    let mut judge = judge("ptp-dns")?;
    for (name, dns) in [
        ("dns unset", json!({})),
        ("dns set", json!({"nameservers": ["10.1.2.3"], "domain": "example", "search": ["a"], "options": ["b"]})),
        ("dns of an empty list", json!({"nameservers": []})),
    ] {
        let case = ptp(name, json!({"dns": dns}), v4());
        judge.try_versions(&FAMILIES, &case)?;
    }
    judge.finish()
}
