//! What is refused, and in which words, on the reference and on ours.

use anyhow::Result;
use fairlead_conformance::cni::Call;
use fairlead_conformance::differential::judge;
use serde_json::{Value, json};

use crate::stage::{at, mapping, portmap};

#[test]
fn a_bad_request_is_refused_in_the_same_words() -> Result<()> {
    let mut judge = judge("errors-portmap")?;
    let result = json!({"cniVersion": "1.1.0", "interfaces": [], "ips": [{"address": "10.88.0.2/24"}]});
    let good = || json!([mapping(8080, 80, "tcp")]);
    for (name, mappings, more) in [
        ("no mappings", Value::Null, json!({})),
        ("empty mappings", json!([]), json!({})),
        ("host port 0", json!([mapping(0, 80, "tcp")]), json!({})),
        ("container port 0", json!([mapping(80, 0, "tcp")]), json!({})),
        ("both ports 0", json!([mapping(0, 0, "tcp")]), json!({})),
        ("unknown protocol", json!([mapping(80, 80, "tpc")]), json!({})),
        ("no protocol", json!([mapping(80, 80, "")]), json!({})),
        ("port in text", json!([{"hostPort": "80", "containerPort": 80, "protocol": "tcp"}]), json!({})),
        ("host address in words", json!([at("here", mapping(80, 80, "tcp"))]), json!({})),
        ("unknown back end", good(), json!({"backend": "ipfw"})),
        ("bit 32", good(), json!({"markMasqBit": 32})),
        ("bit -1", good(), json!({"markMasqBit": -1})),
        ("bit and chain", good(), json!({"markMasqBit": 5, "externalSetMarkChain": "MARK"})),
        ("chain for nftables", good(), json!({"backend": "nftables", "externalSetMarkChain": "MARK"})),
        ("nft words for iptables", good(), json!({"backend": "iptables", "conditionsV4": ["ip", "daddr", "1.2.3.4"]})),
        (
            "iptables words for nft",
            good(),
            json!({"backend": "nftables", "conditionsV4": ["-d", "1.2.3.4"], "conditionsV6": ["!", "-d", "::1"]}),
        ),
        ("no result", good(), json!({"prevResult": null})),
        ("result of another kind", good(), json!({"prevResult": "nonsense"})),
    ] {
        for verb in ["ADD", "CHECK"] {
            let mut config = portmap(mappings.clone(), &more);
            if config.get("prevResult").is_none() {
                config["prevResult"] = result.clone();
            }
            judge.try_call(&format!("{name}, {verb}"), |suite, pod| {
                suite.plugin("portmap", verb, &Call::new("container-1", pod), &config)
            })?;
        }
    }
    judge.finish()
}
