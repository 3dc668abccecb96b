//! The two proxies: kube-proxy in its nftables mode, and ours. Each on a node of its own, told the same.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::cluster::CLUSTER_CIDRS;
use super::{ControlPlane, Member};
use crate::lab::{Job, Running};
use crate::limit::patience;
use crate::{dist, peers};

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// kube-proxy 1.37.2.
    Reference,
    /// fairlead-proxy.
    Ours,
}

impl Proxy {
    /// For messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reference => "kube-proxy",
            Self::Ours => "fairlead-proxy",
        }
    }

    /// Starts it on this node. Ours is ready on return; kube-proxy does not say when it is.
    pub fn start(self, plane: &ControlPlane, member: &Member) -> Result<Running> {
        let quick = json!({"nftables": {"minSyncPeriod": "100ms"}});
        let mut running = member.node.start(&self.job(plane, member, &quick)?)?;
        if self == Self::Ours {
            running.wait_ready(patience(60))?;
        }
        Ok(running)
    }

    /// Starts it in a cgroup of its own, with kube-proxy's own pauses between two rounds, and waits for nothing.
    pub fn spawn(self, plane: &ControlPlane, member: &Member, cgroup: &Path) -> Result<Running> {
        fs::create_dir_all(cgroup).with_context(|| format!("make cgroup {}", cgroup.display()))?;
        let processes = cgroup.join("cgroup.procs");
        let enter = ["/bin/sh", "-c", r#"echo $$ >"$0" && exec "$@""#, &processes.to_string_lossy()];
        member.node.start(&self.job(plane, member, &json!({}))?.under(&enter).log(self.name()))
    }

    /// Takes away what it left on this node.
    pub fn clean(self, member: &Member) -> Result<()> {
        match self {
            Self::Reference => member.node.sh("nft flush ruleset").map(drop),
            Self::Ours => {
                let job = Job::new(dist::proxy()?).arg("cleanup").arg("--cgroup-root").arg(member.node.cgroup_root());
                member.node.output(&job.arg("--bpffs-root").arg(member.node.bpffs()))?.success().map(drop)
            }
        }
    }

    /// Both read the same file: one comes by certificate, the other by token.
    fn job(self, plane: &ControlPlane, member: &Member, pauses: &Value) -> Result<Job> {
        let kubeconfig = match self {
            Self::Reference => plane.kubeconfig_by_certificate(),
            Self::Ours => plane.kubeconfig(),
        };
        let mut config = configuration(member, &kubeconfig);
        if let (Some(config), Some(pauses)) = (config.as_object_mut(), pauses.as_object()) {
            config.extend(pauses.clone());
        }
        let config = member.node.write("kube-proxy.yaml", config.to_string())?;
        match self {
            Self::Reference => {
                Ok(Job::new(peers::kubernetes_bin()?.join("kube-proxy")).arg("--config").arg(config).arg("-v=2"))
            }
            Self::Ours => {
                let job = Job::new(dist::proxy()?).arg("run").arg("--config").arg(config);
                let job = job.arg("--cgroup-root").arg(member.node.cgroup_root());
                let job = job.arg("--bpffs-root").arg(member.node.bpffs());
                Ok(job.arg("--state-dir").arg(member.node.dir().join("proxy-state")).notify())
            }
        }
    }
}

/// What a proxy is told. By ClusterCIDR it would take pods of other nodes for its own
/// when they ask at a node port, and send them, unmasked, to backends whose answers they do not recognize. A namespace may
/// not set the machine's limits of conntrack.
fn configuration(member: &Member, kubeconfig: &Path) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
        "mode": "nftables", "hostnameOverride": member.name(), "clusterCIDR": CLUSTER_CIDRS, "detectLocalMode": "NodeCIDR",
        "clientConnection": {"kubeconfig": kubeconfig},
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpCloseWaitTimeout": "0s", "tcpEstablishedTimeout": "0s"},
    })
}
