//! bridge on the reference and on ours, every version of the specification.

use anyhow::Result;
use fairlead_conformance::differential::{Case, FAMILIES, VERSIONS, judge};
use serde_json::{Value, json};

const V4: &str = "10.88.0.0/24";
const V6: &str = "fd00:88::/64";

/// A bridge with the given keys over host-local with the given ranges.
fn bridge(name: &str, keys: Value, ranges: Value) -> Case {
    let mut config = json!({
        "name": "net", "type": "bridge", "bridge": "cni0",
        "ipam": {"type": "host-local", "ranges": ranges, "routes": [{"dst": "10.99.0.0/16"}]}
    });
    if let (Value::Object(config), Value::Object(keys)) = (&mut config, keys) {
        config.extend(keys);
    }
    Case::new(name, "bridge", config)
}

fn v4() -> Value {
    json!([[{"subnet": V4}]])
}

fn dual() -> Value {
    json!([[{"subnet": V4}], [{"subnet": V6}]])
}

#[test]
fn a_bridge_with_a_gateway_is_the_same() -> Result<()> {
    let mut judge = judge("bridge")?;
    judge.try_versions(&VERSIONS, &bridge("gateway", json!({"isGateway": true}), v4()))?;
    judge.finish()
}

#[test]
fn a_bridge_that_was_there_before_and_gets_no_address_is_the_same() -> Result<()> {
    let mut judge = judge("bridge-plain")?;
    // With a MAC of its own: without one it changes with every port, and the reference's CHECK fails.
    let case = bridge("plain", json!({}), v4()).prepare("ip link add cni0 address 02:00:00:00:88:01 type bridge");
    judge.try_versions(&FAMILIES, &case)?;
    judge.finish()
}

#[test]
fn a_default_gateway_with_hairpin_and_mtu_is_the_same() -> Result<()> {
    let mut judge = judge("bridge-default")?;
    let keys = json!({"isDefaultGateway": true, "hairpinMode": true, "mtu": 1400});
    judge.try_versions(&VERSIONS, &bridge("default gateway", keys, v4()))?;
    judge.finish()
}

#[test]
fn two_families_and_several_ranges_are_the_same() -> Result<()> {
    let mut judge = judge("bridge-dual")?;
    let keys = json!({"isDefaultGateway": true});
    judge.try_versions(&VERSIONS, &bridge("dual", keys.clone(), dual()))?;
    let several = json!([
        [
            {"subnet": V4, "rangeStart": "10.88.0.10", "rangeEnd": "10.88.0.10"},
            {"subnet": "10.89.0.0/24", "gateway": "10.89.0.254"}
        ],
        [{"subnet": V6, "rangeStart": "fd00:88::100"}]
    ]);
    judge.try_versions(&FAMILIES, &bridge("several ranges", keys, several))?;
    judge.finish()
}

#[test]
fn a_layer_2_bridge_gives_no_address() -> Result<()> {
    let mut judge = judge("bridge-l2")?;
    let config = json!({"name": "net", "type": "bridge", "bridge": "br-l2", "ipam": {}});
    judge.try_versions(&VERSIONS, &Case::new("layer 2", "bridge", config).unpinned())?;
    judge.finish()
}

#[test]
fn addresses_already_on_the_bridge_are_refused_or_replaced() -> Result<()> {
    let mut judge = judge("bridge-address")?;
    for (name, force) in [("conflict", false), ("forced", true)] {
        let case = bridge(name, json!({"isGateway": true, "forceAddress": force}), v4())
            .prepare("ip link add cni0 address 02:00:00:00:88:01 type bridge")
            .prepare("ip addr add 10.1.2.3/16 dev cni0");
        judge.try_versions(&FAMILIES, &case)?;
    }
    judge.finish()
}

#[test]
fn masquerade_is_set_up_and_taken_away() -> Result<()> {
    let mut judge = judge("bridge-masquerade")?;
    let keys = json!({"isDefaultGateway": true, "ipMasq": true, "ipMasqBackend": "nftables"});
    judge.try_versions(&FAMILIES, &bridge("nftables", keys, dual()))?;
    judge.finish()
}

#[test]
fn masquerade_without_a_backend_named_serves_the_same_purpose() -> Result<()> {
    let mut judge = judge("bridge-masquerade-auto")?;
    judge.try_versions(&FAMILIES, &bridge("automatic", json!({"isDefaultGateway": true, "ipMasq": true}), v4()))?;
    judge.finish()
}
