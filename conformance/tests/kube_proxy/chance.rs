//! What is decided by lot: that every backend gets its share, that affinity keeps one, and that it ends.

use anyhow::{Context, Result, ensure};
use fairlead_conformance::snapshot::Snapshot;
use fairlead_conformance::traffic::Probed;
use serde_json::json;

use super::play::step;
use super::side::{At, Side, far, other, own};
use super::stage::Stage;

const BACKENDS: usize = 5;
/// Requests by which a share is judged.
const REQUESTS: &str = "1000";
/// Chi-square of four degrees of freedom: an even spread exceeds it once in a million times.
const BOUND: f64 = 33.4;
/// Seconds that an affinity lasts here, and the pauses that keep it and let it end.
const LASTS: u32 = 2;
const KEEPS: [&str; 4] = ["--every-ms", "600", "--tries", "8"];
const ENDS: [&str; 4] = ["--every-ms", "2500", "--tries", "9"];
/// Numbers of the services, behind those of the cases.
const EVEN: u8 = 150;
const STICKY: u8 = 151;

/// Every backend answers as often as every other, on both sides: by TCP and by UDP, connected and not.
pub fn spread(stage: &mut Stage) -> Result<()> {
    let writes = stage.sides().map(|side| {
        let at = At { side, number: EVEN };
        let ports = |number: u16| json!({"ports": [{"name": "tcp", "protocol": "TCP", "port": number}, {"name": "udp", "protocol": "UDP", "port": number}]});
        let mut slice = at.slice("even", "1", 0, &[own(1), own(2), other(1), other(2), far(1)]);
        slice["ports"] = ports(8080)["ports"].clone();
        step("even", [at.service("even", 0, ports(80)), slice]).writes
    });
    stage.write(&writes.into_iter().flatten().collect::<Vec<_>>())?;
    stage.settle()?;
    for side in stage.sides() {
        let [address, _] = At { side, number: EVEN }.cluster_ips(0);
        for protocol in ["tcp", "udp", "udp-connected"] {
            let probed = stage.probe(side.client(), &format!("{protocol}:{address}:80"), &["--tries", REQUESTS])?;
            let value = chi_square(&probed);
            ensure!(
                value <= BOUND,
                "{protocol} on {}: chi-square {value:.1} > {BOUND}: {probed:?}",
                side.member().name()
            );
        }
    }
    Ok(())
}

fn chi_square(probed: &Probed) -> f64 {
    let total: u64 =
        probed.answered.values().sum::<u64>() + probed.lost + probed.refused + probed.failed.values().sum::<u64>();
    let fair = total as f64 / BACKENDS as f64;
    let seen: f64 = probed.answered.values().map(|count| (*count as f64 - fair).powi(2) / fair).sum();
    seen + (BACKENDS.saturating_sub(probed.answered.len())) as f64 * fair
}

/// Affinity that ends: asked again within its time each client keeps its backend, asked later it draws again.
pub fn affinity(stage: &mut Stage) -> Result<[Snapshot; 2]> {
    let writes = stage.sides().map(|side| {
        let at = At { side, number: STICKY };
        let spec =
            json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": LASTS}}});
        step("sticky", [at.service("sticky", 0, spec), at.slice("sticky", "1", 0, &[own(1), other(1), far(1)])]).writes
    });
    stage.write(&writes.into_iter().flatten().collect::<Vec<_>>())?;
    stage.settle()?;
    // One after the other: the pauses that keep an affinity would keep it for those that let it end.
    let mut facts = [Snapshot::default(), Snapshot::default()];
    for (what, options) in [("asked often", KEEPS), ("asked seldom", ENDS)] {
        let answers = std::thread::scope(|scope| {
            let stage = &*stage;
            let askers = stage.sides().into_iter().flat_map(|side| [(side, "pod"), (side, "host")]);
            let begun: Vec<_> = askers
                .map(|(side, from)| (side.own, from, scope.spawn(move || ask(stage, side, from, &options))))
                .collect();
            let end = |one: std::thread::ScopedJoinHandle<'_, _>| {
                one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            begun.into_iter().map(|(own, from, one)| (own, from, end(one))).collect::<Vec<_>>()
        });
        for (own, from, probed) in answers {
            let probed = probed.with_context(|| format!("{what}, {from}"))?;
            let value = match (probed.answered.len(), probed.lost + probed.refused) {
                (1, 0) => "one backend",
                (2.., 0) => "several backends",
                _ => "silence",
            };
            facts[own].add(format!("{what}: {from}"), value);
        }
    }
    Ok(facts)
}

fn ask(stage: &Stage, side: Side<'_>, from: &str, options: &[&str]) -> Result<Probed> {
    let [address, _] = At { side, number: STICKY }.cluster_ips(0);
    let place = if from == "pod" { side.client() } else { &side.member().node };
    stage.probe(place, &format!("tcp:{address}:80"), options)
}
