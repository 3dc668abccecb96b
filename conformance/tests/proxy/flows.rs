//! UDP clients that connected once, and whose endpoint goes.

use anyhow::Result;
use fairlead_conformance::lab::{Job, Place, Running};
use fairlead_conformance::limit::{patience, until};

use crate::stage::{SERVERS, Stage, service};

const VIP: &str = "10.96.0.11";

/// Connects a datagram socket and waits for an answer that nobody gives.
fn waiting(place: &Place, name: &str, address: &str, port: u16) -> Result<Running> {
    let script = format!("exec 3<>/dev/udp/{address}/{port} && exec cat <&3");
    place.start(&Job::new("bash").arg("-c").arg(script).log(name))
}

/// Waits until so many datagram sockets of the place are connected to this server.
fn connected(place: &Place, port: u16, count: usize) -> Result<()> {
    let peer = format!("{SERVERS}:{port} ");
    until(&format!("{count} connected to {peer}"), patience(10), || {
        let sockets = place.sh("ss -Hun state established")?;
        Ok((sockets.lines().filter(|line| format!("{line} ").contains(&peer)).count() == count).then_some(()))
    })
}

#[test]
fn a_waiting_client_is_told_when_its_endpoint_goes_and_another_is_left_alone() -> Result<()> {
    let stage = Stage::new("flows", &[8081, 8082])?;
    let pod = stage.pod("client", "10.1.0.2")?;
    stage.write("dns.yaml", &service("dns", VIP, "UDP", &[8081]))?;
    let mut proxy = stage.proxy(&[])?;
    let mut led = [waiting(&stage.node, "led-node", VIP, 80)?, waiting(&pod, "led-pod", VIP, 80)?];
    let mut direct = waiting(&stage.node, "direct", SERVERS, 8081)?;
    connected(&stage.node, 8081, 2)?;
    connected(&pod, 8081, 1)?;

    // A new start ends nothing that is right.
    proxy.stop()?;
    let mut proxy = stage.proxy(&["--verify-seconds=1"])?;
    stage.status_with("a verification", |status| status["daemon"]["tally"]["verified"].as_u64() >= Some(2))?;
    for client in &mut led {
        assert!(client.is_alive()?, "{}", client.stderr_text()?);
    }

    stage.write("dns.yaml", &service("dns", VIP, "UDP", &[8082]))?;
    for client in &mut led {
        assert!(!client.wait(patience(20))?.success());
        let told = client.stderr_text()?;
        assert!(told.contains("connection abort"), "{told}");
    }
    assert!(direct.is_alive()?, "it asked for the endpoint itself");
    direct.kill()?;

    let mut again = waiting(&pod, "again", VIP, 80)?;
    connected(&pod, 8082, 1)?;
    std::fs::remove_file(stage.source().join("dns.yaml"))?;
    assert!(!again.wait(patience(20))?.success(), "the service is gone");
    proxy.stop()
}
