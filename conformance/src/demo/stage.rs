//! What the demo plays on: nodes, daemons, pods, servers.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::cni::Suite;
use crate::lab::{Job, Lab, Node, Pod, Running};
use crate::{dist, limit, traffic};

const PEERS: &str = include_str!("../../../examples/two-nodes/peers.yaml");
const CONFLISTS: [&str; 2] = [
    include_str!("../../../examples/two-nodes/cni/node-a.conflist"),
    include_str!("../../../examples/two-nodes/cni/node-b.conflist"),
];
/// The Service `web` and its EndpointSlice: [`WEB`] and three backends.
pub(super) const SERVICE: &str = include_str!("../../../examples/two-nodes/services/web.yaml");
/// The file's name in the directory that a proxy watches.
pub(super) const SERVICE_FILE: &str = "services/web.yaml";
/// Where the Service answers.
pub(super) const WEB: &str = "10.96.0.10:80";
/// The port of the servers in the pods.
pub(super) const PORT: u16 = 8080;
/// The name of the network in the conflists.
const NETWORK: &str = "pods";

/// A node with what runs on it.
pub(super) struct Town {
    pub(super) node: Node,
    pub(super) underlay: &'static str,
    pub(super) overlay: Running,
    pub(super) proxy: Running,
    /// The pod that asks.
    pub(super) client: Pod,
}

/// A pod that answers with its own name.
pub(super) struct Server {
    pub(super) pod: Pod,
    /// Index of its node.
    pub(super) town: usize,
    pub(super) address: String,
    job: Running,
}

/// All of it.
pub(super) struct Stage {
    suite: Suite,
    pub(super) towns: [Town; 2],
    /// web-1 and web-2 on node-a, web-3 and web-4 on node-b; the last is not in the EndpointSlice at first.
    pub(super) servers: Vec<Server>,
}

impl Stage {
    /// Nodes first, then the agents, then pods as a runtime adds them. The addresses of the first three servers are those
    /// that the EndpointSlice of the example names.
    pub(super) fn build(lab: &Lab, keep: bool) -> Result<Self> {
        let began = Instant::now();
        let suite = Suite::ours()?;
        let nodes = [lab.node("node-a")?, lab.node("node-b")?];
        lab.wire(&nodes[0], "192.168.77.1/24", &nodes[1], "192.168.77.2/24")?;
        said(began, "node-a and node-b: a network namespace, a cgroup, a bpffs and a state directory each");

        let mut agents = Vec::new();
        for (node, conflist) in nodes.iter().zip(CONFLISTS) {
            node.write("net.d/10-pods.conflist", conflist)?;
            node.write(SERVICE_FILE, SERVICE)?;
            node.write("peers.yaml", PEERS)?;
            agents.push((start_overlay(node)?, start_proxy(node)?));
        }
        said(began, "fairlead-overlay and fairlead-proxy ready on both");

        let mut servers = Vec::new();
        for (name, town, address) in [
            ("web-1", 0, "10.244.1.2"),
            ("web-2", 0, "10.244.1.3"),
            ("web-3", 1, "10.244.2.2"),
            ("web-4", 1, "10.244.2.3"),
        ] {
            let pod = lab.pod(&nodes[town], name)?;
            let got = attach(&suite, &nodes[town], &pod)?;
            if got != address {
                bail!(
                    "{name} was given {got}, and the example says {address}: is another process using the node's leases?"
                );
            }
            let serve = traffic::serve(name, &["tcp:8080", "udp:8080"])?;
            // What is kept outlives us, and with us the other end of its standard input.
            let mut job = pod.start(&if keep { serve.arg("--linger") } else { serve })?;
            job.wait_ready(limit::patience(10))?;
            servers.push(Server { pod, town, address: got, job });
        }
        let clients = [lab.pod(&nodes[0], "client-a")?, lab.pod(&nodes[1], "client-b")?];
        for (client, node) in clients.iter().zip(&nodes) {
            attach(&suite, node, client)?;
        }
        said(began, "web-1, web-2, client-a on node-a and web-3, web-4, client-b on node-b, by `cnitool add`");

        let [a, b] = nodes;
        let [client_a, client_b] = clients;
        let mut agents = agents.into_iter();
        let mut town = |node, underlay, client| {
            let (overlay, proxy) = agents.next().context("an agent per node")?;
            anyhow::Ok(Town { node, underlay, overlay, proxy, client })
        };
        let towns = [town(a, "192.168.77.1", client_a)?, town(b, "192.168.77.2", client_b)?];
        Ok(Self { suite, towns, servers })
    }

