//! Beside others' rules: what they restore, flush and insert.

use anyhow::{Result, ensure};
use serde_json::json;

use super::scene::{Scene, Station, reach, shell};

/// Whether the pod reaches the outside in both families, and the outside the pod in none.
fn out_and_not_in(scene: &Scene, pod: &super::scene::Attached) -> Result<bool> {
    let outside = vec!["192.0.2.2".to_owned(), "fd00:99::2".to_owned()];
    let stations = [
        Station { place: &pod.pod, addresses: pod.addresses() },
        Station { place: &scene.outside, addresses: outside },
    ];
    let reached = reach(&stations)?;
    ensure!(!reached.iter().any(|line| line.starts_with("out ->")), "{}", reached.join("\n"));
    Ok(reached.len() == 2)
}

#[test]
fn iptables_lists_saves_and_restores_and_pods_go_on() -> Result<()> {
    let scene = Scene::ours("fw-restore")?;
    scene.policy("DROP")?;
    let pod = scene.add("pod", 'a', json!({}))?;
    ensure!(out_and_not_in(&scene, &pod)?, "after ADD");
    for tool in ["iptables", "ip6tables"] {
        shell(&scene.node, &format!("{tool} -L -n -v && {tool} -S"))?;
        let saved = shell(&scene.node, &format!("{tool}-save -t filter"))?;
        ensure!(saved.contains("-A CNI-FORWARD -m mark --mark 0xfa000000/0xff000000"), "{saved}");
        shell(&scene.node, &format!("s=$({tool}-save) && echo \"$s\" | {tool}-restore"))?;
    }
    ensure!(out_and_not_in(&scene, &pod)?, "after iptables-restore");
    scene.call("firewall", "CHECK", "pod", &pod.pod, &pod.firewall)?.success()?;
    let other = scene.add("other", 'a', json!({}))?;
    let listed = shell(&scene.node, "iptables -S")?;
    assert_eq!(listed.matches("CNI-FORWARD").count(), 4, "once made, once led to, two rules:\n{listed}");
    for one in [&pod, &other] {
        scene.del(one)?;
    }
    let left = shell(&scene.node, "iptables -S; ip6tables -S")?;
    ensure!(!left.contains("CNI-") && left.contains("-P FORWARD DROP"), "{left}");
    Ok(())
}

#[test]
fn a_drop_that_comes_later_finds_the_way_in_place() -> Result<()> {
    let scene = Scene::ours("fw-later")?;
    let pod = scene.add("pod", 'a', json!({}))?;
    // What docker does when it starts: its policy, and its own chains in front.
    scene.policy("DROP")?;
    shell(
        &scene.node,
        "for t in iptables ip6tables; do $t -N DOCKER-USER; $t -A DOCKER-USER -j RETURN; $t -N DOCKER-FORWARD; \
         $t -A DOCKER-FORWARD -i docker0 -j ACCEPT; $t -I FORWARD -j DOCKER-FORWARD; $t -I FORWARD -j DOCKER-USER; done",
    )?;
    ensure!(out_and_not_in(&scene, &pod)?, "beside docker");
    Ok(())
}

#[test]
fn what_others_flush_is_there_again_with_the_next_pod() -> Result<()> {
    let scene = Scene::ours("fw-flush")?;
    let pod = scene.add("pod", 'a', json!({}))?;
    let flushes =
        ["iptables -F FORWARD; ip6tables -F FORWARD", "nft flush table ip filter; nft flush table ip6 filter"];
    for (number, flush) in flushes.into_iter().enumerate() {
        shell(&scene.node, flush)?;
        scene.policy("DROP")?;
        ensure!(!out_and_not_in(&scene, &pod)?, "`{flush}` was no flush");
        let next = scene.add(&format!("next-{number}"), 'b', json!({}))?;
        ensure!(out_and_not_in(&scene, &pod)? && out_and_not_in(&scene, &next)?, "after `{flush}`");
        scene.del(&next)?;
    }
    scene.del(&pod)
}

#[test]
fn beside_iptables_legacy_pods_go_on_and_nothing_is_left() -> Result<()> {
    let scene = Scene::ours("fw-legacy")?;
    let legacy = |script: &str| shell(&scene.node, &script.replace("TOOL", "iptables-legacy"));
    if legacy("TOOL -S").is_err() {
        println!("SKIP kernel>=6.1 with CONFIG_IP_NF_FILTER: iptables-legacy does not work here");
        return Ok(());
    }
    shell(&scene.node, "iptables-legacy -P FORWARD DROP && ip6tables-legacy -P FORWARD DROP")?;
    let before = legacy("TOOL -S")?;
    let pod = scene.add("pod", 'a', json!({}))?;
    ensure!(out_and_not_in(&scene, &pod)?, "beside iptables-legacy");
    scene.call("firewall", "CHECK", "pod", &pod.pod, &pod.firewall)?.success()?;
    legacy("TOOL -F FORWARD")?;
    let drift = scene.call("firewall", "CHECK", "pod", &pod.pod, &pod.firewall)?.json()?;
    ensure!(drift["msg"].as_str().unwrap_or_default().contains("chain FORWARD drops what pods send"), "{drift}");
    let next = scene.add("next", 'b', json!({}))?;
    ensure!(out_and_not_in(&scene, &pod)?, "the next pod has brought it back for all");
    scene.del(&pod)?;
    ensure!(out_and_not_in(&scene, &next)?, "the other pod still needs it");
    scene.del(&next)?;
    assert_eq!(legacy("TOOL -S")?, before);
    assert_eq!(scene.ruleset()?, "");
    Ok(())
}
