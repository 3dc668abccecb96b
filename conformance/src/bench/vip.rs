//! A Service beside the pod behind it.

use std::fmt::Write;

use anyhow::{Context, Result};
use serde_json::json;

use super::{Pair, Series};
use crate::cni::Suite;
use crate::lab::{Job, Lab, Node, Pod};
use crate::limit::patience;
use crate::{dist, traffic};

/// Requests to each target in one round.
const REQUESTS: u64 = 4000;
/// Services on the node besides the one that is asked.
const OTHERS: u32 = 1000;
const VIP: &str = "10.96.200.1";

/// Client and server on one CPU, requests by turns; every request opens a connection or a socket of its own.
pub(super) fn run(rounds: usize) -> Result<Vec<Pair>> {
    let lab = Lab::new("bench-vip")?;
    let node = lab.node("node")?;
    let (client, server, address) = pods(&lab, &node)?;
    let source = services(&node, &address)?;
    let proxy = Job::new(dist::proxy()?)
        .args(["run", "--node-name", "node", "--source"])
        .arg(source)
        .arg("--cgroup-root")
        .arg(node.cgroup_root())
        .arg("--bpffs-root")
        .arg(node.bpffs());
    let mut proxy = node.start(&proxy.notify())?;
    proxy.wait_ready(patience(30))?;
    let mut answering = server.start(&traffic::serve("server", &["tcp:8080", "udp:8080"])?.args(["--cpu", "0"]))?;
    answering.wait_ready(patience(10))?;

    let mut pairs = Vec::new();
    for (what, protocol) in
        [("TCP connect+request", "tcp"), ("UDP connect+request", "udp-connected"), ("UDP sendto", "udp")]
    {
        eprintln!("{what} by VIP beside pod IP, {OTHERS} other Services: {rounds} rounds of 2 x {REQUESTS}");
        let (mut by_vip, mut direct) = (Series::default(), Series::default());
        let targets = [format!("{protocol}:{VIP}:80"), format!("{protocol}:{address}:8080")];
        for round in 0..rounds {
            let mut turns = [targets[0].as_str(), targets[1].as_str()];
            turns.rotate_left(round % 2);
            // Without --clean ports in TIME_WAIT fill the range, and the search for a free one made 80 us into 98; and the
            // server saw the end of one connection now before, now within the next request: two modes, 8 us apart.
            let job = traffic::request(&turns, REQUESTS)?.args(["--cpu", "0", "--clean"]);
            for report in traffic::counted(client.output(&job)?)? {
                if report.unanswered() > 0 {
                    anyhow::bail!("{} of {} requests failed: {report:?}", report.unanswered(), report.sent);
                }
                let series = if report.target == targets[0] { &mut by_vip } else { &mut direct };
                series.push(report.latency_us.p50);
            }
        }
        let pair = Pair::new("vip", what, "us", &by_vip, ("pod IP", &direct));
        pairs.push(if protocol == "tcp" { pair.bar(1.05) } else { pair });
    }
    Ok(pairs)
}

/// A client and a server on the node's bridge, and the server's address.
fn pods(lab: &Lab, node: &Node) -> Result<(Pod, Pod, String)> {
    let conflist = json!({
        "cniVersion": "1.0.0", "name": "bench",
        "plugins": [{
            "type": "bridge", "bridge": "cni0", "isDefaultGateway": true, "hairpinMode": true,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}]]}
        }]
    });
    node.write("net.d/10-bench.conflist", conflist.to_string())?;
    let suite = Suite::ours()?;
    let (client, server) = (lab.pod(node, "client")?, lab.pod(node, "server")?);
    suite.add(node, "bench", &client)?;
    let result = suite.add(node, "bench", &server)?;
    let address = result["ips"][0]["address"].as_str().and_then(|cidr| cidr.split('/').next());
    Ok((client, server, address.context("a result without an address")?.to_owned()))
}

/// A directory with the Service that is asked and the others, each with an endpoint.
fn services(node: &Node, address: &str) -> Result<std::path::PathBuf> {
    let mut text = service("asked", VIP, address);
    for number in 0..OTHERS {
        let [.., high, low] = number.to_be_bytes();
        text += &service(&format!("other-{number}"), &format!("10.96.{high}.{low}"), &format!("10.99.{high}.{low}"));
    }
    let file = node.write("services/all.yaml", text)?;
    Ok(file.parent().context("a file without a directory")?.to_owned())
}

fn service(name: &str, vip: &str, address: &str) -> String {
    let port = |protocol: &str, port: u16| json!({"name": protocol.to_lowercase(), "protocol": protocol, "port": port});
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "bench"},
        "spec": {"clusterIP": vip, "clusterIPs": [vip], "ports": [port("TCP", 80), port("UDP", 80)]}
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": name, "namespace": "bench", "labels": {"kubernetes.io/service-name": name}},
        "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
        "ports": [port("TCP", 8080), port("UDP", 8080)]
    });
    let mut text = String::new();
    let _ = write!(text, "---\n{service}\n---\n{slice}\n");
    text
}
