//! One line through the whole house, on the files of `examples/two-nodes`: pods by our `cnitool`, nodes joined by the
//! overlay, a Service led by the proxy. Ring 5 runs this under other kernels.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fairlead_conformance::cni::Suite;
use fairlead_conformance::lab::{Job, Lab, Node, Running};
use fairlead_conformance::limit::patience;
use fairlead_conformance::{dist, traffic};

const VIP: &str = "tcp:10.96.0.10:80";

fn example(file: &str) -> Result<String> {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/two-nodes").join(file);
    fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

/// What a node of the examples runs, ready.
fn daemons(node: &Node) -> Result<[Running; 2]> {
    node.write("net.d/10-pods.conflist", example(&format!("cni/{}.conflist", node.name()))?)?;
    let peers = node.write("peers.yaml", example("peers.yaml")?)?;
    node.write("services/web.yaml", example("services/web.yaml")?)?;
    let overlay = Job::new(dist::overlay()?).args(["run", "--node-name", node.name(), "--peers"]).arg(peers);
    let proxy = Job::new(dist::proxy()?)
        .args(["run", "--node-name", node.name(), "--source"])
        .arg(node.dir().join("services"))
        .arg("--cgroup-root")
        .arg(node.cgroup_root())
        .arg("--bpffs-root")
        .arg(node.bpffs());
    let mut running = [node.start(&overlay.notify())?, node.start(&proxy.notify())?];
    for daemon in &mut running {
        daemon.wait_ready(patience(20))?;
    }
    Ok(running)
}

#[test]
fn one_true_line_from_a_pod_by_vip_to_backends_on_both_nodes() -> Result<()> {
    let lab = Lab::new("line")?;
    let (a, b) = (lab.node("node-a")?, lab.node("node-b")?);
    lab.wire(&a, "192.168.77.1/24", &b, "192.168.77.2/24")?;
    let mut running: Vec<Running> = Vec::new();
    for node in [&a, &b] {
        running.extend(daemons(node)?);
    }

    // In the order that gives them the addresses of the EndpointSlice; the client of each node comes after them.
    let suite = Suite::ours()?;
    let mut pods = Vec::new();
    for (node, name) in [(&a, "web-1"), (&a, "web-2"), (&b, "web-3"), (&a, "client-a"), (&b, "client-b")] {
        let pod = lab.pod(node, name)?;
        suite.add(node, "pods", &pod)?;
        if name.starts_with("web") {
            let mut server = pod.start(&traffic::serve(name, &["tcp:8080"])?)?;
            server.wait_ready(patience(10))?;
            running.push(server);
        }
        pods.push((node, pod));
    }

    let all: BTreeSet<&str> = ["web-1", "web-2", "web-3"].into();
    for (_, client) in pods.iter().filter(|(_, pod)| pod.name().starts_with("client")) {
        let reports = traffic::counted(client.output(&traffic::request(&[VIP], 200)?)?)?;
        let report = reports.first().context("no report")?;
        assert_eq!((report.sent, report.answered), (200, 200), "{}: {report:?}", client.name());
        let seen: BTreeSet<&str> = report.backends.keys().map(String::as_str).collect();
        assert_eq!(seen, all, "{}: {report:?}", client.name());
    }

    for process in running.iter_mut().rev() {
        process.stop()?;
    }
    for (node, pod) in &pods {
        suite.del(node, "pods", pod)?;
    }
    Ok(())
}
