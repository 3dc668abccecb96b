//! What goes wrong: killed in the middle, plugins that are not there or fail, attachments that nobody knows. What is doubtful
//! stays, and is named.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use anyhow::{Context, Result, ensure};
use fairlead_conformance::cni::Suite;
use fairlead_conformance::lab::Finished;
use fairlead_conformance::snapshot::render;

use super::stage::{NODE, Stage, changes};

/// How many of the places where it could be killed are tried, for each back end.
const KILLS: usize = 6;

/// Ended with 1; what it said.
fn complained(finished: Finished) -> Result<String> {
    let said = finished.stderr_text();
    ensure!(finished.status.code() == Some(1), "{}: {} {said}", finished.line, finished.status);
    ensure!(!said.contains("panicked"), "{said}");
    Ok(said)
}

/// A stage whose binaries were exchanged behind our back, and whose pods are still ours.
fn exchanged(name: &str, pods: &[(&str, u16)]) -> Result<(Stage, Vec<super::stage::Published>)> {
    let stage = Stage::ours(name, Some("nftables"))?;
    let pods = pods.iter().map(|(name, port)| stage.add(name, *port)).collect::<Result<_>>()?;
    stage.put_back_the_binaries()?;
    Ok((stage, pods))
}

#[test]
fn killed_anywhere_and_run_again() -> Result<()> {
    for backend in [Some("iptables"), Some("nftables")] {
        let what_stays = Stage::what_the_reference_leaves("kill", backend)?;
        let stage = Stage::ours("kill", backend)?;
        let trace = stage.node.scratch_file("trace");
        let file = trace.to_string_lossy().into_owned();
        let mut points = Vec::new();
        // The first round is traced, the others are killed where it spoke to the kernel.
        for round in 0..=KILLS {
            let pods = [stage.add("web", 8080)?, stage.add("db", 9080)?];
            stage.put_back_the_binaries()?;
            let strace = |expression: &str| {
                let words = ["strace", "-qq", "-o", &file, "-e", expression];
                stage.node.output(&stage.hand_over_job(&[]).under(&words))
            };
            let killed_at = points.get(round * points.len().saturating_sub(1) / KILLS).cloned();
            if let Some((call, which)) = &killed_at {
                let killed = strace(&format!("inject={call}:signal=KILL:when={which}"))?;
                ensure!(!killed.status.success(), "{call} {which} of {}", points.len());
                stage.hand_over(&[])?.success().with_context(|| format!("{backend:?}: after {call} {which}"))?;
            } else {
                strace("trace=sendto,sendmsg")?.success().context("strace")?;
                points = points_in(&fs::read_to_string(&trace)?);
                ensure!(points.len() > KILLS, "{points:?}");
            }
            let point = format!("{backend:?}, round {round}: {killed_at:?}");
            stage.is_theirs().with_context(|| point.clone())?;
            pods.iter().try_for_each(|pod| stage.check(pod)).with_context(|| point.clone())?;
            pods.iter().try_for_each(|pod| stage.del(pod)).with_context(|| point.clone())?;
            stage.leaves_no_more_than(&what_stays).with_context(|| point.clone())?;
            for pod in pods {
                pod.pod.remove_netns(&stage.lab)?;
            }
            stage.install(&[])?.success()?;
        }
        println!("{backend:?}: killed at {KILLS} of {} places", points.len());
    }
    Ok(())
}

/// Name and number of each call, in order.
fn points_in(trace: &str) -> Vec<(String, usize)> {
    let mut points: Vec<(String, usize)> = Vec::new();
    for line in trace.lines() {
        let Some((name, _)) = line.split_once('(') else { continue };
        if ["sendto", "sendmsg"].contains(&name) {
            let before = points.iter().filter(|(known, _)| known == name).count();
            points.push((name.to_owned(), before + 1));
        }
    }
    points
}

#[test]
fn a_dry_run_says_all_and_does_nothing() -> Result<()> {
    let stage = Stage::ours("dry", Some("iptables"))?;
    stage.add("web", 8080)?;
    let before = stage.look()?;
    let told = stage.install(&["--restore", "--dry-run"])?.success()?.stdout_text();
    ensure!(told.contains("would be restored") && told.contains("would be handed over"), "{told}");
    ensure!(told.contains("masquerade, spoof check, published ports, admission"), "{told}");
    ensure!(before == stage.look()?, "{}", render(&before.diff(&stage.look()?)));
    stage.put_back_the_binaries()?;
    let told = stage.hand_over(&["--dry-run"])?.success()?.stdout_text();
    ensure!(told.contains("would be handed over") && told.contains("eth0: masquerade"), "{told}");
    ensure!(before == stage.look()?, "{}", render(&before.diff(&stage.look()?)));
    Ok(())
}

#[test]
fn nothing_is_done_for_plugins_that_could_not_remove_it() -> Result<()> {
    let stage = Stage::ours("unfit", None)?;
    let _pods = [stage.add("web", 8080)?, stage.add("db", 9080)?];
    let before = stage.look()?;
    let said = complained(stage.hand_over(&[])?)?;
    ensure!(said.contains("2 pods need") && said.contains("it is fairlead-cni 0."), "{said}");
    stage.put_back_the_binaries()?;
    fs::remove_file(stage.there.binary("portmap"))?;
    let said = complained(stage.hand_over(&[])?)?;
    ensure!(said.contains("opt/portmap, and it is not there") && said.lines().count() == 1, "{said}");
    fs::remove_dir_all(&stage.there.bin)?;
    let said = complained(stage.hand_over(&[])?)?;
    ensure!(said.contains("cannot open") && said.lines().count() == 1, "{said}");
    let changed = changes(&before, &stage.look()?);
    ensure!(changed.is_empty(), "{}", render(&changed));
    Ok(())
}

