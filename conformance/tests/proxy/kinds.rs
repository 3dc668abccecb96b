//! Every kind of service address, asked from the node and from its pods.

use std::fmt::Write;

use anyhow::Result;
use fairlead_conformance::lab::Place;
use fairlead_conformance::limit::{patience, until};

use crate::stage::{SERVERS, Stage};

/// An address of the node.
const NODE: &str = "10.1.0.1";

/// A Service with a UDP and a TCP port 80 (NodePort 30080), its spec as given, and a slice of these servers on `node`.
fn service(name: &str, spec: &str, servers: &[u16], node: &str) -> String {
    let mut text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n{spec}  ports:\n  \
         - {{name: tcp, protocol: TCP, port: 80{node_port}}}\n  - {{name: udp, protocol: UDP, port: 80{node_port}}}\n",
        node_port = if spec.contains("NodePort") { ", nodePort: 30080" } else { "" },
    );
    for port in servers {
        _ = write!(
            text,
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {name}-{port}\n  labels: \
             {{kubernetes.io/service-name: {name}}}\naddressType: IPv4\nports:\n\
             - {{name: tcp, protocol: TCP, port: {port}}}\n- {{name: udp, protocol: UDP, port: {port}}}\n\
             endpoints:\n- {{addresses: [{SERVERS}], nodeName: {node}}}\n"
        );
    }
    text
}

/// Both protocols at this address.
fn targets(address: &str) -> [String; 3] {
    ["tcp", "udp", "udp-connected"].map(|protocol| format!("{protocol}:{address}"))
}

/// What everybody is answered by, at an address.
fn answered(stage: &Stage, place: &Place, address: &str, by: &[&str]) -> Result<()> {
    for target in targets(address) {
        let probed = stage.probe(place, &target)?;
        assert_eq!(probed.answered.keys().collect::<Vec<_>>(), by, "{} asks {target}: {probed:?}", place.name());
        assert_eq!((probed.refused, probed.lost, probed.failed.len()), (0, 0, 0), "{} asks: {probed:?}", place.name());
    }
    Ok(())
}

/// Nobody is there, and none of ours: what the kernel makes of it.
fn left_alone(stage: &Stage, place: &Place, address: &str) -> Result<()> {
    for target in targets(address) {
        let probed = stage.probe(place, &target)?;
        assert_eq!(probed.answered.len(), 0, "{} asks {target}: {probed:?}", place.name());
    }
    Ok(())
}

fn refused(stage: &Stage, place: &Place, address: &str) -> Result<()> {
    for target in targets(address) {
        let probed = stage.probe(place, &target)?;
        let outcome = (probed.answered.len(), probed.lost, probed.failed.len());
        assert!(probed.refused > 0 && outcome == (0, 0, 0), "{} asks: {probed:?}", place.name());
    }
    Ok(())
}

fn dropped(stage: &Stage, place: &Place, address: &str) -> Result<()> {
    for target in targets(address) {
        let probed = stage.probe(place, &target)?;
        let outcome = (probed.answered.len(), probed.refused, probed.failed.len());
        assert!(probed.lost > 0 && outcome == (0, 0, 0), "{} asks: {probed:?}", place.name());
    }
    Ok(())
}

#[test]
fn a_node_port_is_served_to_pods_and_to_the_node_and_at_loopback_to_the_node_alone() -> Result<()> {
    let stage = Stage::new("nodeport", &[8081, 8082])?;
    let pod = stage.pod("nodeport-pod", "10.1.0.7")?;
    stage.write("web.yaml", &service("web", "  type: NodePort\n  clusterIP: 10.96.0.10\n", &[8081, 8082], "away"))?;
    let mut proxy = stage.proxy(&["--nodeport-addresses=all,localhost", "--node-name=here"])?;
    let both = ["s8081", "s8082"];
    for place in [&*stage.node, &*pod] {
        answered(&stage, place, "10.96.0.10:80", &both)?;
        answered(&stage, place, &format!("{NODE}:30080"), &both)?;
        refused(&stage, place, "10.96.0.10:81")?;
        left_alone(&stage, place, &format!("{NODE}:30081"))?;
    }
    answered(&stage, &stage.node, "127.0.0.1:30080", &both)?;
    left_alone(&stage, &pod, "127.0.0.1:30080")?;

    // An address that comes is served without a restart, and one that goes is not.
    stage.node.sh("ip addr add 10.9.9.9/32 dev lo")?;
    until("the new address to be served", patience(10), || {
        Ok((stage.probe(&pod, "tcp:10.9.9.9:30080")?.answered.len() == 2).then_some(()))
    })?;
    stage.node.sh("ip addr del 10.9.9.9/32 dev lo")?;
    until("the old address to be nobody's", patience(10), || {
        Ok(stage.probe(&stage.node, "tcp:10.9.9.9:30080")?.answered.is_empty().then_some(()))
    })?;
    proxy.stop()
}

