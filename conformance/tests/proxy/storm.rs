//! A thousand services rewritten as fast as it goes: whoever connects to another one never meets their backends.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use fairlead_conformance::limit::{patience, until};
use fairlead_conformance::traffic;

use crate::stage::{Stage, service};

const VIP: &str = "tcp:10.96.0.10:80";
/// Every other service has this server behind it, which is never right.
const FOREIGN: u16 = 9000;

/// A thousand services; each generation has other sets, and every fifth service comes or goes.
fn others(generation: u16) -> String {
    let one = |index: u16| {
        let vip = format!("10.97.{}.{}", index / 250, index % 250 + 1);
        let backends: &[u16] =
            if (index + generation).is_multiple_of(2) { &[FOREIGN] } else { &[FOREIGN, FOREIGN + 1] };
        service(&format!("other-{index}"), &vip, "TCP", backends)
    };
    (0..1000).filter(|index| index % 5 != generation % 5).map(one).collect::<Vec<_>>().join("---\n")
}

#[test]
fn a_storm_of_other_services_sends_no_connection_to_a_foreign_backend() -> Result<()> {
    let stage = Stage::new("storm", &[8081, 8082, FOREIGN, FOREIGN + 1])?;
    stage.write("web.yaml", &service("web", "10.96.0.10", "TCP", &[8081, 8082]))?;
    let generations: Vec<String> = (0..10).map(others).collect();
    stage.write("others.yaml", &generations[0])?;
    let mut proxy = stage.proxy(&[])?;
    let operations =
        || -> Result<u64> { Ok(stage.json("status")?["daemon"]["tally"]["operations"].as_u64().unwrap_or_default()) };
    let before = operations()?;
    let job = traffic::request_until_told(&[VIP])?.args(["--concurrency", "2", "--expect", "s8081,s8082"]);
    let mut requests = stage.node.start(&job)?;
    requests.wait_ready(patience(10))?;
    let over = AtomicBool::new(false);
    let report = std::thread::scope(|scope| -> Result<_> {
        let writer = scope.spawn(|| -> Result<usize> {
            let mut written = 0;
            while !over.load(Ordering::Relaxed) {
                stage.write("others.yaml", &generations[written % generations.len()])?;
                // The service itself changes too, between sets that are right.
                let own: &[u16] = if written.is_multiple_of(2) { &[8081] } else { &[8081, 8082] };
                stage.write("web.yaml", &service("web", "10.96.0.10", "TCP", own))?;
                written += 1;
            }
            Ok(written)
        });
        let enough = until("30,000 writes to the maps and 10,000 requests under them", patience(120), || {
            let asked = traffic::so_far(&mut requests)?[0].sent;
            Ok((operations()? >= before + 30_000 && asked >= 10_000).then_some(()))
        });
        over.store(true, Ordering::Relaxed);
        let written = writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        enough?;
        println!("{written} generations written, {} operations on the maps", operations()? - before);
        Ok(traffic::finish(&mut requests)?.remove(0))
    })?;
    println!("{report:?}");
    assert_eq!((report.wrong, report.unanswered()), (0, 0), "{report:?}");
    let status = stage.json("status")?;
    assert_eq!(
        (&status["kernel"]["counters"]["gave_up"], &status["daemon"]["tally"]["failed"]),
        (&0.into(), &0.into())
    );
    proxy.stop()
}
