//! flannel: what the delegate is told and gets, what is kept for DEL, and every verb with our bridge, the reference's and
//! somebody else's as the delegate. The reference plugin is not built here; its file is written as its source writes it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use fairlead_conformance::cni::{Call, Suite};
use fairlead_conformance::differential::VERSIONS;
use fairlead_conformance::lab::{Finished, Pod};
use fairlead_conformance::snapshot::{Snapshot, render};
use serde_json::{Value, json};

#[path = "chained/refusal.rs"]
mod refusal;
#[path = "flannel/scene.rs"]
mod scene;
use refusal::refusal;
use scene::{SUBNET_ENV, Scene};

/// flannel's manifest.
fn manifest() -> Value {
    json!({
        "cniVersion": "0.3.1", "name": "cbr0", "type": "flannel",
        "delegate": {"hairpinMode": true, "isDefaultGateway": true}
    })
}

fn newest() -> Value {
    let mut config = manifest();
    config["cniVersion"] = "1.1.0".into();
    config
}

#[test]
fn the_manifest_makes_a_pod_of_the_nodes_subnet() -> Result<()> {
    let scene = Scene::new("manifest")?;
    for (number, version) in VERSIONS.iter().enumerate() {
        let mut config = manifest();
        config["cniVersion"] = (*version).into();
        let id = format!("pod-{number}");
        let (pod, with_result) = scene.pod(&id, &config)?;
        let link = &pod.json("ip -j addr show dev eth0")?[0];
        let address = format!("10.244.3.{}", number + 2);
        assert_eq!((link["mtu"].as_u64(), link["addr_info"][0]["local"].as_str()), (Some(1450), Some(&address[..])));
        assert!(pod.sh("ip route")?.contains("default via 10.244.3.1"), "{version}");
        assert!(pod.sh("ip route")?.contains("10.244.0.0/16 via 10.244.3.1"), "{version}");
        let kept: Value = serde_json::from_slice(&fs::read(scene.node.var_lib().join("cni/flannel").join(&id))?)?;
        let wanted = json!({
            "cniVersion": version, "hairpinMode": true, "ipMasq": false,
            "ipam": {
                "ranges": [[{"subnet": "10.244.3.0/24"}]], "routes": [{"dst": "10.244.0.0/16"}], "type": "host-local"
            },
            "isDefaultGateway": true, "isGateway": true, "mtu": 1450, "name": "cbr0", "type": "bridge",
            "fairlead": {"ifname": "eth0"}
        });
        assert_eq!(kept.to_string(), wanted.to_string(), "byte for byte, but for our own key");
        if *version >= "0.4.0" {
            scene.call("CHECK", &Call::new(&id, &pod), &with_result)?.success()?;
        }
        let text = scene.call("DEL", &Call::new(&id, &pod), &config)?.success()?.stdout_text();
        assert_eq!((text, scene.kept()?, scene.leases("cbr0")?), (String::new(), vec![], vec![]), "{version}");
    }
    let file = scene.node.var_lib().join("cni/flannel");
    assert_eq!(fs::metadata(file)?.permissions().mode() & 0o777, 0o700);
    Ok(())
}

#[test]
fn a_delegate_of_ours_is_no_process() -> Result<()> {
    let scene = Scene::new("process")?;
    let pod = scene.lab.pod(&scene.node, "pod")?;
    let trace = scene.node.dir().join("trace").to_string_lossy().into_owned();
    let job = scene.ours.plugin("flannel", "ADD", &Call::new("pod", &pod), &manifest());
    scene.node.output(&job.under(&["strace", "-f", "-qq", "-e", "trace=execve", "-o", &trace]))?.success()?;
    let started = fs::read_to_string(trace)?;
    assert_eq!(started.lines().count(), 1, "{started}");
    Ok(())
}

