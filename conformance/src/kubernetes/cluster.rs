//! Nodes on one switch beside a control plane, with pods that answer. Both families everywhere.
//!
//! Node number n: `172.30.0.<10+n>`, `fd00:172:30::<10+n>`; its pods `10.244.<n>.<10+p>`, `fd00:244:<n>::<10+p>`, routed
//! one by one. Every node reaches every pod; there is no NAT but the proxy's.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Api, ControlPlane};
use crate::lab::{self, Lab, Node, Pod, Running, Switch, netns_name};
use crate::limit::patience;
use crate::traffic;

/// Where pods get their addresses from.
pub const CLUSTER_CIDRS: &str = "10.244.0.0/16,fd00:244::/32";
/// Ports that a pod answers on, TCP and UDP; the name it answers with is its own on each of them.
pub const POD_PORTS: [u16; 3] = [8080, 8081, 9090];

/// A router; addresses of the lab are unique: nothing to detect; and every refusal is said, also the hundredth in a second.
const SETTINGS: [&str; 7] = [
    "ipv4.ip_forward=1",
    "ipv6.conf.all.forwarding=1",
    "ipv6.conf.default.accept_dad=0",
    "ipv4.icmp_ratemask=0",
    "ipv6.icmp.ratelimit=0",
    "ipv4.icmp_msgs_per_sec=1000000",
    "ipv4.icmp_msgs_burst=1000000",
];

/// A control plane and the nodes it knows.
#[derive(Debug)]
pub struct Cluster {
    /// The nodes, in the order they were asked for.
    pub members: Vec<Member>,
    plane: ControlPlane,
    _switch: Switch,
    /// Last, so that it goes last.
    lab: Lab,
}

/// A node with its pods.
#[derive(Debug)]
pub struct Member {
    /// The node itself.
    pub node: Node,
    number: u8,
    pods: BTreeMap<String, (Pod, [IpAddr; 2])>,
    servers: Vec<Running>,
}

impl Cluster {
    /// A control plane and these nodes, as Node objects too, each with the label `topology.kubernetes.io/zone`: (name, zone).
    pub fn new(name: &str, nodes: &[(&str, &str)]) -> Result<Self> {
        let lab = Lab::new(name)?;
        // etcd and an API server are too heavy to be left for the next run to find.
        lab::take_down_on_interrupt(lab.dir())?;
        let switch = lab.switch("switch")?;
        let control = lab.node("control")?;
        switch.plug(&control, "eth0", &["172.30.0.1/24", "fd00:172:30::1/64"])?;
        let plane = ControlPlane::start(&control, &["172.30.0.1".parse()?, "fd00:172:30::1".parse()?])?;
        let mut members = Vec::new();
        for (number, (name, _)) in (1..).zip(nodes) {
            members.push(Member::new(&lab, &switch, name, number, nodes.len())?);
        }
        for (member, (_, zone)) in members.iter().zip(nodes) {
            plane.api().put(&member.object(zone))?;
        }
        Ok(Self { members, plane, _switch: switch, lab })
    }

    /// The control plane's client.
    pub fn api(&self) -> &Api {
        self.plane.api()
    }

    /// The control plane.
    pub fn plane(&self) -> &ControlPlane {
        &self.plane
    }

    /// The control plane, to be killed and started.
    pub fn plane_mut(&mut self) -> &mut ControlPlane {
        &mut self.plane
    }

    /// The lab it stands in.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// A pod on a node of [`Cluster::members`] that answers with its own name on [`POD_PORTS`], telling the client's address.
    pub fn serve(&mut self, member: usize, name: &str) -> Result<()> {
        self.pod(member, name)?;
        let member = &mut self.members[member];
        let ports: Vec<String> =
            POD_PORTS.iter().flat_map(|port| [format!("tcp:{port}"), format!("udp:{port}")]).collect();
        let job = traffic::serve(name, &ports.iter().map(String::as_str).collect::<Vec<_>>())?.arg("--tell-client");
        member.servers.push(member.pods[name].0.start(&job)?);
        member.servers.last_mut().context("a server that was just started")?.wait_ready(patience(10))
    }

    /// A pod that answers nothing.
    pub fn pod(&mut self, member: usize, name: &str) -> Result<Pod> {
        let member = &mut self.members[member];
        let pod = self.lab.pod(&member.node, name)?;
        let addresses = member.connect(&pod).with_context(|| format!("connect pod {name}"))?;
        member.pods.insert(name.to_owned(), (pod.clone(), addresses));
        Ok(pod)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        lab::stand_aside();
    }
}

