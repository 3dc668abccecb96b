//! What is left, what is found, what is named.

use anyhow::{Context, Result, ensure};
use fairlead_conformance::cni::{Call, Suite};
use fairlead_conformance::lab::Job;
use serde_json::{Value, json};

use super::scene::{Scene, configs, shell};

#[test]
fn nothing_is_left_after_any_del() -> Result<()> {
    let scene = Scene::ours("fw-del")?;
    let before = scene.ruleset()?;
    let keys = [json!({}), json!({"ingressPolicy": "same-bridge"}), json!({"ingressPolicy": "isolated"})];
    for (number, keys) in keys.into_iter().enumerate() {
        for way in ["as it was", "without a result", "without anything", "with nonsense", "without a namespace"] {
            let id = format!("pod-{number}-{}", way.replace(' ', "-"));
            let attached = scene.add(&id, 'a', keys.clone())?;
            ensure!(scene.ruleset()?.contains(&attached.addresses()[0]), "nothing was written");
            let mut config = attached.firewall.clone();
            let nowhere = std::path::Path::new("");
            let mut call = Call::new(&id, &attached.pod);
            match way {
                "without a result" => config["prevResult"] = Value::Null,
                "without anything" => config = json!({"cniVersion": "1.1.0", "name": "net-a", "type": "firewall"}),
                "with nonsense" => {
                    config["ingressPolicy"] = "whatever".into();
                    config["iptablesAdminChainName"] = "FORWARD".into();
                    config["prevResult"] = json!({"ips": "none"});
                }
                "without a namespace" => call.netns = nowhere,
                _ => {}
            }
            for time in 0..2 {
                let deleted = scene.node.output(&scene.suite.plugin("firewall", "DEL", &call, &config))?;
                deleted.success().with_context(|| format!("{way}, time {time}"))?;
                assert_eq!(scene.ruleset()?, before, "{way}, {keys}");
            }
            scene.call("bridge", "DEL", &id, &attached.pod, &attached.bridge)?.success()?;
        }
    }
    Ok(())
}

#[test]
fn gc_removes_exactly_what_is_not_in_the_list() -> Result<()> {
    let scene = Scene::ours("fw-gc")?;
    let isolated = || json!({"ingressPolicy": "isolated"});
    let kept = scene.add("kept", 'a', isolated())?;
    let with_kept = scene.ruleset()?;
    let gone = scene.add("gone", 'a', isolated())?;
    let stranger = scene.add("stranger", 'b', isolated())?;
    let all = scene.ruleset()?;

    let (_, mut config) = configs('a', isolated());
    scene.call("firewall", "GC", "", &kept.pod, &config)?.success()?;
    assert_eq!(scene.ruleset()?, all, "without a list nothing may be removed");
    config["cni.dev/valid-attachments"] = json!([{"containerID": "kept", "ifname": "eth0"}]);
    for _ in 0..2 {
        scene.call("firewall", "GC", "", &kept.pod, &config)?.success()?;
    }
    for attached in [&kept, &stranger] {
        scene.call("firewall", "CHECK", &attached.id, &attached.pod, &attached.firewall)?.success()?;
    }
    let left = scene.ruleset()?;
    for word in gone.addresses().iter().chain([&gone.port()]) {
        ensure!(!left.contains(word), "{word} is left in\n{left}");
    }
    scene.del(&stranger)?;
    assert_eq!(scene.ruleset()?, with_kept);
    scene.del(&kept)?;
    assert_eq!(scene.ruleset()?, "");
    Ok(())
}