#[test]
fn del_works_from_what_was_kept_and_without_it() -> Result<()> {
    let scene = Scene::new("del")?;
    let before = Snapshot::network(&scene.node)?;
    let config = newest();
    // The agent has gone, or has another subnet; the configuration has another bridge; the namespace has gone.
    type Change = fn(&Scene, &Pod) -> Result<()>;
    let changes: [Change; 4] = [
        |scene, _| Ok(fs::remove_file(scene.node.run_dir().join("flannel/subnet.env"))?),
        |scene, _| scene.node.write("run/flannel/subnet.env", SUBNET_ENV.replace("10.244.3", "10.244.9")).map(drop),
        |scene, pod| pod.remove_netns(&scene.lab),
        |scene, _| Ok(fs::remove_dir_all(scene.node.var_lib().join("cni/flannel"))?),
    ];
    for (number, change) in changes.iter().enumerate() {
        scene.node.write("run/flannel/subnet.env", SUBNET_ENV)?;
        let id = format!("pod-{number}");
        let (pod, _) = scene.pod(&id, &config)?;
        change(&scene, &pod)?;
        let mut changed = config.clone();
        changed["delegate"]["mtu"] = "junk".into();
        for _ in 0..2 {
            scene
                .call("DEL", &Call::new(&id, &pod), &changed)?
                .success()
                .with_context(|| format!("change {number}"))?;
        }
        assert_eq!((scene.kept()?, scene.leases("cbr0")?), (vec![], vec![]), "change {number}");
    }
    scene.node.sh("ip link del cni0")?;
    scene.node.sh("sysctl -qw net.ipv4.ip_forward=0")?;
    let left = before.diff(&Snapshot::network(&scene.node)?);
    assert!(left.iter().all(|change| change.key.starts_with("sysctl")), "{}", render(&left));
    Ok(())
}

#[test]
fn nonsense_that_was_kept_is_removed_and_no_obstacle() -> Result<()> {
    let scene = Scene::new("nonsense")?;
    let pod = scene.lab.pod(&scene.node, "pod")?;
    let call = Call::new("pod", &pod);
    for text in ["", "{", "{\"type\": 7}", "{\"name\": \"cbr0\", \"type\": \"../../bin/sh\"}"] {
        scene.node.write("var-lib/cni/flannel/pod", text)?;
        scene.call("DEL", &call, &manifest())?.success().with_context(|| text.to_owned())?;
        assert_eq!(scene.kept()?, [""; 0], "{text}");
    }
    // Nothing at all, a data directory that is a file, an agent that never came.
    scene.call("DEL", &call, &manifest())?.success()?;
    scene.node.write("var-lib/cni/file", "")?;
    let mut elsewhere = manifest();
    elsewhere["dataDir"] = "/var/lib/cni/file".into();
    fs::remove_dir_all(scene.node.run_dir().join("flannel"))?;
    scene.call("DEL", &call, &elsewhere)?.success()?;
    Ok(())
}

#[test]
fn two_interfaces_of_one_container_do_not_overwrite_each_other() -> Result<()> {
    let scene = Scene::new("two")?;
    let first = newest();
    let mut second = first.clone();
    second["name"] = "cbr1".into();
    second["delegate"]["bridge"] = "cni1".into();
    second["subnetFile"] = "/run/flannel/second.env".into();
    scene.node.write("run/flannel/second.env", SUBNET_ENV.replace("10.244.", "10.245."))?;
    let (pod, _) = scene.pod("pod", &first)?;
    let net1 = Call { ifname: "net1", ..Call::new("pod", &pod) };
    let mut without_default = second.clone();
    without_default["delegate"]["isDefaultGateway"] = false.into();
    scene.call("ADD", &net1, &without_default)?.success()?;
    assert_eq!(scene.kept()?, ["pod", "pod:net1"]);
    assert_eq!((scene.leases("cbr0")?.len(), scene.leases("cbr1")?.len()), (1, 1));
    scene.call("DEL", &Call::new("pod", &pod), &first)?.success()?;
    assert_eq!(
        (scene.kept()?, scene.leases("cbr0")?.len(), scene.leases("cbr1")?.len()),
        (vec!["pod:net1".into()], 0, 1)
    );
    pod.sh("ip link show dev net1")?;
    scene.call("DEL", &net1, &second)?.success()?;
    assert_eq!((scene.kept()?, scene.leases("cbr1")?.len()), (vec![], 0));
    Ok(())
}

