//! A node with servers on it and a proxy in front of them.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use fairlead_conformance::dist;
use fairlead_conformance::lab::{Finished, Job, Lab, Node, Place, Pod, Running, netns_name};
use fairlead_conformance::limit::{patience, until};
use fairlead_conformance::traffic::{self, Probed, Report, Target};
use serde_json::Value;

/// The address that all servers have; they differ by port.
pub const SERVERS: &str = "10.244.0.1";

/// A node, its source directory and its servers.
pub struct Stage {
    pub node: Node,
    servers: Vec<Running>,
    /// Last, so that it goes last.
    lab: Lab,
}

impl Stage {
    /// `servers`: a server of the name `s<port>` on each port, TCP and UDP. No service and no proxy yet.
    pub fn new(name: &str, servers: &[u16]) -> Result<Self> {
        let lab = Lab::new(name)?;
        let node = lab.node("node")?;
        node.sh(&format!("ip addr add {SERVERS}/32 dev lo"))?;
        let mut stage = Self { node, servers: Vec::new(), lab };
        fs::create_dir_all(stage.source())?;
        for port in servers {
            let name = format!("s{port}");
            let ports = [format!("tcp:{port}"), format!("udp:{port}")];
            let mut server = stage.node.start(&traffic::serve(&name, &[&ports[0], &ports[1]])?)?;
            server.wait_ready(patience(10))?;
            stage.servers.push(server);
        }
        Ok(stage)
    }

    /// A pod of the node with this address (and `fd00:1::<last number>`), that reaches everything through the node.
    pub fn pod(&self, name: &str, address: &str) -> Result<Pod> {
        let pod = self.lab.pod(&self.node, name)?;
        let last = address.rsplit('.').next().unwrap_or_default();
        let netns = netns_name(&pod);
        for line in [
            format!("ip link add v{last} type veth peer name eth0 netns {netns}"),
            format!("ip link set v{last} up"),
            format!("ip addr replace 10.1.0.1/32 dev v{last}"),
            // The servers answer datagrams from the address that the route says.
            format!("ip route add {address} dev v{last} src {SERVERS}"),
            format!("ip addr add fe80::1/64 dev v{last} nodad"),
            format!("ip route add fd00:1::{last} dev v{last}"),
        ] {
            self.node.sh(&line)?;
        }
        for line in [
            "ip link set lo up",
            "ip link set eth0 up",
            &format!("ip addr add {address}/32 dev eth0"),
            "ip route add 10.1.0.1 dev eth0",
            "ip route add default via 10.1.0.1",
            &format!("ip addr add fd00:1::{last}/128 dev eth0 nodad"),
            "ip route add default via fe80::1 dev eth0",
        ] {
            pod.sh(line)?;
        }
        Ok(pod)
    }

    /// What comes of asking `target` from there until another answer is improbable.
    pub fn probe(&self, place: &Place, target: &str) -> Result<Probed> {
        let target: Target = target.parse().map_err(anyhow::Error::msg)?;
        let probed = traffic::probed(place.output(&traffic::probe(&[target])?)?)?;
        probed.into_iter().next().context("a probe that said nothing")
    }

    pub fn source(&self) -> PathBuf {
        self.node.dir().join("services")
    }

    /// Writes a file of the source by rename.
    pub fn write(&self, file: &str, text: &str) -> Result<()> {
        self.node.write(&format!("services/{file}"), text).map(drop)
    }

    /// Writes a file of the source in place, as an editor without manners does.
    pub fn write_in_place(&self, file: &str, text: &str) -> Result<()> {
        fs::write(self.source().join(file), text).with_context(|| format!("write {file}"))
    }

    fn job(&self, verb: &str) -> Result<Job> {
        let job = Job::new(dist::proxy()?).arg(verb).log(format!("proxy-{verb}"));
        Ok(job.arg("--cgroup-root").arg(self.node.cgroup_root()).arg("--bpffs-root").arg(self.node.bpffs()))
    }

    /// A proxy that is ready. More options by `args`.
    pub fn proxy(&self, args: &[&str]) -> Result<Running> {
        let job = self.job("run")?.arg("--source").arg(self.source()).args(args);
        let mut proxy = self.node.start(&job.notify())?;
        proxy.wait_ready(patience(20))?;
        Ok(proxy)
    }

    /// A proxy that is expected to end by itself.
    pub fn refused_proxy(&self) -> Result<Finished> {
        self.node.output(&self.job("run")?.arg("--source").arg(self.source()))
    }

    /// What a verb prints as JSON.
    pub fn json(&self, verb: &str) -> Result<Value> {
        self.node.output(&self.job(verb)?.args(["-o", "json"]))?.success()?.json()
    }

    /// What a verb prints for people.
    pub fn text(&self, verb: &str) -> Result<String> {
        Ok(self.node.output(&self.job(verb)?)?.success()?.stdout_text())
    }

    /// What a verb with arguments prints.
    pub fn verb(&self, words: &[&str]) -> Result<String> {
        let (verb, arguments) = words.split_first().context("a verb")?;
        Ok(self.node.output(&self.job(verb)?.args(arguments))?.success()?.stdout_text())
    }

    /// Waits until the status is as wanted, and gives it.
    pub fn status_with(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        until(what, patience(20), || {
            let status = self.json("status")?;
            Ok(wanted(&status).then_some(status))
        })
    }

    /// Waits until the kernel serves `vip` (`address:port/PROTOCOL`) by these ports of the servers.
    pub fn served_by(&self, vip: &str, ports: &[u16]) -> Result<()> {
        let wanted: Vec<String> = ports.iter().map(|port| format!("{SERVERS}:{port}")).collect();
        until(&format!("{vip} to be served by {wanted:?}"), patience(20), || {
            let services = self.json("services")?;
            let row = services.as_array().into_iter().flatten().find(|row| row["frontend"] == vip);
            Ok(row.filter(|row| row["backends"] == serde_json::json!(wanted)).map(|_| ()))
        })
    }

    /// Asks `target` this often, and gives the count.
    pub fn ask(&self, target: &str, count: u64) -> Result<Report> {
        let reports = traffic::counted(self.node.output(&traffic::request(&[target], count)?)?)?;
        reports.into_iter().next().context("no report")
    }
}

/// A client that ran while something happened: the only report, and no request without its right answer.
pub fn unharmed(client: &mut Running) -> Result<Report> {
    let report = traffic::finish(client)?.into_iter().next().context("no report")?;
    ensure!(report.sent > 0 && report.unanswered() == 0, "requests failed: {report:?}");
    Ok(report)
}

/// A Service with one port and its slice, as people write them.
pub fn service(name: &str, vip: &str, protocol: &str, backends: &[u16]) -> String {
    let mut text = format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec:\n  clusterIP: {vip}\n  ports:\n  \
         - {{name: main, protocol: {protocol}, port: 80}}\n"
    );
    // One slice for each backend: they listen on ports of their own.
    for port in backends {
        _ = write!(
            text,
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {name}-{port}\n  labels:\n    \
             kubernetes.io/service-name: {name}\naddressType: IPv4\nports:\n- {{name: main, protocol: {protocol}, port: {port}}}\n\
             endpoints:\n- addresses: [{SERVERS}]\n"
        );
    }
    text
}
