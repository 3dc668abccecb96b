//! Playing cases: a step of all of them is written, both proxies are waited for, everything is asked, and what was answered
//! is compared.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use fairlead_conformance::differential::Judgement;
use fairlead_conformance::kubernetes::{Cluster, Proxy};
use fairlead_conformance::lab::{Place, Running};
use fairlead_conformance::limit::patience;
use fairlead_conformance::snapshot::Snapshot;
use fairlead_conformance::traffic::{self, Probed, Target};
use serde_json::{Value, json};

use super::health;
use super::side::{At, CLIENTS, FAR, NAMESPACE, NODES, PODS, Side, ZONES};
use super::targets::{self, Asked};

/// A case: its name, and its steps as they are at one place.
pub type Case = (&'static str, fn(&At<'_>) -> Vec<Step>);

/// What is written before everything is asked again.
#[derive(Default)]
pub struct Step {
    pub name: &'static str,
    pub writes: Vec<Write>,
}

pub enum Write {
    /// Creates or replaces. A Service's `status` is written too.
    Put(Value),
    Delete(Value),
}

/// A step that writes these objects.
pub fn step<const N: usize>(name: &'static str, objects: [Value; N]) -> Step {
    Step { name, writes: objects.into_iter().map(Write::Put).collect() }
}

impl Step {
    /// The same, and then deletes this object.
    pub fn and_delete(mut self, object: &Value) -> Self {
        self.writes.push(Write::Delete(object.clone()));
        self
    }
}

/// The cluster with all its pods, and a proxy on each node.
pub struct Stage {
    pub cluster: Cluster,
    _proxies: Vec<Running>,
    settled: u8,
}

impl Stage {
    /// `judged` runs on the first node and the second, kube-proxy far away.
    pub fn new(name: &str, judged: [Proxy; 2]) -> Result<Self> {
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
        let mut stage = Self { cluster, _proxies: proxies, settled: 0 };
        stage.settle()?;
        Ok(stage)
    }

    pub fn sides(&self) -> [Side<'_>; 2] {
        [0, 1].map(|own| Side { cluster: &self.cluster, own })
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
        let target: Target = format!("tcp:{address}:80").parse().map_err(anyhow::Error::msg)?;
        let limit = patience(30).as_millis().to_string();
        for member in &self.cluster.members {
            let job = traffic::probe(&[target])?.args(["--timeout-ms", "50", "--until-answered-ms", &limit]);
            let probed = traffic::probed(member.node.output(&job)?)?;
            let answered = probed.first().is_some_and(|probed| !probed.answered.is_empty());
            ensure!(answered, "the proxy on node {} has not taken what was written last: {probed:?}", member.name());
        }
        Ok(())
    }
}

/// Plays all cases at once, step by step, and judges them.
pub fn play(stage: &mut Stage, cases: &[Case], judgement: &mut Judgement) -> Result<()> {
    // What each case of each side has asked so far: what was taken away is asked again.
    let mut asked: BTreeMap<(usize, usize), BTreeSet<Asked>> = BTreeMap::new();
    let mut health_ports: BTreeMap<(usize, usize), u16> = BTreeMap::new();
    for turn in 0.. {
        let mut names: BTreeMap<usize, &'static str> = BTreeMap::new();
        let mut writes = Vec::new();
        for side in stage.sides() {
            for (index, (_, make)) in cases.iter().enumerate() {
                let at = At { side, number: u8::try_from(index).context("that many cases")? };
                let Some(step) = make(&at).into_iter().nth(turn) else { continue };
                names.insert(index, step.name);
                for write in &step.writes {
                    if let Write::Put(service) = write
                        && service["kind"] == "Service"
                    {
                        let name = service["metadata"]["name"].as_str().and_then(|name| name.rsplit('-').next());
                        let found = targets::of(service, name.unwrap_or_default(), &side);
                        asked.entry((side.own, index)).or_default().extend(found);
                        if let Some(port) = service["spec"]["healthCheckNodePort"].as_u64() {
                            health_ports.insert((side.own, index), u16::try_from(port).context("a port")?);
                        }
                    }
                }
                writes.extend(step.writes);
            }
        }
        if names.is_empty() {
            return Ok(());
        }
        stage.write(&writes)?;
        stage.settle()?;
        let mut facts: BTreeMap<(usize, usize), Snapshot> = BTreeMap::new();
        for side in stage.sides() {
            let wanted: Vec<(usize, &Asked)> = names
                .keys()
                .flat_map(|index| asked.get(&(side.own, *index)).into_iter().flatten().map(move |one| (*index, one)))
                .collect();
            let client = side.member().pod(CLIENTS[side.own]);
            let own = side.member().pod_addresses(CLIENTS[side.own]);
            for (from, place, asker) in [("pod", &**client, Some(own)), ("host", &*side.member().node, None)] {
                let results =
                    ask(place, wanted.iter().map(|(_, one)| *one).filter(|one| asker.is_none() || !one.host_only))?;
                for (index, one) in &wanted {
                    let Some(probed) = results.get(&one.target) else { continue };
                    let snapshot = facts.entry((side.own, *index)).or_default();
                    let key = format!("{}: {from} {}", names[index], one.label);
                    tell(snapshot, &key, probed, &side, asker);
                }
            }
            for index in names.keys() {
                if let Some(port) = health_ports.get(&(side.own, *index)) {
                    let snapshot = facts.entry((side.own, *index)).or_default();
                    health::of_service(snapshot, &format!("{}: health", names[index]), &side, *port)?;
                }
            }
        }
        for index in names.keys() {
            let [reference, ours] = [0, 1].map(|own| facts.remove(&(own, *index)).unwrap_or_default());
            if std::env::var_os("FAIRLEAD_SHOW").is_some() {
                eprint!("{}\n{reference}", cases[*index].0);
            }
            judgement.add(cases[*index].0, reference.diff(&ours));
        }
    }
    Ok(())
}

fn ask<'a>(place: &Place, wanted: impl Iterator<Item = &'a Asked>) -> Result<BTreeMap<String, Probed>> {
    let targets: BTreeSet<&str> = wanted.map(|one| one.target.as_str()).collect();
    let targets = targets.into_iter().map(|text| text.parse::<Target>().map_err(anyhow::Error::msg));
    let results = traffic::probed(place.output(&traffic::probe(&targets.collect::<Result<Vec<_>>>()?)?)?)?;
    Ok(results.into_iter().map(|probed| (probed.target.clone(), probed)).collect())
}

/// Who answered, and whom they saw.
fn tell(facts: &mut Snapshot, key: &str, probed: &Probed, side: &Side<'_>, asker: Option<[IpAddr; 2]>) {
    let mut words: BTreeSet<String> = probed.answered.keys().map(|pod| side.role_of(pod)).collect();
    words.extend((probed.refused > 0).then(|| "refused".to_owned()));
    words.extend((probed.lost > 0).then(|| "lost".to_owned()));
    words.extend(probed.failed.keys().cloned());
    facts.add(key, words.into_iter().collect::<Vec<_>>().join(", "));
    if !probed.clients.is_empty() {
        let seen: BTreeSet<String> = probed.clients.iter().map(|client| side.client_of(client, asker)).collect();
        facts.add(format!("{key}, client seen"), seen.into_iter().collect::<Vec<_>>().join(", "));
    }
}