    /// Every pod DELeted, the daemons stopped, their `cleanup` run. What is left then is the lab's.
    pub(super) fn take_down(mut self) -> Result<()> {
        for server in &mut self.servers {
            self.suite.del(&self.towns[server.town].node, NETWORK, &server.pod)?;
            server.job.stop()?;
        }
        for town in &mut self.towns {
            self.suite.del(&town.node, NETWORK, &town.client)?;
            town.proxy.stop()?;
            town.overlay.stop()?;
            town.node.output(&Job::new(dist::overlay()?).arg("cleanup"))?.success()?;
            town.node.output(&proxy_job(&town.node, "cleanup")?)?.success()?;
            println!("  {}: pods deleted, agents stopped, `cleanup` run", town.node.name());
        }
        Ok(())
    }

    /// The processes, to outlive us.
    pub(super) fn into_daemons(self) -> Vec<Running> {
        let servers = self.servers.into_iter().map(|server| server.job);
        servers.chain(self.towns.into_iter().flat_map(|town| [town.overlay, town.proxy])).collect()
    }

    /// For `--keep`: what to type.
    pub(super) fn print_commands(&self) {
        let Ok((proxy, overlay, lab)) = tools() else { return };
        println!("\n── Yours to play with {}", "─".repeat(81));
        for town in &self.towns {
            let node = &town.node;
            let enter =
                format!("nsenter --net={} --mount={}", node.netns().display(), node.dir().join("mnt").display());
            let pod = format!("nsenter --net={}", town.client.netns().display());
            let cgroup =
                town.client.cgroup().map(|dir| dir.join("cgroup.procs").display().to_string()).unwrap_or_default();
            println!("\n  # {}", node.name());
            for verb in ["status", "services", "dump"] {
                println!(
                    "  {enter} {} {verb} --bpffs-root {} --cgroup-root {}",
                    proxy.display(),
                    node.bpffs().display(),
                    node.cgroup_root().display()
                );
            }
            println!("  {enter} {} peers", overlay.display());
            println!("  {enter} ip route");
            println!("  $EDITOR {}", node.dir().join(SERVICE_FILE).display());
            println!(
                "  sh -c 'echo $$ >{cgroup}; exec {pod} {} traffic request --count 100 tcp:{WEB}'   # as {}",
                lab.display(),
                town.client.name()
            );
            println!("  ip netns exec {} ip addr", crate::lab::netns_name(&town.client));
        }
    }
}

fn tools() -> Result<(PathBuf, PathBuf, PathBuf)> {
    Ok((dist::proxy()?, dist::overlay()?, dist::lab_tool()?))
}

/// `cnitool add`: the address the pod was given.
fn attach(suite: &Suite, node: &Node, pod: &Pod) -> Result<String> {
    let result = suite.add(node, NETWORK, pod)?;
    let address = result["ips"][0]["address"].as_str().context("cnitool's result has no address")?;
    Ok(address.split('/').next().unwrap_or_default().to_owned())
}

fn start_overlay(node: &Node) -> Result<Running> {
    let peers = node.dir().join("peers.yaml");
    let job = Job::new(dist::overlay()?).args(["run", "--node-name", node.name(), "--peers"]).arg(peers).notify();
    ready(node, &job.log("overlay"))
}

/// The proxy on its node, with the node's own cgroup, bpffs and YAML directory.
pub(super) fn start_proxy(node: &Node) -> Result<Running> {
    let job = proxy_job(node, "run")?.args(["--node-name", node.name(), "--source"]).arg(node.dir().join("services"));
    ready(node, &job.notify().log("proxy"))
}

fn ready(node: &Node, job: &Job) -> Result<Running> {
    let mut running = node.start(job)?;
    running.wait_ready(limit::patience(20))?;
    Ok(running)
}

/// A verb of the proxy with the roots of its node.
fn proxy_job(node: &Node, verb: &str) -> Result<Job> {
    let job = Job::new(dist::proxy()?).args([verb, "--bpffs-root"]).arg(node.bpffs());
    Ok(job.arg("--cgroup-root").arg(node.cgroup_root()))
}

fn said(began: Instant, what: &str) {
    println!("  {:>5.1} s  {what}", began.elapsed().as_secs_f64());
}
