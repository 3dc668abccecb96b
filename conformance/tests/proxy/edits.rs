//! Files edited while requests run.

use anyhow::{Context, Result};
use fairlead_conformance::limit::patience;
use fairlead_conformance::traffic;

use crate::stage::{Stage, service, unharmed};

const VIP: &str = "tcp:10.96.0.10:80";
const FRONTEND: &str = "10.96.0.10:80/TCP";

fn web(backends: &[u16]) -> String {
    service("web", "10.96.0.10", "TCP", backends)
}

#[test]
fn no_request_fails_while_backends_come_and_go() -> Result<()> {
    let stage = Stage::new("edits", &[8081, 8082, 8083])?;
    stage.write("web.yaml", &web(&[8081, 8082]))?;
    let mut proxy = stage.proxy(&[])?;
    let mut requests = stage.node.start(&traffic::request_until_told(&[VIP])?.args(["--concurrency", "2"]))?;
    let mut held = stage.node.start(&traffic::hold(VIP)?)?;
    requests.wait_ready(patience(10))?;
    held.wait_ready(patience(10))?;
    for round in 0..20 {
        let backends: &[u16] = [&[8081, 8083][..], &[8083], &[8082, 8083], &[8081, 8082, 8083]][round % 4];
        let text = web(backends);
        if round % 2 == 0 {
            stage.write("web.yaml", &text)?
        } else {
            stage.write_in_place("web.yaml", &text)?
        }
        stage.served_by(FRONTEND, backends)?;
    }
    // Renamed, then stated by two files, then by the new one only: no edit of the service at all.
    std::fs::rename(stage.source().join("web.yaml"), stage.source().join("shop.yaml"))?;
    stage.write("also.yaml", &web(&[8081, 8082, 8083]))?;
    stage.status_with("the second statement", |status| status["state"] == "degraded")?;
    std::fs::remove_file(stage.source().join("shop.yaml"))?;
    stage.status_with("one statement", |status| status["state"] == "serving")?;

    let report = unharmed(&mut requests)?;
    assert_eq!(report.backends.keys().collect::<Vec<_>>(), ["s8081", "s8082", "s8083"], "{report:?}");
    let connection = unharmed(&mut held)?;
    assert_eq!(connection.peer.as_deref(), Some("10.96.0.10:80"), "getpeername tells the VIP");
    let services = stage.json("services")?;
    assert_eq!(services[0]["service"], "default/web");
    let counted = services[0]["connections"].as_u64().context("a counter")?;
    assert!(counted > report.sent, "{counted} connections counted, {} requests and one held", report.sent);
    proxy.stop()
}

#[test]
fn a_service_without_endpoints_is_refused_at_once_and_serves_when_it_has_one() -> Result<()> {
    let stage = Stage::new("empty", &[8081])?;
    stage.write("web.yaml", &web(&[]))?;
    let mut proxy = stage.proxy(&[])?;
    let report = stage.ask(VIP, 50)?;
    assert_eq!((report.sent, report.refused), (50, 50), "{report:?}");
    let datagrams = service("dns", "10.96.0.11", "UDP", &[]);
    stage.write("dns.yaml", &datagrams)?;
    stage.served_by("10.96.0.11:80/UDP", &[])?;
    let report = stage.ask("udp:10.96.0.11:80", 20)?;
    assert_eq!((report.sent, report.refused), (20, 20), "{report:?}");

    stage.write("web.yaml", &web(&[8081]))?;
    stage.served_by(FRONTEND, &[8081])?;
    let report = stage.ask(VIP, 50)?;
    assert_eq!((report.answered, report.backends.get("s8081")), (50, Some(&50)), "{report:?}");
    // Gone from the files: the VIP is nobody's any more.
    std::fs::remove_file(stage.source().join("web.yaml"))?;
    stage.status_with("the service to go", |status| status["kernel"]["maps"]["frontends"]["used"] == 1)?;
    assert_eq!(stage.ask(VIP, 5)?.answered, 0);
    proxy.stop()
}

#[test]
fn datagrams_are_spread_answered_from_the_vip_and_follow_the_files() -> Result<()> {
    let stage = Stage::new("udp", &[8081, 8082])?;
    stage.write("dns.yaml", &service("dns", "10.96.0.11", "UDP", &[8081, 8082]))?;
    let mut proxy = stage.proxy(&[])?;
    for target in ["udp:10.96.0.11:80", "udp-connected:10.96.0.11:80"] {
        // Datagrams of one socket stay together; of sixteen sockets not all go the same way.
        let job = traffic::request(&[target], 400)?.args(["--concurrency", "16"]);
        let report = traffic::counted(stage.node.output(&job)?)?.remove(0);
        assert_eq!((report.sent, report.answered, report.backends.len()), (400, 400, 2), "{report:?}");
    }
    let mut requests = stage.node.start(&traffic::request_until_told(&["udp:10.96.0.11:80"])?)?;
    requests.wait_ready(patience(10))?;
    for backends in [&[8081][..], &[8082], &[8081, 8082]] {
        stage.write("dns.yaml", &service("dns", "10.96.0.11", "UDP", backends))?;
        stage.served_by("10.96.0.11:80/UDP", backends)?;
    }
    unharmed(&mut requests)?;
    proxy.stop()
}

#[test]
fn both_families_of_a_service_are_served_each_by_its_own_endpoints() -> Result<()> {
    let stage = Stage::new("families", &[8081, 8082])?;
    stage.node.sh("ip addr add fd00:244::1/128 dev lo nodad")?;
    let v4 = service("web", "10.96.0.10", "TCP", &[8081]);
    let both = v4.replacen("clusterIP: 10.96.0.10", "clusterIPs: [10.96.0.10, \"fd00:96::10\"]", 1);
    let slice = "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: web-v6\n  labels:\n    \
                 kubernetes.io/service-name: web\naddressType: IPv6\nports:\n- {name: main, port: 8082}\n\
                 endpoints:\n- addresses: [\"fd00:244::1\"]\n";
    stage.write("web.yaml", &(both + slice))?;
    let mut proxy = stage.proxy(&[])?;
    for (target, server) in [(VIP, "s8081"), ("tcp:[fd00:96::10]:80", "s8082")] {
        let report = stage.ask(target, 50)?;
        assert_eq!((report.answered, report.backends.get(server)), (50, Some(&50)), "{report:?}");
    }
    let mut held = stage.node.start(&traffic::hold("tcp:[fd00:96::10]:80")?)?;
    held.wait_ready(patience(10))?;
    assert_eq!(unharmed(&mut held)?.peer.as_deref(), Some("[fd00:96::10]:80"));
    proxy.stop()
}
