//! The traffic generator counts what happened, and nothing else.

use anyhow::Result;
use fairlead_conformance::capture::Capture;
use fairlead_conformance::lab::Lab;
use fairlead_conformance::limit::patience;
use fairlead_conformance::traffic;

#[test]
fn every_request_over_a_wire_is_answered_by_the_server_asked() -> Result<()> {
    let lab = Lab::new("asks")?;
    let (a, b) = (lab.node("a")?, lab.node("b")?);
    lab.wire(&a, "192.168.77.1/24", &b, "192.168.77.2/24")?;
    let mut server = b.start(&traffic::serve("bee", &["tcp:8080", "udp:5353"])?)?;
    server.wait_ready(patience(10))?;
    let capture = Capture::start(&b, "eth0", "tcp port 8080")?;
    let targets = ["tcp:192.168.77.2:8080", "udp:192.168.77.2:5353", "udp-connected:192.168.77.2:5353"];
    let reports = traffic::counted(a.output(&traffic::request(&targets, 500)?.args(["--concurrency", "4"]))?)?;
    assert_eq!(reports.len(), targets.len());
    for report in reports {
        assert_eq!((report.sent, report.answered, report.backends.get("bee")), (500, 500, Some(&500)), "{report:?}");
        assert!(report.latency_us.p50 > 0.0);
    }
    let packet = capture.wait_for(&["192.168.77.1", "> 192.168.77.2.8080: Flags [S]"])?;
    assert!(packet.contains("IPv4"), "{packet}");
    assert!(capture.stop()?.len() >= 500, "a connection has more than one packet");
    server.stop()
}

#[test]
fn refused_lost_and_wrong_answers_are_told_apart() -> Result<()> {
    let lab = Lab::new("tells")?;
    let (a, b) = (lab.node("a")?, lab.node("b")?);
    lab.wire(&a, "192.168.77.1/24", &b, "192.168.77.2/24")?;
    let mut server = b.start(&traffic::serve("bee", &["tcp:8080"])?)?;
    server.wait_ready(patience(10))?;
    a.sh("ip route add blackhole 192.0.2.0/24")?;
    a.sh("ip neigh add 192.168.77.9 lladdr 02:00:00:00:00:09 dev eth0 nud permanent")?;
    let targets = ["tcp:192.168.77.2:8080", "tcp:192.168.77.2:9", "tcp:192.168.77.9:80", "tcp:192.0.2.1:80"];
    let job = traffic::request(&targets, 2)?.args(["--expect", "other", "--timeout-ms", "1000"]);
    let reports = traffic::counted(a.output(&job)?)?;
    let counts: Vec<_> = reports.iter().map(|it| (it.answered, it.wrong, it.refused, it.lost, it.failed)).collect();
    assert_eq!(counts, [(0, 2, 0, 0, 0), (0, 0, 2, 0, 0), (0, 0, 0, 2, 0), (0, 0, 0, 0, 2)], "{reports:?}");
    Ok(())
}

#[test]
fn clients_run_until_they_are_told_and_report_on_the_way() -> Result<()> {
    let lab = Lab::new("told")?;
    let (a, b) = (lab.node("a")?, lab.node("b")?);
    lab.wire(&a, "192.168.77.1/24", &b, "192.168.77.2/24")?;
    let mut server = b.start(&traffic::serve("bee", &["tcp:8080"])?)?;
    server.wait_ready(patience(10))?;
    let target = "tcp:192.168.77.2:8080";
    let mut requests = a.start(&traffic::request_until_told(&[target])?.args(["--rate", "500"]))?;
    let mut held = a.start(&traffic::hold(target)?)?;
    requests.wait_ready(patience(10))?;
    held.wait_ready(patience(10))?;
    let early = traffic::so_far(&mut requests)?;
    let connection = traffic::so_far(&mut held)?;
    assert!(!early[0].done && early[0].unanswered() == 0, "{early:?}");
    assert_eq!(connection[0].peer.as_deref(), Some("192.168.77.2:8080"));
    // The server dies: what was counted until then stays, and everything after is counted as what it is.
    server.kill()?;
    fairlead_conformance::limit::until("the held connection to break", patience(10), || {
        Ok((!held.is_alive()?).then_some(()))
    })?;
    let broken = traffic::finish(&mut held)?;
    assert_eq!(broken[0].unanswered(), 1, "{broken:?}");
    let counts = fairlead_conformance::limit::until("a refusal", patience(10), || {
        let now = traffic::so_far(&mut requests)?;
        Ok((now[0].refused > 0).then_some(now))
    })?;
    let end = traffic::finish(&mut requests)?;
    assert!(end[0].done && end[0].sent >= counts[0].sent && end[0].answered > 0, "{end:?}");
    Ok(())
}
