//! One proxy on its node, measured: its processor time, its memory, and when a client of its node gets the first byte.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use crate::kubernetes::{Cluster, Proxy};
use crate::lab::Running;
use crate::limit::{patience, until};
use crate::traffic::{self, First};

/// A proxy, and a client pod on its node that waits for first bytes.
pub(super) struct Side {
    pub(super) proxy: Proxy,
    member: usize,
    client: Running,
    running: Option<Running>,
    heard: usize,
}

impl Side {
    /// With a client pod on this node of the cluster, and no proxy yet.
    pub(super) fn new(cluster: &mut Cluster, member: usize, proxy: Proxy) -> Result<Self> {
        let pod = cluster.pod(member, &format!("client-{member}"))?;
        let mut client = pod.start(&traffic::first()?)?;
        client.wait_ready(patience(10))?;
        Ok(Self { proxy, member, client, running: None, heard: 0 })
    }

    /// Starts it as if it had never run here.
    pub(super) fn start(&mut self, cluster: &Cluster) -> Result<()> {
        let member = &cluster.members[self.member];
        self.proxy.clean(member)?;
        let running = self.proxy.spawn(cluster.plane(), member, &self.cgroup(cluster))?;
        self.running = Some(running);
        Ok(())
    }

    /// Ends it.
    pub(super) fn stop(&mut self) -> Result<()> {
        self.running.take().map_or(Ok(()), |mut running| running.kill())
    }

    /// Resident memory in MiB.
    pub(super) fn resident_mib(&self) -> Result<f64> {
        Ok(self.running()?.resident_kib()? as f64 / 1024.0)
    }

    /// Processor time that it and what it started have used, in ms.
    pub(super) fn processor_ms(&self, cluster: &Cluster) -> Result<f64> {
        let path = self.cgroup(cluster).join("cpu.stat");
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let used =
            text.lines().find_map(|line| line.strip_prefix("usage_usec ")).and_then(|text| text.parse::<f64>().ok());
        Ok(used.ok_or_else(|| anyhow!("{} has no usage_usec", path.display()))? / 1000.0)
    }

    /// Begins to ask this address of a service. Returns when it was asked once, or, for a service that is `known` to the
    /// proxy and has no endpoints, when it was refused.
    pub(super) fn await_first(&mut self, address: &str, known: bool) -> Result<()> {
        self.heard = self.lines()?.len();
        self.client.say(&format!("tcp:{address}:80{}", if known { " refused" } else { "" }))?;
        until("the client to ask", patience(60), || Ok((self.lines()?.len() > self.heard).then_some(())))
    }

    /// When the first byte came, in ns of CLOCK_MONOTONIC.
    pub(super) fn first_at(&mut self, within: Duration) -> Result<u64> {
        let name = self.proxy.name();
        until(&format!("the first byte by {name}"), within, || {
            if !self.client.is_alive()? {
                return Err(anyhow!("{name}: {}", self.client.stderr_text()?));
            }
            let lines = self.lines()?;
            let answers = lines.get(self.heard..).unwrap_or_default();
            Ok(answers.iter().map(|first| first.at_ns).find(|at| *at > 0))
        })
    }

    fn lines(&self) -> Result<Vec<First>> {
        let text = self.client.stdout_text()?;
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).with_context(|| format!("not an answer: {line}"))).collect()
    }

    fn running(&self) -> Result<&Running> {
        let running = self.running.as_ref().with_context(|| format!("{} does not run", self.proxy.name()))?;
        ensure!(std::path::Path::new(&format!("/proc/{}", running.pid())).exists(), "{} has ended", self.proxy.name());
        Ok(running)
    }

    fn cgroup(&self, cluster: &Cluster) -> PathBuf {
        cluster.members[self.member].node.cgroup_root().join("measured")
    }
}
