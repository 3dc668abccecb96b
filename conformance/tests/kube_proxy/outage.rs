//! The API server gone for a minute, under load.

use anyhow::{Result, ensure};
use fairlead_conformance::kubernetes::{Cluster, Proxy};
use fairlead_conformance::limit::{patience, until};
use fairlead_conformance::traffic;
use serde_json::{Value, json};

const NAMESPACE: &str = "default";
const ADDRESS: &str = "10.96.20.1";
/// Requests a second, and as many as make a minute.
const RATE: u64 = 200;
const MINUTE: u64 = 60 * RATE;

/// Services keep answering, and what was changed while the proxy could not see it arrives when the server is back.
#[test]
fn an_api_server_gone_for_a_minute_costs_no_request() -> Result<()> {
    let mut cluster = Cluster::new("outage", &[("node", "zone-a")])?;
    for name in ["stays", "goes", "comes"] {
        cluster.serve(0, name)?;
    }
    let client = cluster.pod(0, "client")?;
    let address = |name: &str| cluster.members[0].pod_addresses(name)[0].to_string();
    let api = cluster.api();
    api.put(&json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": NAMESPACE},
        "spec": {"clusterIP": ADDRESS, "ports": [{"name": "main", "protocol": "TCP", "port": 80}]},
    }))?;
    api.put(&slice(&[address("stays"), address("goes")]))?;
    let (before, after) = (slice(&[address("stays")]), slice(&[address("stays"), address("comes")]));
    let mut proxy = Proxy::Ours.start(cluster.plane(), &cluster.members[0])?;
    answered_by(&cluster, &["goes", "stays"])?;
    // The last that the proxy hears: from here on the load's answers must all be right.
    cluster.api().put(&before)?;
    answered_by(&cluster, &["stays"])?;

    cluster.plane_mut().kill_server()?;
    let target = format!("tcp:{ADDRESS}:80");
    let load = traffic::request(&[&target], MINUTE)?.args(["--rate", &RATE.to_string(), "--timeout-ms", "1000"]);
    let mut load = client.start(&load)?;
    let status = load.wait(patience(90))?;
    ensure!(status.success(), "the load ended with {status}");
    let reports: Vec<traffic::Report> =
        load.stdout_text()?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(reports.iter().all(|report| report.sent == MINUTE && report.unanswered() == 0), "{reports:?}");
    ensure!(proxy.is_alive()?, "the proxy has ended: {}", proxy.stderr_text()?);

    cluster.plane_mut().start_server()?;
    cluster.api().put(&after)?;
    answered_by(&cluster, &["comes", "stays"])?;
    proxy.stop()
}

fn slice(addresses: &[String]) -> Value {
    let endpoints: Vec<Value> = addresses.iter().map(|address| json!({"addresses": [address]})).collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "web-1", "namespace": NAMESPACE, "labels": {"kubernetes.io/service-name": "web"}},
        "endpoints": endpoints, "ports": [{"name": "main", "protocol": "TCP", "port": 8080}],
    })
}

/// The limit is the pause between two attempts at a server that was gone for a minute, and a list.
fn answered_by(cluster: &Cluster, wanted: &[&str]) -> Result<()> {
    let target: traffic::Target = format!("tcp:{ADDRESS}:80").parse().map_err(anyhow::Error::msg)?;
    let client = cluster.members[0].pod("client");
    until(&format!("{wanted:?} to answer"), patience(40), || {
        let probed = traffic::probed(client.output(&traffic::probe(&[target])?)?)?;
        let names: Vec<&String> = probed.iter().flat_map(|probed| probed.answered.keys()).collect();
        Ok((names == wanted).then_some(()))
    })
}