#[test]
fn external_addresses_are_served_and_source_ranges_admit_pods_by_their_address() -> Result<()> {
    let stage = Stage::new("external", &[8081])?;
    let (inside, outside) = (stage.pod("ext-inside", "10.1.0.7")?, stage.pod("ext-outside", "10.1.0.8")?);
    let spec = "  type: LoadBalancer\n  clusterIP: 10.96.0.10\n  externalIPs: [192.0.2.10]\n  \
                loadBalancerSourceRanges: [10.1.0.7/32]\nstatus:\n  loadBalancer:\n    ingress:\n    \
                - {ip: 192.0.2.20}\n    - {ip: 192.0.2.30, ipMode: Proxy}\n";
    let text = service("web", spec, &[8081], "away");
    // The ports belong into the spec, not behind the status.
    let (spec, rest) = text.split_once("status:\n").expect("a status");
    let (status, ports) = rest.split_once("  ports:\n").expect("ports");
    let (ports, slices) = ports.split_once("---\n").expect("slices");
    stage.write("web.yaml", &format!("{spec}  ports:\n{ports}status:\n{status}---\n{slices}"))?;
    let mut proxy = stage.proxy(&["--node-name=here"])?;
    for place in [&*stage.node, &*inside, &*outside] {
        // No ranges but the load balancer's.
        answered(&stage, place, "192.0.2.10:80", &["s8081"])?;
        answered(&stage, place, "10.96.0.10:80", &["s8081"])?;
    }
    until("the pod to be known", patience(10), || {
        Ok((stage.probe(&inside, "tcp:192.0.2.20:80")?.answered.len() == 1).then_some(()))
    })?;
    answered(&stage, &inside, "192.0.2.20:80", &["s8081"])?;
    dropped(&stage, &outside, "192.0.2.20:80")?;
    dropped(&stage, &stage.node, "192.0.2.20:80")?;
    // A pod that comes later.
    let late = stage.pod("ext-late", "10.1.0.9")?;
    dropped(&stage, &late, "192.0.2.20:80")?;
    let wider = std::fs::read_to_string(stage.source().join("web.yaml"))?.replace("10.1.0.7/32", "10.1.0.8/30");
    stage.write("web.yaml", &wider)?;
    for pod in [&late, &outside] {
        until("the wider range", patience(10), || {
            Ok((stage.probe(pod, "tcp:192.0.2.20:80")?.answered.len() == 1).then_some(()))
        })?;
    }
    dropped(&stage, &inside, "192.0.2.20:80")?;
    // What the load balancer keeps for itself is none of ours.
    assert!(stage.probe(&inside, "tcp:192.0.2.30:80")?.answered.is_empty());
    proxy.stop()
}

#[test]
fn local_traffic_without_local_endpoints_is_dropped_and_clients_stick_where_it_is_wanted() -> Result<()> {
    let stage = Stage::new("policies", &[8081, 8082, 8083])?;
    let pod = stage.pod("policies-pod", "10.1.0.7")?;
    let local = "  clusterIP: 10.96.0.10\n  internalTrafficPolicy: Local\n";
    stage.write("local.yaml", &service("local", local, &[8081], "away"))?;
    let sticky = "  clusterIP: 10.96.0.11\n  sessionAffinity: ClientIP\n";
    stage.write("sticky.yaml", &service("sticky", sticky, &[8081, 8082, 8083], "away"))?;
    let mut proxy = stage.proxy(&["--node-name=here"])?;
    for place in [&*stage.node, &*pod] {
        dropped(&stage, place, "10.96.0.10:80")?;
        for target in targets("10.96.0.11:80") {
            let probed = stage.probe(place, &target)?;
            assert_eq!(probed.answered.len(), 1, "{} asks {target}: {probed:?}", place.name());
        }
    }
    stage.write("local.yaml", &service("local", local, &[8081], "here"))?;
    stage.served_by("10.96.0.10:80/UDP", &[8081])?;
    answered(&stage, &pod, "10.96.0.10:80", &["s8081"])?;
    stage.write("sticky.yaml", &service("sticky", "  clusterIP: 10.96.0.11\n", &[8081, 8082, 8083], "away"))?;
    until("affinity to end", patience(10), || {
        Ok((stage.probe(&pod, "tcp:10.96.0.11:80")?.answered.len() == 3).then_some(()))
    })?;
    proxy.stop()
}
