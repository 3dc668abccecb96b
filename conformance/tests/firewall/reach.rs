//! Who reaches whom, the same on the reference and on ours.

use anyhow::Result;
use fairlead_conformance::cni::Suite;
use serde_json::json;

use super::scene::{Attached, Scene, Station, reach, shell};

/// Two pods on bridge a, one on b, both with this policy; one on c without any; and the neighbour outside.
fn matrix(suite: Suite, forward: &str, policy: &str, bridged_frames_meet_iptables: bool) -> Result<Vec<String>> {
    let scene = Scene::new("reach", suite)?;
    let shown = if bridged_frames_meet_iptables { "1" } else { "0" };
    shell(
        &scene.node,
        &format!(
            "for key in iptables ip6tables; do f=/proc/sys/net/bridge/bridge-nf-call-$key; [ ! -e $f ] || echo {shown} >$f; done"
        ),
    )?;
    scene.policy(forward)?;
    let keys = || json!({"ingressPolicy": policy});
    let pods = [
        scene.add("a1", 'a', keys())?,
        scene.add("a2", 'a', keys())?,
        scene.add("b1", 'b', keys())?,
        scene.add("c1", 'c', json!({}))?,
    ];
    let mut stations: Vec<Station<'_>> =
        pods.iter().map(|one| Station { place: &one.pod, addresses: one.addresses() }).collect();
    let outside = vec!["192.0.2.2".to_owned(), "fd00:99::2".to_owned()];
    stations.push(Station { place: &scene.outside, addresses: outside });
    let reached = reach(&stations)?;
    for pod in pods.iter().rev() {
        scene.del(pod)?;
    }
    Ok(reached)
}

/// As many lines of `reached` begin so as there are families, or none.
fn says(reached: &[String], from: &str, to: &str, yes: bool) {
    let start = format!("{from} -> {to} ");
    let found = reached.iter().filter(|line| line.starts_with(&start)).count();
    assert_eq!(found, if yes { 2 } else { 0 }, "{start}in\n{}", reached.join("\n"));
}

fn same_on_both(forward: &str, policy: &str) -> Result<Vec<String>> {
    let reference = matrix(Suite::reference()?, forward, policy, true)?;
    let ours = matrix(Suite::ours()?, forward, policy, true)?;
    assert_eq!(reference, ours, "FORWARD {forward}, ingressPolicy {policy}: the reference, then ours");
    Ok(ours)
}

#[test]
fn beside_a_policy_of_drop_pods_reach_out_and_are_only_answered() -> Result<()> {
    let reached = same_on_both("DROP", "open")?;
    for (from, to, yes) in
        [("a1", "out", true), ("a1", "a2", true), ("a1", "b1", true), ("c1", "a1", true), ("out", "a1", false)]
    {
        says(&reached, from, to, yes);
    }
    Ok(())
}

#[test]
fn beside_a_policy_of_accept_everybody_reaches_everybody() -> Result<()> {
    let reached = same_on_both("ACCEPT", "open")?;
    says(&reached, "out", "a1", true);
    assert_eq!(reached.len(), 5 * 4 * 2, "{}", reached.join("\n"));
    Ok(())
}

#[test]
fn a_bridge_of_the_same_bridge_is_shut_to_other_such_bridges() -> Result<()> {
    for forward in ["DROP", "ACCEPT"] {
        let reached = same_on_both(forward, "same-bridge")?;
        for (from, to, yes) in [("a1", "a2", true), ("a1", "b1", false), ("b1", "a2", false), ("a1", "c1", true)] {
            says(&reached, from, to, yes);
        }
    }
    Ok(())
}

#[test]
fn an_isolated_bridge_is_shut_to_itself_too() -> Result<()> {
    for forward in ["DROP", "ACCEPT"] {
        let reached = same_on_both(forward, "isolated")?;
        for (from, to, yes) in [("a1", "a2", false), ("a1", "b1", false), ("a1", "out", true), ("c1", "a1", true)] {
            says(&reached, from, to, yes);
        }
    }
    Ok(())
}

#[test]
fn isolation_needs_no_frames_shown_to_iptables() -> Result<()> {
    let reached = matrix(Suite::ours()?, "ACCEPT", "isolated", false)?;
    says(&reached, "a1", "a2", false);
    says(&reached, "a2", "a1", false);
    says(&reached, "out", "a1", true);
    Ok(())
}

#[test]
fn the_administrators_chain_has_the_first_word() -> Result<()> {
    for suite in [Suite::reference()?, Suite::ours()?] {
        let scene = Scene::new("admin", suite)?;
        scene.policy("DROP")?;
        let pods: Vec<Attached> = [("a1", 'a', json!({})), ("b1", 'b', json!({"iptablesAdminChainName": "MY-RULES"}))]
            .into_iter()
            .map(|(id, letter, keys)| scene.add(id, letter, keys))
            .collect::<Result<_>>()?;
        let all = || {
            let mut stations: Vec<Station<'_>> =
                pods.iter().map(|one| Station { place: &one.pod, addresses: one.addresses() }).collect();
            let outside = vec!["192.0.2.2".to_owned(), "fd00:99::2".to_owned()];
            stations.push(Station { place: &scene.outside, addresses: outside });
            reach(&stations)
        };
        says(&all()?, "a1", "out", true);
        shell(&scene.node, "for t in iptables ip6tables; do $t -A CNI-ADMIN -o eth0 -j DROP; done")?;
        let reached = all()?;
        says(&reached, "a1", "out", false);
        says(&reached, "a1", "b1", true);
        shell(&scene.node, "for t in iptables ip6tables; do $t -F CNI-ADMIN; $t -A MY-RULES -i br-b -j DROP; done")?;
        let reached = all()?;
        says(&reached, "a1", "out", true);
        says(&reached, "b1", "a1", false);
        // An administrator may also let in what would not be.
        shell(
            &scene.node,
            "for t in iptables ip6tables; do $t -F MY-RULES; $t -A MY-RULES -i eth0 -o br-a -j ACCEPT; done",
        )?;
        let reached = all()?;
        says(&reached, "out", "a1", true);
        says(&reached, "out", "b1", false);
    }
    Ok(())
}