#[test]
fn where_their_add_fails_ours_stays_and_the_others_go_on() -> Result<()> {
    let (stage, pods) = exchanged("fails", &[("web", 8080), ("db", 9080)])?;
    let portmap = stage.there.binary("portmap");
    fs::remove_file(&portmap)?;
    let script = "#!/bin/sh\necho '{\"cniVersion\": \"1.0.0\", \"code\": 999, \"msg\": \"no mood\"}'; exit 1\n";
    fs::write(&portmap, script)?;
    fs::set_permissions(&portmap, fs::Permissions::from_mode(0o755))?;
    let said = complained(stage.hand_over(&[])?)?;
    ensure!(said.matches("published ports stays as it is").count() == 2 && said.contains("no mood"), "{said}");
    ensure!(said.contains("incomplete"), "{said}");
    let rules = stage.rules()?;
    ensure!(rules.contains("fairlead_forwards") && !rules.contains("fairlead_masquerade"), "{rules}");
    // Mended, and run again.
    fs::remove_file(&portmap)?;
    symlink(Suite::reference()?.binary("portmap"), &portmap)?;
    stage.hand_over(&[])?.success()?;
    stage.is_theirs()?;
    pods.iter().try_for_each(|pod| stage.check(pod))
}

#[test]
fn what_no_cache_knows_stays_until_it_is_dropped() -> Result<()> {
    let (stage, pods) = exchanged("stray", &[("web", 8080), ("db", 9080)])?;
    let results = stage.node.var_lib().join("cni/results");
    let kept: Vec<_> = fs::read_dir(&results)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    ensure!(kept.len() == 2, "{kept:?}");
    let lost = fs::read(&kept[0])?;
    fs::remove_file(&kept[0])?;
    fs::write(&kept[0], "{\"kind\": \"cniCacheV1\", \"containerId\":")?;
    let said = complained(stage.hand_over(&[])?)?;
    ensure!(said.contains("cannot be read"), "{said}");
    for what in ["masquerade of 10.88.0.", "published tcp ", "admission of fd00:88::", "spoof check of veth"] {
        ensure!(said.contains(what), "{what}: {said}");
    }
    let mark = said.split("--drop ").nth(1).and_then(|rest| rest.split_whitespace().next()).context("a mark")?;
    // It lives, so it is not dropped while its file is there again; without it, it is.
    fs::write(&kept[0], lost)?;
    let drop = |more: &[&str]| stage.node.output(&stage.job("hand-over", &["--drop", mark]).args(more));
    let said = complained(drop(&[])?)?;
    ensure!(said.contains("which lives in"), "{said}");
    fs::remove_file(&kept[0])?;
    let told = drop(&["--dry-run"])?.success()?.stdout_text();
    ensure!(told.contains("would be taken away") && told.contains("masquerade of"), "{told}");
    ensure!(stage.rules()?.contains("fairlead_masquerade"));
    drop(&[])?.success()?;
    stage.is_theirs()?;
    let living = pods.iter().filter(|pod| stage.check(pod).is_ok()).count();
    ensure!(living == 1, "{living} of the pods are as the reference made them");
    Ok(())
}

#[test]
fn a_pod_that_is_gone_is_given_to_nobody() -> Result<()> {
    let (stage, pods) = exchanged("gone", &[("web", 8080)])?;
    let pod = &pods[0];
    pod.pod.remove_netns(&stage.lab)?;
    let told = stage.hand_over(&[])?.success()?.stdout_text();
    ensure!(told.contains("published ports dropped, its namespace is gone"), "{told}");
    stage.is_theirs()?;
    let rules = stage.rules()?;
    ensure!(!rules.contains("10.88.0.2") && !rules.contains(NODE), "{rules}");
    stage.del(pod)
}

#[test]
fn words_that_make_no_sense_are_answered_in_one_line() -> Result<()> {
    let stage = Stage::new("words", None)?;
    let there = stage.there.bin.to_string_lossy().into_owned();
    for (words, said) in [
        (&[][..], "--to DIR is missing"),
        (&["--to"], "--to needs a value"),
        (&["--to", "/nowhere"], "cannot open /nowhere"),
        (&["--to", "/etc/hostname"], "is no directory"),
        (&["--to", &there, "--restore"], "unknown argument \"--restore\""),
        (&["--drop", "web"], "is no mark"),
        (&["--drop", "6fd94d501e58f0aa-287fc69eff0574a2", "--to", &there], "nothing to do with each other"),
    ] {
        let told = complained(stage.node.output(&stage.job("hand-over", words))?)?;
        ensure!(told.contains(said) && told.lines().count() == 1, "{words:?}: {told}");
    }
    let help = stage.node.output(&stage.job("hand-over", &["--help"]))?.success()?.stdout_text();
    ensure!(help.contains("--drop MARK"), "{help}");
    stage.node.output(&stage.job("hand-over", &["--drop", "6fd94d501e58f0aa-287fc69eff0574a2"]))?.success()?;
    Ok(())
}
