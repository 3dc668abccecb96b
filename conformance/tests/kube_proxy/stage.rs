//! The stage: three nodes with pods, a proxy on each, and what it takes to write and to wait.

use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};
use fairlead_conformance::kubernetes::{Cluster, Proxy};
use fairlead_conformance::lab::{Place, Running};
use fairlead_conformance::limit::patience;
use fairlead_conformance::traffic::{self, Probed, Target};
use serde_json::json;

use super::play::Write;
use super::side::{CLIENTS, FAR, NAMESPACE, NODES, PODS, Side, ZONES};

/// Two stages at once would have each other's load for silence.
static ONE: Mutex<()> = Mutex::new(());

/// The cluster with all its pods, and a proxy on each node.
pub struct Stage {
    pub cluster: Cluster,
    _proxies: Vec<Running>,
    settled: u8,
    _alone: MutexGuard<'static, ()>,
}

impl Stage {
    /// `judged` runs on the first node and the second, kube-proxy far away.
    pub fn new(name: &str, judged: [Proxy; 2]) -> Result<Self> {
        let alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let nodes: Vec<(&str, &str)> = NODES.into_iter().zip(ZONES).collect();
        let mut cluster = Cluster::new(name, &nodes)?;
        for (member, pods) in PODS.iter().enumerate() {
            for pod in *pods {
                cluster.serve(member, pod)?;
            }
        }
        for (member, pod) in CLIENTS.iter().enumerate() {
            cluster.pod(member, pod)?;
        }
        cluster.api().put(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}))?;
        let mut proxies = Vec::new();
        for (member, proxy) in cluster.members.iter().zip(judged.into_iter().chain([Proxy::Reference])) {
            proxies.push(proxy.start(cluster.plane(), member)?);
        }
        let mut stage = Self { cluster, _proxies: proxies, settled: 0, _alone: alone };
        stage.settle()?;
        Ok(stage)
    }

    pub fn sides(&self) -> [Side<'_>; 2] {
        [0, 1].map(|own| Side { cluster: &self.cluster, own })
    }

    /// Asks one target from there, with options of `traffic probe`.
    pub fn probe(&self, place: &Place, target: &str, options: &[&str]) -> Result<Probed> {
        let target: Target = target.parse().map_err(anyhow::Error::msg)?;
        let job = traffic::probe(&[target])?.args(options);
        traffic::probed(place.output(&job)?)?.into_iter().next().context("a probe that said nothing")
    }

    pub fn write(&self, writes: &[Write]) -> Result<()> {
        let api = self.cluster.api();
        api.visit(|visit| {
            for write in writes {
                match write {
                    Write::Put(object) => {
                        visit.put(object)?;
                        if object["status"].is_object() && object["kind"] == "Service" {
                            visit.patch(object, "status", &json!({"status": object["status"]}))?;
                        }
                    }
                    Write::Delete(object) => visit.delete(object)?,
                }
            }
            Ok(())
        })
    }

    /// Waits until every proxy has taken what was written so far: a new Service and its slice, written last, are answered.
    /// Each kind comes in one stream, in order: what answers the last of both has seen all before.
    pub fn settle(&mut self) -> Result<()> {
        self.settled += 1;
        let (address, name) = (format!("10.96.8.{}", self.settled), format!("settled-{}", self.settled));
        let [four, _] = self.cluster.members[FAR].pod_addresses(PODS[FAR][0]);
        let port = json!({"name": "main", "protocol": "TCP", "port": 80});
        self.write(&[
            Write::Put(json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": NAMESPACE},
                "spec": {"clusterIP": address, "ports": [port]},
            })),
            Write::Put(json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"kubernetes.io/service-name": name}},
                "endpoints": [{"addresses": [four]}], "ports": [{"name": "main", "protocol": "TCP", "port": 8080}],
            })),
        ])?;
        let target = format!("tcp:{address}:80");
        let limit = patience(30).as_millis().to_string();
        for member in &self.cluster.members {
            let probed = self.probe(&member.node, &target, &["--timeout-ms", "50", "--until-answered-ms", &limit])?;
            ensure!(
                !probed.answered.is_empty(),
                "the proxy on node {} has not taken what was written last: {probed:?}",
                member.name()
            );
        }
        Ok(())
    }
}