#[test]
fn a_node_switches_between_the_reference_and_ours() -> Result<()> {
    let scene = Scene::new("switch")?;
    let reference = Suite::reference()?;
    let theirs = scene.path("theirs", &["bridge", "host-local"].map(|name| (name, reference.binary(name))))?;
    // What the reference's flannel did: keep the configuration under the container's name, and call bridge with it.
    let config = json!({
        "cniVersion": "0.3.1", "hairpinMode": true, "ipMasq": false, "isDefaultGateway": true, "isGateway": true,
        "ipam": {"ranges": [[{"subnet": "10.244.3.0/24"}]], "routes": [{"dst": "10.244.0.0/16"}], "type": "host-local"},
        "mtu": 1450, "name": "cbr0", "type": "bridge"
    });
    let pod = scene.lab.pod(&scene.node, "before")?;
    let call = Call::new("before", &pod);
    scene.node.write("var-lib/cni/flannel/before", config.to_string())?;
    scene.node.output(&reference.plugin("bridge", "ADD", &call, &config))?.success()?;
    scene.call("DEL", &call, &manifest())?.success()?;
    assert_eq!((scene.kept()?, scene.leases("cbr0")?), (vec![], vec![]));
    assert!(!pod.sh("ip link")?.contains("eth0"));
    // Our flannel over their bridge, and the file read by theirs.
    let (pod, id) = (scene.lab.pod(&scene.node, "after")?, "after");
    let job = scene.ours.plugin("flannel", "ADD", &Call::new(id, &pod), &manifest()).env("CNI_PATH", &theirs);
    scene.node.output(&job)?.success()?;
    let kept: Value = serde_json::from_slice(&fs::read(scene.node.var_lib().join("cni/flannel/after"))?)?;
    scene.node.output(&reference.plugin("bridge", "DEL", &Call::new(id, &pod), &kept))?.success()?;
    assert_eq!(scene.leases("cbr0")?, [""; 0]);
    Ok(())
}

/// A plugin that writes down what it is told.
fn recorder(scene: &Scene, extra: &str) -> Result<(PathBuf, PathBuf)> {
    let log = scene.node.dir().join("log");
    let file = scene.node.dir().join("recorder");
    let text = format!(
        "#!/bin/sh\necho \"$CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME $(cat)\" >>{}\n{extra}\n\
         [ $CNI_COMMAND = ADD ] && echo '{{\"cniVersion\": \"1.1.0\", \"ips\": [{{\"address\": \"10.9.9.9/24\"}}]}}'\nexit 0\n",
        log.display()
    );
    fs::write(&file, text)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    Ok((scene.path("foreign", &[("theirs", file)])?, log))
}

