//! loopback and host-local on the reference and on ours, every version of the specification.

use anyhow::Result;
use fairlead_conformance::differential::{Case, judge};
use serde_json::json;

#[test]
fn loopback_brings_lo_up_and_down() -> Result<()> {
    let mut judge = judge("loopback")?;
    judge.try_versions("loopback", "loopback", &json!({"name": "lo", "type": "loopback"}))?;
    judge.finish()
}

#[test]
fn host_local_by_itself_leases_and_releases() -> Result<()> {
    let mut judge = judge("host-local")?;
    let one = json!([[{"subnet": "10.88.0.0/29"}]]);
    let two = json!([[{"subnet": "10.88.0.0/29"}], [{"subnet": "fd00:88::/120", "gateway": "fd00:88::5"}]]);
    for (name, ranges) in [("one", one), ("dual", two)] {
        let ipam = json!({"type": "host-local", "ranges": ranges, "routes": [{"dst": "0.0.0.0/0"}, {"dst": "10.9.0.0/16", "gw": "10.88.0.3"}]});
        judge.try_versions(name, "host-local", &json!({"name": "net", "type": "bridge", "ipam": ipam}))?;
    }
    let legacy = json!({"type": "host-local", "subnet": "10.88.0.0/24", "rangeStart": "10.88.0.9", "rangeEnd": "10.88.0.9", "gateway": "10.88.0.1"});
    judge.try_versions("pool of one", "host-local", &json!({"name": "net", "type": "bridge", "ipam": legacy}))?;
    judge.finish()
}

#[test]
fn host_local_serves_a_requested_address() -> Result<()> {
    let mut judge = judge("host-local-requested")?;
    let ipam = json!({"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}]]});
    for args in ["IP=10.88.0.77", "IP=10.88.0.1", "IP=10.99.0.1", "IP=nonsense", "FOO=bar", "IgnoreUnknown=1;FOO=bar"] {
        let config = json!({"cniVersion": "1.0.0", "name": "net", "type": "bridge", "ipam": ipam});
        judge.try_case(&Case::new(&format!("requested {args}"), "host-local", config).args(args))?;
    }
    judge.finish()
}