#[test]
fn check_names_every_drift() -> Result<()> {
    let scene = Scene::ours("fw-check")?;
    let drifts: [(&str, &[&str]); 7] = [
        ("iptables -F FORWARD", &["iptables: chain FORWARD does not lead to CNI-FORWARD"]),
        ("iptables -F CNI-FORWARD", &["does not ask CNI-ADMIN", "does not accept what pods send"]),
        ("nft flush table inet fairlead_firewall", &["rules of table inet fairlead_firewall"]),
        ("nft delete element inet fairlead_firewall pods4 { ADDRESS }", &["address ADDRESS is not in table"]),
        ("nft flush set inet fairlead_firewall bridges", &["bridge br-a is not shut"]),
        ("nft flush set bridge fairlead_firewall ports", &["port PORT"]),
        ("nft flush ruleset", &["FORWARD does not lead", "address ADDRESS", "bridge br-a is not shut", "port PORT"]),
    ];
    for (number, (deed, words)) in drifts.into_iter().enumerate() {
        let id = format!("pod-{number}");
        let attached = scene.add(&id, 'a', json!({"ingressPolicy": "isolated"}))?;
        let fill = |text: &str| text.replace("ADDRESS", &attached.addresses()[0]).replace("PORT", &attached.port());
        let check = || scene.call("firewall", "CHECK", &id, &attached.pod, &attached.firewall);
        check()?.success().context("right after ADD")?;
        shell(&scene.node, &fill(deed))?;
        let checked = check()?;
        ensure!(checked.status.code() == Some(1), "`{deed}` was not noticed");
        let said = checked.json()?["msg"].as_str().unwrap_or_default().to_owned();
        for word in words {
            ensure!(said.contains(&fill(word)), "after `{deed}`: {word:?} is not in: {said}");
        }
        scene.del(&attached)?;
        shell(&scene.node, "iptables -F; ip6tables -F; iptables -X; ip6tables -X; nft flush ruleset")?;
    }
    Ok(())
}

#[test]
fn what_is_wrong_is_refused_before_anything_is_done() -> Result<()> {
    let scene = Scene::ours("fw-wrong")?;
    let pod = scene.lab.pod(&scene.node, "pod")?;
    let result = json!({"cniVersion": "1.1.0", "interfaces": [{"name": "br-a"}], "ips": [{"address": "10.88.0.2/24"}]});
    let nameless = json!({"cniVersion": "1.1.0", "interfaces": [], "ips": [{"address": "10.88.0.2/24"}]});
    let rows = [
        (json!({"ingressPolicy": "closed", "prevResult": result}), 7, "unknown ingress policy: \"closed\""),
        (json!({}), 7, "missing prevResult from earlier plugin"),
        (
            json!({"ingressPolicy": "isolated", "prevResult": nameless}),
            7,
            "interface needs to be set for ingress policy",
        ),
        (json!({"iptablesAdminChainName": "CNI-FORWARD", "prevResult": result}), 7, "iptablesAdminChainName"),
        (json!({"cniVersion": "0.3.1", "prevResult": result}), 1, "incompatible CNI versions"),
    ];
    for (keys, code, words) in rows {
        let (_, config) = configs('a', keys);
        let answer = scene.call("firewall", "ADD", "pod", &pod, &config)?;
        let error = answer.json()?;
        assert_eq!((answer.status.code(), error["code"].as_u64()), (Some(1), Some(code)), "{error}");
        ensure!(error["msg"].as_str().unwrap_or_default().contains(words), "{words:?} is not in {error}");
        assert_eq!(scene.ruleset()?, "", "{words}");
    }
    Ok(())
}

