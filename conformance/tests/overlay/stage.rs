//! What every case needs: nodes, their peers file, their agents, pods.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use fairlead_conformance::lab::{Finished, Job, Lab, Node, Pod, Running};
use fairlead_conformance::limit::{patience, until};
use fairlead_conformance::{dist, traffic};
use serde_json::Value;

pub const NAMES: [&str; 3] = ["node-a", "node-b", "node-c"];

/// Nodes on a switch: node `i` has 192.168.77.i+1 and 2001:db8:77::i+1 on `eth0`.
pub struct Stage {
    pub lab: Lab,
    pub nodes: Vec<Node>,
    agents: BTreeMap<usize, Running>,
}

/// The peers file of the first `count` nodes, IPv4 in IPv4.
pub fn peers(count: usize) -> String {
    let nodes = NAMES.iter().take(count).enumerate().map(|(i, name)| {
        let n = i + 1;
        format!("  - {{name: {name}, address: 192.168.77.{n}, subnet: 10.244.{n}.0/24}}\n")
    });
    format!("network: 10.244.0.0/16\nnodes:\n{}", nodes.collect::<String>())
}

impl Stage {
    pub fn new(name: &str, count: usize) -> Result<Stage> {
        let lab = Lab::new(name)?;
        let switch = lab.switch("sw")?;
        let mut nodes = Vec::new();
        for (i, name) in NAMES.iter().take(count).enumerate() {
            let node = lab.node(name)?;
            let n = i + 1;
            switch.plug(&node, "eth0", &[&format!("192.168.77.{n}/24"), &format!("2001:db8:77::{n}/64")])?;
            nodes.push(node);
        }
        Ok(Stage { lab, nodes, agents: BTreeMap::new() })
    }

    /// A stage on which every node runs its agent with this peers file, ready.
    pub fn running(name: &str, count: usize, peers: &str) -> Result<Stage> {
        let mut stage = Stage::new(name, count)?;
        stage.write_peers(peers)?;
        (0..count).try_for_each(|i| stage.start(i))?;
        Ok(stage)
    }

    /// Replaces every node's peers file by rename.
    pub fn write_peers(&self, text: &str) -> Result<()> {
        self.nodes.iter().try_for_each(|node| node.write("peers.yaml", text).map(drop))
    }

    pub fn peers_path(&self, i: usize) -> PathBuf {
        self.nodes[i].dir().join("peers.yaml")
    }

    /// The command line of `run` on a node.
    pub fn run_job(&self, i: usize) -> Result<Job> {
        let job = Job::new(dist::overlay()?).args(["run", "--node-name", NAMES[i], "--log-level", "debug", "--peers"]);
        Ok(job.arg(self.peers_path(i)).notify().log(format!("overlay-{}", NAMES[i])))
    }

    pub fn start(&mut self, i: usize) -> Result<()> {
        let mut agent = self.nodes[i].start(&self.run_job(i)?)?;
        agent.wait_ready(patience(10))?;
        self.agents.insert(i, agent);
        Ok(())
    }

    pub fn agent(&mut self, i: usize) -> Result<&mut Running> {
        self.agents.get_mut(&i).context("no agent on this node")
    }

    /// SIGTERM, and its end with 0.
    pub fn stop(&mut self, i: usize) -> Result<()> {
        self.agent(i)?.stop()?;
        self.agents.remove(&i);
        Ok(())
    }

    /// Runs a verb to its end, whatever its status.
    pub fn verb(&self, i: usize, words: &[&str]) -> Result<Finished> {
        self.nodes[i].output(&Job::new(dist::overlay()?).args(words))
    }

    pub fn status(&self, i: usize) -> Result<Value> {
        self.verb(i, &["status", "-o", "json"])?.json()
    }

    /// Waits until the status of a node fulfils a condition.
    pub fn wait_status(&self, i: usize, what: &str, condition: impl Fn(&Value) -> bool) -> Result<Value> {
        until(what, patience(10), || {
            let status = self.status(i)?;
            Ok(condition(&status).then_some(status))
        })
    }

    /// Waits until every node with an agent has all it should and `count` peers.
    pub fn wait_peers(&self, count: usize) -> Result<()> {
        for i in self.agents.keys() {
            self.wait_status(*i, &format!("{count} peers on {}", NAMES[*i]), |status| {
                status["healthy"] == true && status["peersProgrammed"] == count
            })?;
        }
        Ok(())
    }

    /// A pod on node `i`: a routed veth with the subnet's .2 and the MTU of the subnet file; the host's end is the gateway.
    pub fn pod(&self, i: usize) -> Result<Pod> {
        let (node, n) = (&self.nodes[i], i + 1);
        let pod = self.lab.pod(node, &format!("pod-{n}"))?;
        let netns = pod.netns().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let env = self.subnet_env(i)?;
        let mtu = &env["FLANNEL_MTU"];
        node.sh(&format!("ip link add pod{n} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {netns}"))?;
        // Without a link-local address that is past its detection the kernel solicits no neighbour for what it forwards
        // (ndisc_solicit, net/ipv6/ndisc.c), and the first packets would wait a second for that.
        for (place, device) in [(&**node, format!("pod{n}")), (&*pod, "eth0".into())] {
            place.sh(&format!("sysctl -qw net/ipv6/conf/{device}/accept_dad=0"))?;
            place.sh(&format!("ip link set {device} up"))?;
        }
        for (key, default) in [("FLANNEL_SUBNET", "0.0.0.0/0"), ("FLANNEL_IPV6_SUBNET", "::/0")] {
            let Some(gateway) = env.get(key) else { continue };
            let (address, length) = gateway.split_once('/').context("a subnet without a length")?;
            let own = address.strip_suffix('1').context("a gateway that is not .1")?;
            let nodad = if address.contains(':') { " nodad" } else { "" };
            node.sh(&format!("ip addr add {gateway} dev pod{n}{nodad}"))?;
            pod.sh(&format!("ip addr add {own}2/{length} dev eth0{nodad}"))?;
            pod.sh(&format!("ip route add {default} via {address}"))?;
        }
        Ok(pod)
    }

    /// The subnet file of a node.
    pub fn subnet_env(&self, i: usize) -> Result<BTreeMap<String, String>> {
        let path = self.nodes[i].run_dir().join("flannel/subnet.env");
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        Ok(text.lines().filter_map(|line| line.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect())
    }
}

/// Waits for the nodes' link-local addresses, which come with the carrier and after detection: what comes later would look
/// like residue.
pub fn settled(stage: &Stage) -> Result<()> {
    stage.nodes.iter().try_for_each(|node| {
        until("duplicate address detection", patience(10), || {
            let own = node.sh("ip -6 addr show dev eth0 scope link")?;
            Ok((own.contains("fe80:") && !own.contains("tentative")).then_some(()))
        })
    })
}

/// A server in the pod, on TCP and UDP port 8080.
pub fn serve(pod: &Pod) -> Result<Running> {
    let mut server = pod.start(&traffic::serve(pod.name(), &["tcp:8080", "udp:8080"])?)?;
    server.wait_ready(patience(10))?;
    Ok(server)
}

/// Both protocols to an address from a pod: all of a few requests must be answered.
#[track_caller]
pub fn assert_reaches(pod: &Pod, address: &str) -> Result<()> {
    let targets = [format!("tcp:{address}:8080"), format!("udp:{address}:8080")];
    let job = traffic::request(&[&targets[0], &targets[1]], 5)?;
    for report in traffic::counted(pod.output(&job)?)? {
        assert_eq!((report.sent, report.answered), (5, 5), "{} to {address}: {report:?}", pod.name());
    }
    Ok(())
}