impl Member {
    fn new(lab: &Lab, switch: &Switch, name: &str, number: u8, count: usize) -> Result<Self> {
        let node = lab.node(name)?;
        for setting in SETTINGS {
            node.sh(&format!("sysctl -qw net.{setting}"))?;
        }
        let member = Self { node, number, pods: BTreeMap::new(), servers: Vec::new() };
        let [four, six] = member.addresses();
        switch.plug(&member.node, "eth0", &[&format!("{four}/24"), &format!("{six}/64")])?;
        // What no proxy takes goes somewhere and is lost there, as on a real network.
        member.node.sh("ip route add default via 172.30.0.1")?;
        member.node.sh("ip -6 route add default via fd00:172:30::1")?;
        for other in (1..=u8::try_from(count).context("that many nodes")?).filter(|other| *other != number) {
            let [four, six] = node_addresses(other);
            member.node.sh(&format!("ip route add 10.244.{other}.0/24 via {four}"))?;
            member.node.sh(&format!("ip -6 route add fd00:244:{other}::/64 via {six}"))?;
        }
        Ok(member)
    }

    /// The node's name, which is its Node object's too.
    pub fn name(&self) -> &str {
        self.node.name()
    }

    /// The node's addresses, IPv4 and IPv6.
    pub fn addresses(&self) -> [IpAddr; 2] {
        node_addresses(self.number)
    }

    /// A pod made by [`Cluster::serve`] or [`Cluster::pod`].
    pub fn pod(&self, name: &str) -> &Pod {
        &self.pods[name].0
    }

    /// Its addresses, IPv4 and IPv6.
    pub fn pod_addresses(&self, name: &str) -> [IpAddr; 2] {
        self.pods[name].1
    }

    /// Forgets every flow, so that whoever asks next is new to this node whatever port it got.
    pub fn forget_flows(&self) -> Result<()> {
        self.node.sh("conntrack -F").map(drop)
    }

    /// Whether packets from this address are the node's own: one of its addresses, or the one it has towards its pods.
    pub fn owns(&self, address: IpAddr) -> bool {
        self.addresses().contains(&address) || self.gateways().contains(&address)
    }

    fn gateways(&self) -> [IpAddr; 2] {
        pod_addresses(self.number, 1)
    }

    /// A veth pair, a route to the pod and one from it.
    fn connect(&self, pod: &Pod) -> Result<[IpAddr; 2]> {
        let [gate4, gate6] = self.gateways();
        let number = u16::try_from(10 + self.pods.len()).context("that many pods")?;
        let [four, six] = pod_addresses(self.number, number);
        let inside = netns_name(pod);
        pod.sh("sysctl -qw net.ipv6.conf.default.accept_dad=0")?;
        self.node.sh(&format!("ip link add pod{number} type veth peer name eth0 netns {inside}"))?;
        pod.sh("ip link set lo up")?;
        for line in [format!("ip addr add {four}/32 dev eth0"), format!("ip addr add {six}/128 dev eth0 nodad")] {
            pod.sh(&line)?;
        }
        for line in [
            format!("ip addr add {gate4}/32 dev pod{number}"),
            format!("ip addr add {gate6}/128 dev pod{number} nodad"),
        ] {
            self.node.sh(&line)?;
        }
        self.node.sh(&format!("ip link set pod{number} up"))?;
        pod.sh("ip link set eth0 up")?;
        self.node.sh(&format!("ip route add {four}/32 dev pod{number}"))?;
        self.node.sh(&format!("ip -6 route add {six}/128 dev pod{number}"))?;
        pod.sh(&format!("ip route add {gate4}/32 dev eth0"))?;
        pod.sh(&format!("ip route add default via {gate4} dev eth0"))?;
        pod.sh(&format!("ip -6 route add {gate6}/128 dev eth0"))?;
        pod.sh(&format!("ip -6 route add default via {gate6} dev eth0"))?;
        Ok([four, six])
    }

    /// The Node object, as a kubelet and a controller would write it.
    pub fn object(&self, zone: &str) -> Value {
        let [four, six] = self.addresses();
        let number = self.number;
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": self.name(), "labels": {"topology.kubernetes.io/zone": zone, "kubernetes.io/hostname": self.name()}},
            "spec": {
                "podCIDR": format!("10.244.{number}.0/24"),
                "podCIDRs": [format!("10.244.{number}.0/24"), format!("fd00:244:{number}::/64")],
            },
            "status": {"addresses": [
                {"type": "InternalIP", "address": four}, {"type": "InternalIP", "address": six},
                {"type": "Hostname", "address": self.name()},
            ]},
        })
    }
}

fn node_addresses(number: u8) -> [IpAddr; 2] {
    let last = 10 + u16::from(number);
    [Ipv4Addr::new(172, 30, 0, 10 + number).into(), Ipv6Addr::new(0xfd00, 0x172, 0x30, 0, 0, 0, 0, last).into()]
}

fn pod_addresses(node: u8, pod: u16) -> [IpAddr; 2] {
    let [_, last] = pod.to_be_bytes();
    [Ipv4Addr::new(10, 244, node, last).into(), Ipv6Addr::new(0xfd00, 0x244, node.into(), 0, 0, 0, 0, pod).into()]
}
