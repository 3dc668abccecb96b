//! Packets through the tunnel, and nothing left of it afterwards.

use std::net::UdpSocket;

use anyhow::Result;
use fairlead_conformance::limit::patience;
use fairlead_conformance::snapshot::{Snapshot, wait_for_equal};

use crate::stage::{NAMES, Stage, assert_reaches, peers, serve, settled};

#[test]
fn pods_on_two_nodes_reach_each_other_and_cleanup_leaves_nothing() -> Result<()> {
    let mut stage = Stage::new("ov-two", 2)?;
    settled(&stage)?;
    let before = [Snapshot::network(&stage.nodes[0])?, Snapshot::network(&stage.nodes[1])?];
    stage.write_peers(&peers(2))?;
    (0..2).try_for_each(|i| stage.start(i))?;

    let env = std::fs::read_to_string(stage.nodes[0].run_dir().join("flannel/subnet.env"))?;
    assert_eq!(
        env,
        "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n"
    );
    let status = stage.status(0)?;
    assert_eq!((&status["healthy"], &status["peersProgrammed"]), (&true.into(), &1.into()), "{status}");
    let table = stage.verb(0, &["peers"])?.success()?.stdout_text();
    assert!(table.lines().any(|line| line.starts_with("node-b") && line.ends_with("yes")), "{table}");

    let (a, b) = (stage.pod(0)?, stage.pod(1)?);
    let _servers = [serve(&a)?, serve(&b)?];
    assert_reaches(&a, "10.244.2.2")?;
    assert_reaches(&b, "10.244.1.2")?;

    for (i, before) in before.iter().enumerate() {
        let node = &stage.nodes[i];
        node.sh(&format!("ip link del pod{}", i + 1))?;
        let refused = stage.verb(i, &["cleanup"])?;
        assert!(!refused.status.success() && refused.stderr_text().contains("is running"), "{}", refused.stderr_text());
        stage.stop(i)?;
        let said = stage.verb(i, &["cleanup"])?.success()?.stdout_text();
        assert!(said.contains("removed device flannel.1"), "{said}");
        let again = stage.verb(i, &["cleanup"])?.success()?.stdout_text();
        assert!(again.starts_with("nothing to remove"), "{again}");
        let node = &stage.nodes[i];
        // Forwarding stays on: others may have come to rely on it. The snapshot must show that and nothing else.
        node.sh("sysctl -qw net.ipv4.ip_forward=0")?;
        wait_for_equal(before, patience(10), || Snapshot::network(node))?;
        for left in ["fairlead", "flannel"] {
            assert!(!node.run_dir().join(left).exists(), "/run/{left} is left on {}", NAMES[i]);
        }
    }
    Ok(())
}

#[test]
fn three_nodes_reach_one_another() -> Result<()> {
    let stage = Stage::running("ov-three", 3, &peers(3))?;
    let pods = [stage.pod(0)?, stage.pod(1)?, stage.pod(2)?];
    let _servers = [serve(&pods[0])?, serve(&pods[1])?, serve(&pods[2])?];
    for (i, pod) in pods.iter().enumerate() {
        for j in (0..3).filter(|j| *j != i) {
            assert_reaches(pod, &format!("10.244.{}.2", j + 1))?;
        }
    }
    Ok(())
}

/// A datagram that fills the pod's MTU goes through in one piece, over either family outside: the outer packet fills the
/// underlay's MTU exactly, so one byte of wrong arithmetic would cut it.
#[test]
fn a_full_packet_is_not_cut_on_the_underlay() -> Result<()> {
    for (name, address, mtu) in [("ov-mtu4", "192.168.77.", 1450usize), ("ov-mtu6", "'2001:db8:77::", 1430)] {
        let quote = if address.starts_with('\'') { "'" } else { "" };
        let text =
            (1..=2).fold(peers(2), |text, n| text.replace(&format!("192.168.77.{n}"), &format!("{address}{n}{quote}")));
        let stage = Stage::running(name, 2, &text)?;
        assert_eq!(stage.subnet_env(0)?["FLANNEL_MTU"], mtu.to_string());
        let (a, b) = (stage.pod(0)?, stage.pod(1)?);
        let receiver = b.enter(|| Ok(UdpSocket::bind("10.244.2.2:9")?))?;
        receiver.set_read_timeout(Some(patience(10)))?;
        let sender = a.enter(|| Ok(UdpSocket::bind("10.244.1.2:0")?))?;
        // IPv4 header 20, UDP header 8.
        let payload = vec![7u8; mtu - 28];
        sender.send_to(&payload, "10.244.2.2:9")?;
        let mut buffer = vec![0u8; 2000];
        assert_eq!(receiver.recv(&mut buffer)?, payload.len());
        for node in &stage.nodes {
            let cut = node.sh("cat /proc/net/snmp /proc/net/snmp6")?;
            assert_eq!(fragments(&cut), 0, "{cut}");
        }
    }
    Ok(())
}

/// Packets cut on sending: `FragCreates` of the Ip lines and `Ip6FragCreates`.
fn fragments(text: &str) -> u64 {
    let ip: Vec<Vec<&str>> =
        text.lines().filter(|line| line.starts_with("Ip:")).map(|line| line.split_whitespace().collect()).collect();
    let column = ip[0].iter().position(|key| *key == "FragCreates").expect("a column FragCreates");
    let v6 = text.lines().find_map(|line| line.strip_prefix("Ip6FragCreates")).expect("a line Ip6FragCreates");
    ip[1][column].parse::<u64>().expect("a number") + v6.trim().parse::<u64>().expect("a number")
}
