//! `loopback`.

use anyhow::{Result, ensure};
use serde_json::json;

use super::super::case::{ALL, CHECKS, LATEST, case, of};
use super::super::look::{device, ips};
use super::super::stage::{Stage, with_result};
use crate::cases::Case;
use crate::cni::Call;
use crate::lab::Pod;

const UPSTREAM: &str = "upstream loopback tests";

pub(super) fn cases() -> Vec<Case> {
    of(
        "loopback",
        vec![
            case(
                "T61.up",
                "ADD",
                ALL,
                (UPSTREAM, "lo is up, whatever CNI_IFNAME says; the result tells its addresses"),
                up,
            ),
            case("T61.down", "DEL", ALL, (UPSTREAM, "lo is down again"), down),
            case("T61.check", "CHECK", CHECKS, (UPSTREAM, "silent when lo is up, an error when it is down"), check),
            case("T61.chained", "ADD", CHECKS, (UPSTREAM, "a result before it is handed on unchanged"), chained),
            case("T61.stranger", "ADD", LATEST, (UPSTREAM, "an address that is none of loopback is told"), stranger),
            case(
                "trap25",
                "ADD",
                CHECKS,
                ("containerd runs it beside the pod's network", "ADD of lo and of eth0 at the same time"),
                beside,
            ),
        ],
    )
}

fn is_up(pod: &Pod) -> Result<bool> {
    Ok(device(pod, "lo")?["flags"].as_array().is_some_and(|flags| flags.iter().any(|flag| flag == "UP")))
}

fn up(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = stage.net("loopback", json!({}));
    let result = stage.add(&pod, &config)?;
    ensure!(is_up(&pod)?, "lo is down");
    if stage.has_lists() {
        ensure!(ips(&result).first().is_some_and(|ip| ip == "127.0.0.1/8"), "{result}");
        let listed = &result["interfaces"][0];
        let sandbox = pod.netns().to_string_lossy();
        ensure!(
            listed["name"] == "lo" && listed["mac"] == "00:00:00:00:00:00" && listed["sandbox"] == *sandbox,
            "{listed}"
        );
    }
    Ok(())
}

fn down(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = stage.net("loopback", json!({}));
    stage.add(&pod, &config)?;
    for _ in 0..2 {
        stage.silently("DEL", &pod, &config)?;
        ensure!(!is_up(&pod)?, "lo is up");
    }
    Ok(())
}

fn check(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = stage.net("loopback", json!({}));
    let result = stage.add(&pod, &config)?;
    stage.silently("CHECK", &pod, &with_result(&config, &result))?;
    pod.sh("ip link set lo down")?;
    stage.refused("CHECK", &pod, &with_result(&config, &result)).map(|_| ())
}

fn chained(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let before = json!({
        "cniVersion": stage.version, "interfaces": [{"name": "eth0", "sandbox": "/somewhere"}],
        "ips": [{"address": "10.1.2.3/24", "version": "4", "interface": 0}], "routes": [], "dns": {}
    });
    let config = with_result(&stage.net("loopback", json!({})), &before);
    let result = stage.add(&pod, &config)?;
    ensure!(result["interfaces"] == before["interfaces"], "{result}");
    ensure!(ips(&result) == ["10.1.2.3/24"] && result["ips"][0]["interface"] == 0, "{result}");
    Ok(())
}

fn stranger(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    pod.sh("ip addr add 10.1.2.3/24 dev lo")?;
    let config = stage.net("loopback", json!({}));
    stage.refused_for("ADD", &pod, &config, &["loopback interface found with non-loopback address"])
}

fn beside(stage: &mut Stage) -> Result<()> {
    stage.need(&["bridge", "host-local"])?;
    let ipam = json!({"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}], [{"subnet": "fd00:88::/64"}]]});
    let configs = [
        (stage.net("loopback", json!({"name": "cni-loopback"})), "lo"),
        (stage.net("bridge", json!({"bridge": "cni0", "isDefaultGateway": true, "ipam": ipam})), "eth0"),
    ];
    for round in 0..5 {
        let name = format!("p{round}");
        let pod = stage.pod(&name)?;
        let jobs =
            configs.iter().map(|(config, ifname)| stage.job("ADD", &Call { ifname, ..Call::new(&name, &pod) }, config));
        let jobs: Vec<_> = jobs.collect();
        let node = &stage.node;
        std::thread::scope(|scope| {
            let running: Vec<_> = jobs.iter().map(|job| scope.spawn(move || node.output(job)?.success())).collect();
            running
                .into_iter()
                .try_for_each(|one| one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).map(|_| ()))
        })?;
        ensure!(is_up(&pod)?, "lo is down");
    }
    Ok(())
}
