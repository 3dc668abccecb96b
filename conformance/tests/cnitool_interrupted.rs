//! `cnitool add` told to end in the middle of a chain: what was made is taken back, and the reason is said.

use anyhow::{Context, Result, ensure};
use fairlead_conformance::cni::Suite;
use fairlead_conformance::lab::Lab;
use serde_json::json;

#[test]
fn an_interrupted_add_is_whole_or_taken_back() -> Result<()> {
    let lab = Lab::new("interrupted")?;
    let node = lab.node("a")?;
    let pod = lab.pod(&node, "p")?;
    let ipam = json!({"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}]]});
    let plugins = json!([{"type": "bridge", "bridge": "cni0", "isGateway": true, "ipam": ipam}, {"type": "tuning"}]);
    let list = json!({"cniVersion": "1.1.0", "name": "net", "plugins": plugins});
    node.write("net.d/10-net.conflist", list.to_string())?;
    let suite = Suite::ours()?;
    let left = || -> Result<Vec<String>> {
        let mut left = Vec::new();
        for directory in ["networks/net", "results"] {
            let entries = std::fs::read_dir(node.var_lib().join("cni").join(directory)).into_iter().flatten();
            left.extend(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()));
        }
        left.retain(|name| name.parse::<std::net::IpAddr>().is_ok() || name.starts_with("net-"));
        left.extend(pod.json("ip -j link show dev eth0").is_ok().then(|| "eth0".to_owned()));
        Ok(left)
    };
    let (mut finished_anyway, mut taken_back) = (0, 0);
    // Only cnitool is traced: its children are not told.
    for which in 1..=30 {
        let inject = format!("inject=read:signal=TERM:when={which}");
        let job = suite.cnitool_job(&node).args(["add", "net"]).arg(pod.netns());
        let finished = node.output(&job.under(&["strace", "-qq", "-o", "/dev/null", "-e", &inject]))?;
        let context = || format!("SIGTERM at read number {which}");
        if finished.status.success() {
            finished_anyway += 1;
            finished.json().with_context(context)?;
            assert_eq!(left()?.len(), 3, "{}: {:?}", context(), left()?);
            suite.del(&node, "net", &pod).with_context(context)?;
        } else if !finished.stderr.is_empty() {
            taken_back += 1;
            let said = finished.stderr_text();
            assert!(said.contains("SIGTERM") && said.contains("removed again"), "{}: {said}", context());
        }
        assert_eq!(left()?, Vec::<String>::new(), "{}", context());
    }
    println!("cnitool add: {taken_back} times taken back, {finished_anyway} times finished before it was asked");
    ensure!(taken_back > 0 && finished_anyway > 0, "{taken_back} and {finished_anyway}");
    Ok(())
}
