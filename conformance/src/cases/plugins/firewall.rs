//! `firewall`, behind `bridge`: what passes where everything else is dropped.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::super::case::{CHECKS, LATEST, case, of};
use super::super::look::{answers, ipv4, is_silent, no_rule_of, rules, serve};
use super::super::stage::{Stage, merge, with_result};
use super::portmap::flush;
use crate::cases::Case;
use crate::cni::Call;

const UPSTREAM: &str = "upstream firewall tests";

pub(super) fn cases() -> Vec<Case> {
    of(
        "firewall",
        vec![
            case("T86.chained", "ADD", CHECKS, (UPSTREAM, "without a result before it, it is refused"), alone),
            case("T86.through", "ADD", CHECKS, (UPSTREAM, "the result before it is handed on"), through),
            case(
                "T86.drop",
                "ADD",
                CHECKS,
                (UPSTREAM, "a pod is reached although FORWARD drops everything"),
                past_a_drop,
            ),
            case(
                "T86.admin",
                "ADD",
                CHECKS,
                (UPSTREAM, "rules in CNI-ADMIN, or the chain of one's own, come first"),
                admin,
            ),
            case("T86.old", "ADD", &["0.3.1"], (UPSTREAM, "versions below 0.4.0 are refused"), old),
            case("T86.policy", "ADD", LATEST, (UPSTREAM, "an unknown ingressPolicy is refused"), bad_policy),
            case("T86.same", "ADD", CHECKS, (UPSTREAM, "same-bridge: neighbours yes, other bridges no"), same_bridge),
            case("T86.isolated", "ADD", CHECKS, (UPSTREAM, "isolated: neither neighbours nor other bridges"), isolated),
            case(
                "T86.check",
                "CHECK",
                CHECKS,
                (UPSTREAM, "silent after ADD, an error when the rules are flushed"),
                check,
            ),
            case("T86.del", "DEL", CHECKS, (UPSTREAM, "twice is once, and no rule speaks of the pod"), del),
            case(
                "T86.without",
                "DEL",
                CHECKS,
                ("DEL after an ADD that failed has no result", "without prevResult the rules go all the same"),
                del_without,
            ),
            case(
                "T86.parallel",
                "ADD",
                LATEST,
                ("nerdctl#2908", "ten ADDs at once on a fresh node all succeed"),
                parallel,
            ),
            case("T86.single", "ADD", LATEST, ("single stack", "an IPv4 pod needs nothing of IPv6"), single),
        ],
    )
}

/// A bridge with a network of its own, then `firewall`.
fn list(stage: &Stage, bridge: &str, subnet: &str, more: Value) -> Result<Vec<Value>> {
    stage.need(&["bridge", "host-local"])?;
    let fields = json!({"name": bridge, "bridge": bridge, "isDefaultGateway": true, "ipam": {"type": "host-local", "subnet": subnet}});
    let mut firewall = stage.net("firewall", json!({"name": bridge, "backend": "iptables"}));
    merge(&mut firewall, more);
    Ok(vec![stage.net("bridge", fields), firewall])
}

/// As docker leaves a node.
fn drop_forwards(stage: &Stage) -> Result<()> {
    stage.node.sh("iptables -P FORWARD DROP")?;
    stage.node.sh("ip6tables -P FORWARD DROP").map(|_| ())
}

fn alone(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = stage.net("firewall", json!({"backend": "iptables"}));
    stage.refused_for("ADD", &pod, &config, &["missing prevResult from earlier plugin"])
}

fn through(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let list = list(stage, "cni0", "10.88.0.0/24", json!({}))?;
    let before = stage.add(&pod, &list[0])?;
    let after = stage.add(&pod, &with_result(&list[1], &before))?;
    ensure!(after == before, "{after}");
    Ok(())
}

/// Two bridges on a node whose FORWARD drops: a pod on each, the second one answers.
fn past_a_drop(stage: &mut Stage) -> Result<()> {
    drop_forwards(stage)?;
    let (one, two) = (stage.pod("one")?, stage.pod("two")?);
    let (first, second) =
        (list(stage, "br-a", "10.88.0.0/24", json!({}))?, list(stage, "br-b", "10.89.0.0/24", json!({}))?);
    stage.add(&one, &first[0])?;
    let bare = stage.add(&two, &second[0])?;
    let _server = serve(&two, &["tcp:80"])?;
    let target = format!("tcp:{}:80", ipv4(&bare)?);
    is_silent(&one, &target)?;
    let result = stage.add(&two, &with_result(&second[1], &bare))?;
    // The server's own rules let in what belongs to its connections only: the client must be allowed to send.
    is_silent(&one, &target)?;
    let config = with_result(
        &first[1],
        &json!({
            "cniVersion": stage.version, "interfaces": [{"name": "br-a"}], "ips": [{"address": "10.88.0.2/32", "version": "4"}]
        }),
    );
    stage.add(&one, &config)?;
    answers(&one, &target, &two)?;
    stage.silently("DEL", &one, &config)?;
    is_silent(&one, &target)?;
    stage.silently("DEL", &two, &with_result(&second[1], &result))
}

