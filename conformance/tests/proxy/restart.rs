//! Proxies that are killed, stopped, started again, started twice.

use anyhow::{Context, Result};
use fairlead_conformance::limit::patience;
use fairlead_conformance::traffic;

use crate::stage::{Stage, service, unharmed};

const VIP: &str = "tcp:10.96.0.10:80";
const FRONTEND: &str = "10.96.0.10:80/TCP";

#[test]
fn killed_and_started_again_under_traffic_nothing_fails_and_nothing_is_rewritten() -> Result<()> {
    let stage = Stage::new("restart", &[8081, 8082])?;
    stage.write("web.yaml", &service("web", "10.96.0.10", "TCP", &[8081, 8082]))?;
    let mut proxy = stage.proxy(&[])?;
    let mut requests = stage.node.start(&traffic::request_until_told(&[VIP])?.args(["--concurrency", "2"]))?;
    let mut held = stage.node.start(&traffic::hold(VIP)?)?;
    requests.wait_ready(patience(10))?;
    held.wait_ready(patience(10))?;
    let before = stage.text("dump")?;
    for _ in 0..5 {
        proxy.kill()?;
        let status = stage.json("status")?;
        assert_eq!((&status["running"], &status["state"]), (&false.into(), &"frozen".into()), "{status:#}");
        proxy = stage.proxy(&[])?;
        let status = stage.json("status")?;
        // The frontend, its address as a cluster IP, and the node's own address.
        assert_eq!(status["daemon"]["restored"], 3, "{status:#}");
        assert_eq!(status["daemon"]["tally"]["operations"], 0, "{status:#}");
        assert_eq!(stage.text("dump")?, before);
    }
    // Killed once more; the files change while nobody looks.
    proxy.kill()?;
    stage.write("web.yaml", &service("web", "10.96.0.10", "TCP", &[8082]))?;
    let mut proxy = stage.proxy(&[])?;
    stage.served_by(FRONTEND, &[8082])?;
    // A clean end leaves everything in the kernel too.
    proxy.stop()?;
    let asked = stage.ask(VIP, 50)?;
    assert_eq!(asked.answered, 50, "{asked:?}");
    unharmed(&mut requests)?;
    unharmed(&mut held)?;
    Ok(())
}

#[test]
fn killed_again_and_again_while_it_writes_it_converges_and_harms_nobody() -> Result<()> {
    let stage = Stage::new("crashes", &[8081, 8082])?;
    let web = |backends: &[u16]| service("web", "10.96.0.10", "TCP", backends);
    let others = |generation: u16| -> String {
        let one = |index: u16| {
            let vip = format!("10.97.{}.{}", index / 250, index % 250 + 1);
            service(&format!("other-{index}"), &vip, "TCP", &[9000 + (index + generation) % 7])
        };
        (0..300).filter(|index| index % 3 != generation % 3).map(one).collect::<Vec<_>>().join("---\n")
    };
    stage.write("web.yaml", &web(&[8081, 8082]))?;
    stage.write("others.yaml", &others(0))?;
    let mut proxy = stage.proxy(&[])?;
    let mut requests = stage.node.start(&traffic::request_until_told(&[VIP])?)?;
    requests.wait_ready(patience(10))?;
    for generation in 1..12 {
        stage.write("web.yaml", &web(if generation % 2 == 0 { &[8081] } else { &[8082, 8081] }))?;
        stage.write("others.yaml", &others(generation))?;
        // Sometimes before it woke, sometimes in the middle of it, sometimes after.
        proxy.kill()?;
        proxy = stage.proxy(&[])?;
    }
    stage.status_with("the last state", |status| {
        status["state"] == "serving" && status["kernel"]["maps"]["frontends"]["used"] == 201
    })?;
    let status = stage.json("status")?;
    assert_eq!(status["kernel"]["maps"]["backends"]["used"], 202, "backend entries of gone sets are left: {status:#}");
    assert!(!stage.text("dump")?.contains("no frontend"), "a word without a frontend is left");
    unharmed(&mut requests)?;
    proxy.stop()
}

#[test]
fn a_second_proxy_is_refused_and_disturbs_nothing() -> Result<()> {
    let stage = Stage::new("second", &[8081])?;
    stage.write("web.yaml", &service("web", "10.96.0.10", "TCP", &[8081]))?;
    let mut proxy = stage.proxy(&[])?;
    let second = stage.refused_proxy()?;
    assert!(!second.status.success());
    let told = second.stderr_text();
    assert!(told.contains("another fairlead-proxy runs with the state directory"), "{told}");
    assert!(stage.text("status")?.starts_with("state     serving"), "{}", stage.text("status")?);
    assert_eq!(stage.ask(VIP, 20)?.answered, 20);
    proxy.stop()
}

#[test]
fn cleanup_leaves_nothing_and_a_running_proxy_alone() -> Result<()> {
    let stage = Stage::new("cleanup", &[8081])?;
    stage.write("web.yaml", &service("web", "10.96.0.10", "TCP", &[8081]))?;
    let mut proxy = stage.proxy(&[])?;
    let refused = stage.text("cleanup").expect_err("a proxy runs").to_string();
    assert!(refused.contains("stop it first"), "{refused}");
    proxy.stop()?;
    assert!(stage.text("cleanup")?.contains("removed"));
    assert_eq!(stage.text("cleanup")?, "nothing was left to remove\n");
    assert_eq!(stage.ask(VIP, 3)?.answered, 0);
    let left = [stage.node.bpffs().join("fairlead"), stage.node.run_dir().join("fairlead/proxy")];
    assert!(left.iter().all(|path| !path.exists()), "one of {left:?} is left");
    assert!(stage.text("status")?.starts_with("state     absent"), "{}", stage.text("status")?);
    Ok(())
}

#[test]
fn a_verification_that_finds_nothing_writes_nothing() -> Result<()> {
    let stage = Stage::new("verify", &[8081])?;
    stage.write("web.yaml", &service("web", "10.96.0.10", "TCP", &[8081]))?;
    let mut proxy = stage.proxy(&["--verify-seconds", "1"])?;
    let verified = |status: &serde_json::Value| status["daemon"]["tally"]["verified"].as_u64().unwrap_or_default();
    let first = stage.status_with("a verification", |status| verified(status) > 0)?;
    let again = stage.status_with("another", |status| verified(status) > verified(&first))?;
    assert_eq!(again["daemon"]["tally"]["drift_repaired"], 0, "{again:#}");
    let operations = |status: &serde_json::Value| status["daemon"]["tally"]["operations"].as_u64();
    assert_eq!(operations(&again), operations(&first), "a verification that finds nothing writes nothing");
    proxy.stop()
}

#[test]
fn an_idle_proxy_is_small() -> Result<()> {
    let stage = Stage::new("small", &[8081])?;
    stage.write("web.yaml", &service("web", "10.96.0.10", "TCP", &[8081]))?;
    let mut proxy = stage.proxy(&["--verify-seconds", "1"])?;
    stage.status_with("verifications", |status| {
        status["daemon"]["tally"]["verified"].as_u64().is_some_and(|count| count >= 3)
    })?;
    let resident = proxy.resident_kib().context("resident size")?;
    assert!(resident < 20 << 10, "{resident} KiB resident");
    proxy.stop()
}
