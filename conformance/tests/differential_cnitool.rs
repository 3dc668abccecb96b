//! `cnitool` on the reference and on ours: the same words typed, the same cache.

use anyhow::Result;
use fairlead_conformance::differential::{Session, VERSIONS, judge};
use serde_json::json;

fn conflist(version: &str) -> String {
    json!({
        "cniVersion": version, "name": "net",
        "plugins": [
            {
                "type": "bridge", "bridge": "cni0", "isGateway": true, "capabilities": {"ipRanges": true},
                "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}
            },
            {"type": "loopback"}
        ]
    })
    .to_string()
}

#[test]
fn a_list_is_added_checked_and_deleted_with_the_same_cache() -> Result<()> {
    let mut judge = judge("cnitool")?;
    for version in VERSIONS {
        let session = Session::new(&format!("list {version}"), "10-net.conflist", &conflist(version));
        let steps = ["status net NETNS", "add net NETNS", "check net NETNS", "del net NETNS", "del net NETNS"];
        judge.try_session(&steps.iter().fold(session, |session, step| session.step(step)))?;
    }
    judge.finish()
}

#[test]
fn garbage_is_collected_and_capabilities_are_passed_on() -> Result<()> {
    let mut judge = judge("cnitool-more")?;
    let gc = Session::new("gc", "10-net.conflist", &conflist("1.1.0"));
    judge.try_session(&gc.step("add net NETNS").step("gc net NETNS").step("del net NETNS"))?;
    let ranges = json!({"ipRanges": [[{"subnet": "fd00:77::/64"}]]}).to_string();
    let capable = Session::new("capabilities", "10-net.conflist", &conflist("1.0.0")).env("CAP_ARGS", &ranges);
    judge.try_session(&capable.env("CNI_IFNAME", "net7").step("add net NETNS").step("del net NETNS"))?;
    let single = json!({"cniVersion": "1.0.0", "name": "single", "type": "loopback"}).to_string();
    let single = Session::new("a single plugin", "10-single.conf", &single);
    judge.try_session(&single.step("add single NETNS").step("check single NETNS").step("del single NETNS"))?;
    judge.finish()
}

#[test]
fn what_is_typed_wrong_is_refused_in_the_same_words() -> Result<()> {
    let mut judge = judge("cnitool-errors")?;
    let good = |name: &str| Session::new(name, "10-net.conflist", &conflist("1.0.0"));
    judge.try_session(&good("unknown network").step("add other NETNS").step("del other NETNS"))?;
    judge.try_session(
        &good("missing namespace").step("add net /run/netns/not-there").step("del net /run/netns/not-there"),
    )?;
    judge.try_session(&good("unknown verb").step("frob net NETNS"))?;
    judge.try_session(&good("check before add").step("check net NETNS"))?;
    judge.try_session(&good("bad arguments").env("CNI_ARGS", "nonsense").step("add net NETNS"))?;
    judge.try_session(&good("bad capabilities").env("CAP_ARGS", "{").step("add net NETNS"))?;
    judge.try_session(&good("bad file first").file("00-bad.conflist", "{").step("add net NETNS"))?;
    let unknown = json!({"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "frobnicate"}]}).to_string();
    judge.try_session(&Session::new("unknown plugin", "10-net.conflist", &unknown).step("add net NETNS"))?;
    let empty = json!({"cniVersion": "1.0.0", "name": "net", "plugins": []}).to_string();
    judge.try_session(&Session::new("no plugins", "10-net.conflist", &empty).step("add net NETNS"))?;
    judge.finish()
}