fn admin(stage: &mut Stage) -> Result<()> {
    drop_forwards(stage)?;
    for (name, chain, more) in
        [("a", "CNI-ADMIN", json!({})), ("b", "MY-RULES", json!({"iptablesAdminChainName": "MY-RULES"}))]
    {
        let (one, two) = (stage.pod(&format!("one-{name}"))?, stage.pod(&format!("two-{name}"))?);
        let (first, second) = (
            list(
                stage,
                &format!("br-{name}1"),
                &format!("10.{}.1.0/24", if name == "a" { 1 } else { 2 }),
                more.clone(),
            )?,
            list(
                stage,
                &format!("br-{name}2"),
                &format!("10.{}.2.0/24", if name == "a" { 1 } else { 2 }),
                more.clone(),
            )?,
        );
        stage.add_list(&one, &first)?;
        let result = stage.add_list(&two, &second)?;
        let _server = serve(&two, &["tcp:80"])?;
        let target = format!("tcp:{}:80", ipv4(&result)?);
        answers(&one, &target, &two)?;
        stage.node.sh(&format!("iptables -I {chain} -p tcp --dport 80 -j DROP"))?;
        is_silent(&one, &target)?;
        // A new pod leaves the operator's rules alone.
        let three = stage.pod(&format!("three-{name}"))?;
        stage.add_list(&three, &second)?;
        is_silent(&one, &target)?;
        stage.node.sh(&format!("iptables -F {chain}"))?;
    }
    Ok(())
}

fn old(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = stage.net("firewall", json!({}));
    stage.refused_for("ADD", &pod, &config, &["incompatible CNI versions"])
}

fn bad_policy(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let list = list(stage, "cni0", "10.88.0.0/24", json!({"ingressPolicy": "whatever"}))?;
    let before = stage.add(&pod, &list[0])?;
    stage.refused_for("ADD", &pod, &with_result(&list[1], &before), &["unknown ingress policy", "whatever"])
}

/// Who reaches the server on `br-a`: its neighbour there, and a pod of `br-b`.
fn ingress(stage: &mut Stage, policy: &str, neighbours: bool, strangers: bool) -> Result<()> {
    let names = ["server", "neighbour", "stranger"];
    let pods: Vec<_> = names.into_iter().map(|name| stage.pod(name)).collect::<Result<_>>()?;
    let more = json!({"ingressPolicy": policy});
    let here = list(stage, "br-a", "10.88.0.0/24", more.clone())?;
    let there = list(stage, "br-b", "10.89.0.0/24", more)?;
    let result = stage.add_list(&pods[0], &here)?;
    stage.add_list(&pods[1], &here)?;
    stage.add_list(&pods[2], &there)?;
    let _server = serve(&pods[0], &["tcp:80"])?;
    let target = format!("tcp:{}:80", ipv4(&result)?);
    for (pod, allowed) in [(&pods[1], neighbours), (&pods[2], strangers)] {
        match allowed {
            true => answers(pod, &target, &pods[0])?,
            false => is_silent(pod, &target)?,
        }
    }
    // The node itself may always.
    answers(&stage.node, &target, &pods[0])
}

fn same_bridge(stage: &mut Stage) -> Result<()> {
    ingress(stage, "same-bridge", true, false)
}

fn isolated(stage: &mut Stage) -> Result<()> {
    // Frames between ports of one bridge meet the rules of IP only with br_netfilter.
    let file = std::path::Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables");
    if stage.node.enter(|| Ok(std::fs::write(file, "1").is_err()))? {
        return Stage::skip(
            Some("a kernel with br_netfilter loaded"),
            "bridged frames do not meet the rules of IP here",
        );
    }
    ingress(stage, "isolated", false, false)
}

fn check(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let list = list(stage, "cni0", "10.88.0.0/24", json!({}))?;
    let result = stage.add_list(&pod, &list)?;
    let config = with_result(&list[1], &result);
    stage.silently("CHECK", &pod, &config)?;
    flush(&stage.node)?;
    stage.refused("CHECK", &pod, &config).map(|_| ())
}

fn del(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let list = list(stage, "cni0", "10.88.0.0/24", json!({}))?;
    let result = stage.add_list(&pod, &list)?;
    let ip = ipv4(&result)?;
    ensure!(rules(&stage.node)?.contains(&ip), "no rule speaks of {ip}");
    for _ in 0..2 {
        stage.silently("DEL", &pod, &with_result(&list[1], &result))?;
    }
    no_rule_of(&stage.node, &[&ip])
}

fn del_without(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let list = list(stage, "cni0", "10.88.0.0/24", json!({}))?;
    let result = stage.add_list(&pod, &list)?;
    let call = Call { netns: "".as_ref(), ..Call::new("p", &pod) };
    stage.silently_as("DEL", &call, &list[1])?;
    no_rule_of(&stage.node, &[&ipv4(&result)?])
}

fn parallel(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let names: Vec<String> = (0..10).map(|number| format!("c{number}")).collect();
    let configs: Vec<Value> = (10..20)
        .map(|number| {
            let ips = json!([{"address": format!("10.88.0.{number}/24")}, {"address": format!("fd00::{number}/64")}]);
            let result = json!({"cniVersion": stage.version, "interfaces": [{"name": "cni0"}], "ips": ips});
            with_result(&stage.net("firewall", json!({"backend": "iptables", "ingressPolicy": "same-bridge"})), &result)
        })
        .collect();
    let jobs: Vec<_> =
        names.iter().zip(&configs).map(|(name, config)| stage.job("ADD", &Call::new(name, &pod), config)).collect();
    let node = &stage.node;
    let ended: Vec<Result<_>> = std::thread::scope(|scope| {
        let running: Vec<_> = jobs.iter().map(|job| scope.spawn(move || node.output(job)?.success())).collect();
        running.into_iter().map(|one| one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    for one in ended {
        one?;
    }
    Ok(())
}

fn single(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let result =
        json!({"cniVersion": stage.version, "interfaces": [{"name": "cni0"}], "ips": [{"address": "10.88.0.5/24"}]});
    let config =
        with_result(&stage.net("firewall", json!({"backend": "iptables", "ingressPolicy": "same-bridge"})), &result);
    stage.add(&pod, &config)?;
    stage.silently("CHECK", &pod, &config)?;
    stage.silently("DEL", &pod, &config)
}
