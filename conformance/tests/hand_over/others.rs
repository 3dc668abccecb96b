//! Other networks than the usual one, and a runtime that does not wait for us.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result, ensure};
use fairlead_conformance::cni::Suite;
use fairlead_conformance::limit::{patience, until};
use serde_json::{Value, json};

use super::stage::{NETWORK, Stage};

fn list(name: &str, plugins: &Value) -> String {
    json!({"cniVersion": "0.4.0", "name": name, "plugins": plugins}).to_string()
}

fn addresses(subnet: &str) -> Value {
    json!({"type": "host-local", "ranges": [[{"subnet": subnet}]]})
}

#[test]
fn several_interfaces_of_a_pod_are_handed_over_each() -> Result<()> {
    let stage = Stage::new("several", None)?;
    let plugins = json!([{"type": "ptp", "ipMasq": true, "ipam": addresses("10.77.0.0/24")}]);
    stage.node.write("net.d/20-pair.conflist", list("pair", &plugins))?;
    let bridge = json!({
        "type": "bridge", "bridge": "cni7", "isGateway": true, "ipMasq": true, "ipMasqBackend": "nftables",
        "ipam": addresses("10.78.0.0/24")
    });
    let strict = json!({"type": "firewall", "backend": "iptables", "ingressPolicy": "isolated"});
    stage.node.write("net.d/30-twice.conflist", list("twice", &json!([bridge, strict])))?;
    let attachments = [("pair", "eth0"), ("twice", "eth1"), ("twice", "eth2")];
    let (first, second) = (stage.lab.pod(&stage.node, "first")?, stage.lab.pod(&stage.node, "second")?);
    let call = |verb: &str, pod: &fairlead_conformance::lab::Pod| -> Result<()> {
        for (network, ifname) in attachments {
            let job = stage.there.cnitool_job(&stage.node).env("CNI_IFNAME", ifname).args([verb, network]);
            let finished = stage.node.output(&job.arg(pod.netns()))?;
            finished.success().with_context(|| format!("{verb} {network} {ifname}"))?;
        }
        Ok(())
    };
    call("add", &second)?;
    call("del", &second)?;
    let what_stays = stage.look()?;
    stage.install(&[])?.success()?;
    call("add", &first)?;
    call("add", &second)?;
    let told = stage.install(&["--restore"])?.success()?.stdout_text();
    ensure!(told.matches(" eth").count() == 6, "{told}");
    stage.is_theirs()?;
    call("check", &first)?;
    call("del", &first)?;
    // Of the second nothing went with the first.
    let rules = stage.rules()?;
    let container = rules.split("id: cnitool-").nth(1).context("the second pod")?[..20].to_owned();
    ensure!(rules.matches(&container).count() == 2, "{rules}");
    call("check", &second)?;
    call("del", &second)?;
    stage.leaves_no_more_than(&what_stays)
}

/// A `portmap` in the reference's place that lets the runtime be faster: when it is done, the result is forgotten.
#[test]
fn a_pod_that_is_deleted_meanwhile_gets_nothing() -> Result<()> {
    for backend in ["iptables", "nftables"] {
        let stage = Stage::ours("meanwhile", Some(backend))?;
        let pod = stage.add("web", 8080)?;
        stage.put_back_the_binaries()?;
        let (portmap, theirs) = (stage.there.binary("portmap"), Suite::reference()?.binary("portmap"));
        fs::remove_file(&portmap)?;
        let results = stage.node.var_lib().join("cni/results");
        let script = format!("#!/bin/sh\n{} || exit 1\nrm -f {}/*\n", theirs.display(), results.display());
        fs::write(&portmap, script)?;
        fs::set_permissions(&portmap, fs::Permissions::from_mode(0o755))?;
        stage.hand_over(&[])?.success()?;
        stage.is_theirs()?;
        let rules = stage.rules()?;
        for its in ["10.88.0.2", "fd00:88::2", "8080", "cnitool-", "veth"] {
            ensure!(!rules.contains(its), "{backend}: {its} is left in\n{rules}");
        }
        drop(pod);
    }
    Ok(())
}

#[test]
fn a_pod_that_is_deleted_between_the_binaries_and_the_pods_leaves_nothing() -> Result<()> {
    let what_stays = Stage::what_the_reference_leaves("between", Some("nftables"))?;
    let stage = Stage::ours("between", Some("nftables"))?;
    let pods = [stage.add("web", 8080)?, stage.add("db", 9080)?];
    // The restoring takes its time where it cleans up, with the binaries back in their places.
    let slow = ["strace", "-qq", "-o", "/dev/null", "-e", "inject=unlinkat:delay_enter=300000"];
    let job = stage.job("install", &["--restore", "--to"]).arg(&stage.there.bin).under(&slow);
    let mut restoring = stage.node.start(&job)?;
    until("the binaries to be back", patience(20), || {
        let plugins = ["bridge", "host-local", "portmap", "firewall", "tuning", "bandwidth", "cnitool"];
        Ok(plugins.iter().all(|name| stage.there.binary(name).is_symlink()).then_some(()))
    })?;
    stage.del(&pods[0])?;
    let status = restoring.wait(patience(30))?;
    ensure!(status.success(), "{status}: {}", restoring.stderr_text()?);
    stage.is_theirs()?;
    stage.check(&pods[1])?;
    stage.del(&pods[1])?;
    stage.leaves_no_more_than(&what_stays).with_context(|| NETWORK)
}