#[test]
fn twenty_at_once_all_succeed_and_the_rules_stay_as_many() -> Result<()> {
    let scene = Scene::ours("fw-parallel")?;
    let pod = scene.lab.pod(&scene.node, "pod")?;
    let calls: Vec<(String, Value)> = (10..30)
        .map(|number| {
            let ips =
                json!([{"address": format!("10.88.0.{number}/24")}, {"address": format!("fd00:88::{number}/64")}]);
            let interfaces = json!([{"name": "br-a"}, {"name": format!("veth{number}")}]);
            let result = json!({"cniVersion": "1.1.0", "interfaces": interfaces, "ips": ips});
            let keys = json!({"ingressPolicy": "isolated", "prevResult": result});
            (format!("pod-{number}"), configs('a', keys).1)
        })
        .collect();
    let all = |verb: &str, calls: &[(String, Value)]| -> Result<()> {
        let jobs: Vec<Job> = calls
            .iter()
            .map(|(id, config)| scene.suite.plugin("firewall", verb, &Call::new(id, &pod), config))
            .collect();
        std::thread::scope(|scope| {
            let node = &scene.node;
            let running: Vec<_> = jobs.iter().map(|job| scope.spawn(move || node.output(job)?.success())).collect();
            for one in running {
                one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            }
            Ok(())
        })
    };
    let rules = || -> Result<Vec<String>> {
        let ruleset = shell(&scene.node, "nft -s -j list ruleset")?;
        let ruleset: Value = serde_json::from_str(&ruleset)?;
        let listed = ruleset["nftables"].as_array().cloned().unwrap_or_default();
        Ok(listed.iter().filter(|one| one["rule"].is_object()).map(|one| one["rule"]["chain"].to_string()).collect())
    };
    all("ADD", &calls[..1])?;
    let with_one = rules()?;
    all("DEL", &calls[..1])?;
    for _ in 0..3 {
        all("ADD", &calls)?;
        assert_eq!(rules()?, with_one, "a pod is elements, not rules");
        for (id, config) in &calls {
            scene.call("firewall", "CHECK", id, &pod, config)?.success()?;
        }
        all("DEL", &calls)?;
        assert_eq!(scene.ruleset()?, "");
    }
    Ok(())
}

#[test]
fn status_is_silent_where_it_serves_and_names_what_is_missing() -> Result<()> {
    let scene = Scene::ours("fw-status")?;
    let pod = scene.lab.pod(&scene.node, "pod")?;
    let (_, config) = configs('a', json!({}));
    scene.call("firewall", "STATUS", "", &pod, &config)?.success()?;
    let (_, config) = configs('a', json!({"backend": "firewalld"}));
    let answer = scene.call("firewall", "STATUS", "", &pod, &config)?.json()?;
    assert_eq!(answer["code"].as_u64(), Some(51), "{answer}");
    ensure!(answer["msg"].as_str().unwrap_or_default().contains("firewalld"), "{answer}");
    Ok(())
}

#[test]
fn a_node_switched_in_place_leaves_nothing_either_way() -> Result<()> {
    for (adds, removes) in
        [(Suite::reference()?, Suite::ours()?), (Suite::ours()?, Suite::reference()?), (Suite::ours()?, Suite::ours()?)]
    {
        let text = format!("{} adds, {} removes", adds.name, removes.name);
        let ours_removes = removes.name == "ours";
        let mut scene = Scene::new("fw-switch", adds)?;
        let one = scene.add("one", 'a', json!({"ingressPolicy": "same-bridge"}))?;
        let two = scene.add("two", 'a', json!({"ingressPolicy": "same-bridge"}))?;
        scene.suite = removes;
        scene.del(&one)?;
        scene.del(&two)?;
        let left = scene.ruleset()?;
        for word in one.addresses().iter().chain(&two.addresses()) {
            // What is an element of ours the reference does not know; our GC does.
            ensure!(!ours_removes || !left.contains(word), "{text}: {word} is left in\n{left}");
        }
        scene.suite = Suite::ours()?;
        let (_, mut config) = configs('a', json!({}));
        config["cni.dev/valid-attachments"] = json!([]);
        scene.call("firewall", "GC", "", &one.pod, &config)?.success()?;
        let left = scene.ruleset()?;
        for word in one.addresses().iter().chain(&two.addresses()).map(|word| &word[..]).chain(["fairlead", "CNI-"]) {
            ensure!(!left.contains(word), "{text}: {word} is left in\n{left}");
        }
    }
    Ok(())
}
