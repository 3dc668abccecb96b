//! loopback and host-local on the reference and on ours, every version of the specification.

use anyhow::Result;
use fairlead_conformance::differential::{Case, FAMILIES, VERSIONS, judge};
use serde_json::{Value, json};

fn host_local(name: &str, ipam: Value) -> Case {
    Case::new(name, "host-local", json!({"name": "net", "type": "bridge", "ipam": ipam}))
}

#[test]
fn loopback_brings_lo_up_and_down() -> Result<()> {
    let mut judge = judge("loopback")?;
    judge.try_versions(&VERSIONS, &Case::new("loopback", "loopback", json!({"name": "lo", "type": "loopback"})))?;
    judge.finish()
}

#[test]
fn host_local_by_itself_leases_and_releases() -> Result<()> {
    let mut judge = judge("host-local")?;
    let routes = json!([{"dst": "0.0.0.0/0"}, {"dst": "10.9.0.0/16", "gw": "10.88.0.3"}]);
    let one = json!([[{"subnet": "10.88.0.0/29"}]]);
    judge
        .try_versions(&FAMILIES, &host_local("one", json!({"type": "host-local", "ranges": one, "routes": routes})))?;
    let two = json!([[{"subnet": "10.88.0.0/29"}], [{"subnet": "fd00:88::/120", "gateway": "fd00:88::5"}]]);
    judge
        .try_versions(&VERSIONS, &host_local("dual", json!({"type": "host-local", "ranges": two, "routes": routes})))?;
    let legacy = json!({
        "type": "host-local", "subnet": "10.88.0.0/24", "gateway": "10.88.0.1",
        "rangeStart": "10.88.0.9", "rangeEnd": "10.88.0.9"
    });
    judge.try_versions(&FAMILIES, &host_local("pool of one", legacy))?;
    judge.finish()
}

#[test]
fn host_local_serves_a_requested_address() -> Result<()> {
    let mut judge = judge("host-local-requested")?;
    let ipam = json!({"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}]]});
    for args in ["IP=10.88.0.77", "IP=10.88.0.1", "IP=10.99.0.1", "IP=nonsense", "FOO=bar", "IgnoreUnknown=1;FOO=bar"] {
        let case = host_local(&format!("requested {args}"), ipam.clone()).args(args);
        judge.try_versions(&["1.0.0"], &case)?;
    }
    judge.finish()
}