#[test]
fn somebody_elses_delegate_is_told_everything_in_every_verb() -> Result<()> {
    let scene = Scene::new("foreign")?;
    let (path, log) = recorder(&scene, "")?;
    let config = json!({
        "cniVersion": "1.1.0", "name": "net", "type": "flannel", "delegate": {"type": "theirs", "x": {"b": 1, "a": "<&>"}},
        "runtimeConfig": {"portMappings": []}
    });
    let pod = scene.lab.pod(&scene.node, "pod")?;
    let call = |verb: &str, config: &Value| -> Result<Finished> {
        let job = scene.ours.plugin("flannel", verb, &Call::new("pod", &pod), config).env("CNI_PATH", &path);
        scene.node.output(&job)?.success()
    };
    let added = call("ADD", &config)?.json()?;
    assert_eq!(added["ips"][0]["address"], "10.9.9.9/24");
    let mut with_result = config.clone();
    with_result["prevResult"] = added.clone();
    call("CHECK", &with_result)?;
    let mut with_list = config.clone();
    with_list["cni.dev/valid-attachments"] = json!([{"containerID": "pod", "ifname": "eth0"}]);
    call("GC", &config)?;
    call("GC", &with_list)?;
    call("STATUS", &config)?;
    call("DEL", &with_result)?;
    let told = r#"{"cniVersion":"1.1.0","ipMasq":false,"ipam":{"ranges":[[{"subnet":"10.244.3.0/24"}]],"routes":[{"dst":"10.244.0.0/16"}],"type":"host-local"},"mtu":1450,"name":"net","runtimeConfig":{"portMappings":[]},"type":"theirs","x":{"a":"<&>","b":1}"#;
    let said = fs::read_to_string(log)?;
    let lines: Vec<&str> = said.lines().collect();
    let result = format!(",\"prevResult\":{added}}}");
    let wanted = [
        format!("ADD pod eth0 {told}}}"),
        format!("CHECK pod eth0 {told}{result}"),
        format!("GC pod eth0 {told},\"cni.dev/valid-attachments\":[{{\"containerID\":\"pod\",\"ifname\":\"eth0\"}}]}}"),
        format!("STATUS pod eth0 {told}}}"),
        format!("DEL pod eth0 {told}{result}"),
    ];
    assert_eq!(lines, wanted);
    assert_eq!(scene.kept()?, [""; 0]);
    Ok(())
}

#[test]
fn a_failed_add_leaves_nothing() -> Result<()> {
    let scene = Scene::new("failed")?;
    let pod = scene.lab.pod(&scene.node, "pod")?;
    let call = Call::new("pod", &pod);
    let env = |text: &str| scene.node.write("run/flannel/subnet.env", text).map(drop);
    let refused = |config: &Value| refusal(&scene.call("ADD", &call, config)?);
    env("FLANNEL_MTU=1450\nFLANNEL_SUBNET\n")?;
    let (code, said) = refused(&newest())?;
    assert!(code == 11 && said.contains("subnet.env line 2: \"FLANNEL_SUBNET\" is not KEY=value"), "{code} {said}");
    env("FLANNEL_MTU=1450\n")?;
    assert!(refused(&newest())?.1.contains("is missing FLANNEL_NETWORK, FLANNEL_IPV6_NETWORK, FLANNEL_SUBNET"));
    fs::remove_file(scene.node.run_dir().join("flannel/subnet.env"))?;
    let (code, said) = refused(&newest())?;
    assert!(code == 11 && said.contains("open /run/flannel/subnet.env: No such file"), "{code} {said}");
    assert!(said.contains("Check the flannel pod log for this node."), "{said}");
    env(SUBNET_ENV)?;
    let mut absent = newest();
    absent["delegate"]["type"] = "no-such-plugin".into();
    assert!(refused(&absent)?.1.starts_with("failed to delegate add: failed to find plugin \"no-such-plugin\""));
    for name in ["../bridge", "/bin/sh", ""] {
        absent["delegate"]["type"] = name.into();
        assert_eq!(refused(&absent)?.0, 7, "{name}");
    }
    // A subnet with one address, which is taken.
    env(&SUBNET_ENV.replace("/24", "/30"))?;
    let (other, _) = scene.pod("other", &newest())?;
    let (_, said) = refused(&newest())?;
    assert!(said.starts_with("failed to delegate add: "), "{said}");
    assert_eq!((scene.kept()?, scene.leases("cbr0")?.len()), (vec!["other".into()], 1));
    assert!(!pod.sh("ip link")?.contains("eth0"));
    scene.call("DEL", &Call::new("other", &other), &newest())?.success()?;
    Ok(())
}

