//! bridge on the reference and on ours, every version of the specification.

use anyhow::Result;
use fairlead_conformance::differential::{Case, judge};
use serde_json::{Value, json};

const V4: &str = "10.88.0.0/24";
const V6: &str = "fd00:88::/64";

/// A bridge with the given keys over host-local with the given ranges.
fn bridge(keys: Value, ranges: Value) -> Value {
    let routes = json!([{"dst": "10.99.0.0/16"}]);
    let mut config = json!({
        "name": "net", "type": "bridge", "bridge": "cni0",
        "ipam": {"type": "host-local", "ranges": ranges, "routes": routes}
    });
    merge(&mut config, keys);
    config
}

fn merge(config: &mut Value, keys: Value) {
    if let (Value::Object(config), Value::Object(keys)) = (config, keys) {
        config.extend(keys);
    }
}

fn v4() -> Value {
    json!([[{"subnet": V4}]])
}

#[test]
fn a_plain_bridge_gives_addresses_and_routes() -> Result<()> {
    let mut judge = judge("bridge")?;
    judge.try_versions("plain", "bridge", &bridge(json!({}), v4()))?;
    judge.try_versions("gateway", "bridge", &bridge(json!({"isGateway": true}), v4()))?;
    judge.finish()
}

#[test]
fn a_default_gateway_with_hairpin_and_mtu_is_the_same() -> Result<()> {
    let mut judge = judge("bridge-default")?;
    let keys = json!({"isDefaultGateway": true, "hairpinMode": true, "mtu": 1400});
    judge.try_versions("default gateway", "bridge", &bridge(keys, v4()))?;
    judge.finish()
}

#[test]
fn two_families_and_several_ranges_are_the_same() -> Result<()> {
    let mut judge = judge("bridge-dual")?;
    let keys = json!({"isDefaultGateway": true});
    judge.try_versions("dual", "bridge", &bridge(keys.clone(), json!([[{"subnet": V4}], [{"subnet": V6}]])))?;
    let several = json!([
        [{"subnet": V4, "rangeStart": "10.88.0.10", "rangeEnd": "10.88.0.10"}, {"subnet": "10.89.0.0/24", "gateway": "10.89.0.254"}],
        [{"subnet": V6, "rangeStart": "fd00:88::100"}]
    ]);
    judge.try_versions("several ranges", "bridge", &bridge(keys, several))?;
    judge.finish()
}

#[test]
fn a_layer_2_bridge_gives_no_address() -> Result<()> {
    let mut judge = judge("bridge-l2")?;
    judge.try_versions(
        "layer 2",
        "bridge",
        &json!({"name": "net", "type": "bridge", "bridge": "br-l2", "ipam": {}}),
    )?;
    judge.finish()
}

#[test]
fn addresses_already_on_the_bridge_are_refused_or_replaced() -> Result<()> {
    let mut judge = judge("bridge-address")?;
    for (name, force) in [("conflict", false), ("forced", true)] {
        for version in ["0.4.0", "1.1.0"] {
            let mut config = bridge(json!({"isGateway": true, "forceAddress": force}), v4());
            config["cniVersion"] = version.into();
            let case = Case::new(&format!("{name} {version}"), "bridge", config)
                .prepare("ip link add cni0 type bridge")
                .prepare("ip addr add 10.1.2.3/16 dev cni0");
            judge.try_case(&case)?;
        }
    }
    judge.finish()
}

#[test]
fn masquerade_is_set_up_and_taken_away() -> Result<()> {
    let mut judge = judge("bridge-masquerade")?;
    let ranges = json!([[{"subnet": V4}], [{"subnet": V6}]]);
    let keys = json!({"isDefaultGateway": true, "ipMasq": true, "ipMasqBackend": "nftables"});
    judge.try_versions("nftables", "bridge", &bridge(keys, ranges))?;
    judge.finish()
}

#[test]
fn masquerade_without_a_backend_named_serves_the_same_purpose() -> Result<()> {
    let mut judge = judge("bridge-masquerade-auto")?;
    for version in ["0.4.0", "1.1.0"] {
        let mut config = bridge(json!({"isDefaultGateway": true, "ipMasq": true}), v4());
        config["cniVersion"] = version.into();
        judge.try_case(&Case::new(&format!("automatic {version}"), "bridge", config))?;
    }
    judge.finish()
}
