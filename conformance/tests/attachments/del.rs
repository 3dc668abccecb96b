//! DEL cannot fail, whatever became of the namespace, the result and the configuration; and it takes nothing from others.

use std::path::PathBuf;

use anyhow::{Context, Result};
use fairlead_conformance::cni::Call;
use fairlead_conformance::lab::{Job, Place};
use serde_json::{Value, json};

use super::scene::{Scene, bridge, foreign_ipam, ptp};

/// A path where a namespace was, and what is there now.
fn stale_paths(scene: &Scene) -> Result<Vec<(&'static str, PathBuf)>> {
    let at = |name: &str| scene.node.scratch_file(name);
    let (file, directory, fifo) = (at("file"), at("directory"), at("fifo"));
    std::fs::write(&file, "")?;
    std::fs::create_dir_all(&directory)?;
    scene.node.sh(&format!("mkfifo {}", fifo.display()))?;
    Ok(vec![
        ("a path of nothing", at("nothing")),
        ("a path below a file", file.join("net")),
        ("a plain file", file),
        ("a directory", directory),
        ("a fifo", fifo),
        ("no path", PathBuf::new()),
        ("a namespace of another kind", "/proc/self/ns/uts".into()),
        ("the node's own namespace", "/proc/self/ns/net".into()),
    ])
}

#[test]
fn an_attachment_goes_whatever_became_of_its_namespace_and_its_result() -> Result<()> {
    for config in [bridge(), ptp()] {
        let scene = Scene::new("del-paths", config)?;
        let name = scene.plugin().to_owned();
        // The bridge and its addresses stay.
        let first = scene.pod("first")?;
        let with_result = scene.add(&first)?;
        scene.must("DEL", &first, &with_result)?;
        let before = scene.look()?;
        for (what, path) in stale_paths(&scene)? {
            for result in [true, false] {
                let context = format!("{name}, {what}, {} result", if result { "with" } else { "without" });
                let pod = scene.pod("pod")?;
                let with_result = scene.add(&pod)?;
                let config = if result { &with_result } else { &scene.config };
                for _ in 0..2 {
                    let deleted =
                        scene.call("DEL", "pod", &path, config)?.success().with_context(|| context.clone())?;
                    assert_eq!(deleted.stdout_text(), "", "{context}");
                    scene.assert_clean(&before, &context)?;
                }
                assert!(!pod.sh("ip link")?.contains("eth0"), "{context}: the container's end is there");
                pod.remove_netns(&scene.lab)?;
            }
        }
    }
    Ok(())
}

#[test]
fn a_namespace_that_is_gone_leaves_nothing() -> Result<()> {
    for config in [bridge(), ptp()] {
        let scene = Scene::new("del-gone", config)?;
        let first = scene.pod("first")?;
        let with_result = scene.add(&first)?;
        scene.must("DEL", &first, &with_result)?;
        let before = scene.look()?;
        for result in [true, false] {
            let pod = scene.pod("pod")?;
            let with_result = scene.add(&pod)?;
            pod.remove_netns(&scene.lab)?;
            scene.must("DEL", &pod, if result { &with_result } else { &scene.config })?;
            scene.assert_clean(&before, scene.plugin())?;
        }
        // What was never there is done.
        let never = scene.pod("never")?;
        scene.must("DEL", &never, &scene.config)?;
    }
    Ok(())
}

#[test]
fn a_recycled_path_leads_to_another_pod_which_keeps_all_it_has() -> Result<()> {
    for config in [bridge(), ptp()] {
        let scene = Scene::new("del-recycled", config)?;
        for result in [true, false] {
            let (old, new) = (scene.pod("old")?, scene.pod("new")?);
            let old_result = scene.add(&old)?;
            let new_result = scene.add(&new)?;
            let config = if result { &old_result } else { &scene.config };
            for _ in 0..2 {
                scene.call("DEL", "old", new.netns(), config)?.success()?;
                scene.must("CHECK", &new, &new_result)?;
                assert!(!old.sh("ip link")?.contains("eth0"), "{}: the old pod's pair is there", scene.plugin());
                assert_eq!(scene.leased()?.len(), 2, "the new pod's leases");
            }
            scene.must("DEL", &new, &new_result)?;
            old.remove_netns(&scene.lab)?;
            new.remove_netns(&scene.lab)?;
        }
    }
    Ok(())
}

#[test]
fn the_configuration_may_have_changed_into_nonsense() -> Result<()> {
    let changes = [
        json!({"bridge": "other0"}),
        json!({"bridge": "a name that is too long", "vlan": 9999, "mtu": -5}),
        json!({"vlan": "text", "isGateway": "perhaps"}),
        json!({"hairpinMode": true, "promiscMode": true}),
        json!({"ipMasq": false, "macspoofchk": false, "ipMasqBackend": "ipchains"}),
        json!({"prevResult": {"interfaces": "nonsense"}}),
    ];
    for config in [bridge(), ptp()] {
        let scene = Scene::new("del-config", config)?;
        let first = scene.pod("first")?;
        let with_result = scene.add(&first)?;
        scene.must("DEL", &first, &with_result)?;
        let before = scene.look()?;
        for change in &changes {
            let pod = scene.pod("pod")?;
            scene.add(&pod)?;
            let mut changed = scene.config.clone();
            if let (Value::Object(config), Value::Object(change)) = (&mut changed, change.clone()) {
                config.extend(change);
            }
            let deleted = scene.call_with("NOBODY=knows;this", "DEL", "pod", pod.netns(), &changed)?;
            deleted.success().with_context(|| format!("{change}"))?;
            scene.assert_clean(&before, &change.to_string())?;
            pod.remove_netns(&scene.lab)?;
        }
        // Without anybody to give the addresses back to, everything else goes.
        for ipam in [json!({}), Value::Null, json!("text")] {
            let pod = scene.pod("pod")?;
            scene.add(&pod)?;
            let mut changed = scene.config.clone();
            changed["ipam"] = ipam;
            scene.must("DEL", &pod, &changed)?;
            assert_eq!(scene.leased()?.len(), 2, "nobody released them");
            scene.must("DEL", &pod, &scene.config)?;
            scene.assert_clean(&before, "ipam is back")?;
            pod.remove_netns(&scene.lab)?;
        }
    }
    Ok(())
}

#[test]
fn an_ipam_plugin_that_fails_keeps_nothing_else_from_going() -> Result<()> {
    for mut config in [bridge(), ptp()] {
        config["ipam"] = json!({"type": "foreign"});
        let scene = Scene::new("del-ipam", config)?;
        let before = scene.look()?;
        let answer = json!({"cniVersion": "1.1.0", "ips": [{"address": "10.88.0.9/24", "gateway": "10.88.0.1"}]});
        let (path, _) = foreign_ipam(&scene, &answer, 1)?;
        let pod = scene.pod("pod")?;
        let run = |verb: &str, pod: &Place| {
            let job: Job = scene.suite.plugin(scene.plugin(), verb, &Call::new("pod", pod), &scene.config);
            scene.node.output(&job.env("CNI_PATH", &path))
        };
        run("ADD", &pod)?.success()?;
        let deleted = run("DEL", &pod)?;
        assert_eq!(deleted.status.code(), Some(1));
        assert!(
            deleted.json()?["msg"].as_str().unwrap_or_default().contains("ipam is broken"),
            "{}",
            deleted.stdout_text()
        );
        assert_eq!(scene.node.sh("nft list ruleset")?, "");
        assert!(!pod.sh("ip link")?.contains("eth0"));
        if scene.plugin() == "ptp" {
            scene.assert_clean(&before, "ptp")?;
        }
    }
    Ok(())
}