#[test]
fn what_the_delegate_could_not_take_back_is_kept_for_del() -> Result<()> {
    let scene = Scene::new("kept")?;
    let (path, _) = recorder(&scene, "[ -e /run/works ] || { echo '{\"code\": 7, \"msg\": \"no\"}'; exit 1; }")?;
    let mut config = newest();
    config["delegate"] = json!({"type": "theirs"});
    let pod = scene.lab.pod(&scene.node, "pod")?;
    let call = |verb: &str| {
        let job = scene.ours.plugin("flannel", verb, &Call::new("pod", &pod), &config).env("CNI_PATH", &path);
        scene.node.output(&job)
    };
    assert!(refusal(&call("ADD")?)?.1.contains("taking it back failed: no"));
    assert_eq!(scene.kept()?, ["pod"]);
    assert_eq!(refusal(&call("DEL")?)?, (7, "no".into()));
    scene.node.write("run/works", "")?;
    call("DEL")?.success()?;
    assert_eq!(scene.kept()?, [""; 0]);
    Ok(())
}

#[test]
fn check_is_the_delegates() -> Result<()> {
    let scene = Scene::new("check")?;
    let (pod, with_result) = scene.pod("pod", &newest())?;
    let check = || scene.call("CHECK", &Call::new("pod", &pod), &with_result);
    check()?.success()?;
    // Also when what was kept is lost: by the agent's file.
    fs::remove_dir_all(scene.node.var_lib().join("cni/flannel"))?;
    check()?.success()?;
    pod.sh("ip route del default")?;
    assert!(refusal(&check()?)?.1.contains("no route 0.0.0.0/0"));
    Ok(())
}

#[test]
fn gc_reaches_the_delegate_and_what_was_kept() -> Result<()> {
    let scene = Scene::new("gc")?;
    let config = newest();
    let (_kept, _) = scene.pod("kept", &config)?;
    let (dead, _) = scene.pod("dead", &config)?;
    scene.call("GC", &Call::new("", &dead), &config)?.success()?;
    assert_eq!((scene.kept()?.len(), scene.leases("cbr0")?.len()), (2, 2), "without a list nothing may be removed");
    let mut valid = config.clone();
    valid["cni.dev/valid-attachments"] = json!([{"containerID": "kept", "ifname": "eth0"}]);
    // Also without the agent.
    fs::remove_file(scene.node.run_dir().join("flannel/subnet.env"))?;
    scene.call("GC", &Call::new("", &dead), &valid)?.success()?;
    assert_eq!((scene.kept()?, scene.leases("cbr0")?), (vec!["kept".into()], vec!["10.244.3.2".into()]));
    assert!(!dead.sh("ip link")?.contains("eth0"));
    Ok(())
}

#[test]
fn status_tells_what_an_add_would_miss() -> Result<()> {
    let scene = Scene::new("status")?;
    let pod = scene.lab.pod(&scene.node, "pod")?;
    let status = |config: &Value| scene.call("STATUS", &Call::new("", &pod), config);
    status(&newest())?.success()?;
    let mut absent = newest();
    absent["delegate"]["type"] = "no-such-plugin".into();
    let (code, said) = refusal(&status(&absent)?)?;
    assert!(code == 51 && said.contains("no-such-plugin: install it"), "{code} {said}");
    scene.node.write("var-lib/cni/file", "")?;
    let mut nowhere = newest();
    nowhere["dataDir"] = "/var/lib/cni/file/x".into();
    assert_eq!(refusal(&status(&nowhere)?)?.0, 51);
    // The delegate's own answer: no address is left.
    scene.node.write("run/flannel/subnet.env", SUBNET_ENV.replace("/24", "/30"))?;
    let (_one, _) = scene.pod("one", &newest())?;
    assert_eq!(refusal(&status(&newest())?)?.0, 50);
    fs::remove_file(scene.node.run_dir().join("flannel/subnet.env"))?;
    let (code, said) = refusal(&status(&newest())?)?;
    assert!(code == 50 && said.contains("Check the flannel pod log") && said.contains("fairlead-overlay"), "{said}");
    Ok(())
}
