//! What Go's JSON forgives: configurations that work today must work tomorrow.

use anyhow::{Result, ensure};
use serde_json::json;

use super::super::case::{LATEST, case, of};
use super::super::look::{device, devices, ips};
use super::super::stage::Stage;
use crate::cases::Case;
use crate::cni::Call;

const GO: &str = "Go encoding/json";

pub(super) fn cases() -> Vec<Case> {
    let bridge = vec![
        case("trap4.case", "ADD", LATEST, (GO, "keys in any case"), any_case),
        case("trap4.null", "ADD", LATEST, (GO, "null is the same as not there"), nulls),
        case("trap4.twice", "ADD", LATEST, (GO, "of a key that stands twice the last one counts"), twice),
        case("trap4.unknown", "ADD", LATEST, (GO, "unknown keys are ignored"), unknown),
        case("trap4.numbers", "ADD", LATEST, (GO, "1450.0, 1e3 and a text are no whole numbers"), numbers),
        case(
            "trap19",
            "ADD",
            LATEST,
            ("libcni leaves capabilities in", "capabilities beside runtimeConfig"),
            capabilities,
        ),
        case(
            "trap20",
            "ADD",
            LATEST,
            ("nearly empty environments", "no HOME, TMPDIR or PATH is needed"),
            empty_environment,
        ),
        case(
            "trap24",
            "ADD",
            LATEST,
            ("CNI_PATH", "several directories: the first regular file is taken"),
            several_directories,
        ),
        case("trap6", "CHECK", LATEST, ("old plugins emit -1", "an interface index of -1 is nobody's"), odd_indexes),
        case(
            "trap17",
            "CHECK",
            LATEST,
            ("runtimes name one namespace by two paths", "CHECK by another path of the same namespace"),
            other_path,
        ),
        case(
            "T13",
            "CHECK",
            LATEST,
            ("upstream types tests", "a result of a strange or another family's version is refused"),
            strange_results,
        ),
    ];
    of("bridge", bridge)
}

fn text(stage: &Stage, fields: &str) -> String {
    format!(
        r#"{{"cniVersion": "{}", "name": "net", "type": "bridge", {fields}, "ipam": {{"type": "host-local", "subnet": "10.88.0.0/24"}}}}"#,
        stage.version
    )
}

fn any_case(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = format!(
        r#"{{"CNIversion": "{}", "NAME": "net", "Type": "bridge", "BRIDGE": "br9", "mTu": 1400, "isgateway": true,
            "IPAM": {{"TYPE": "host-local", "Ranges": [[{{"Subnet": "10.88.0.0/24", "RANGESTART": "10.88.0.9"}}]]}}}}"#,
        stage.version
    );
    let result = stage.call_text("ADD", &Call::new("p", &pod), "bridge", &config)?.success()?.json()?;
    ensure!(ips(&result) == ["10.88.0.9/24"], "{result}");
    ensure!(device(&stage.node, "br9")?["mtu"] == 1400, "{}", device(&stage.node, "br9")?);
    Ok(())
}

fn nulls(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let fields = r#""bridge": null, "mtu": null, "isGateway": null, "vlanTrunk": null, "dns": null, "args": null, "runtimeConfig": null, "prevResult": null"#;
    let config = text(stage, fields);
    let result = stage.call_text("ADD", &Call::new("p", &pod), "bridge", &config)?.success()?.json()?;
    ensure!(result["interfaces"][0]["name"] == "cni0", "{result}");
    Ok(())
}

fn twice(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = text(stage, r#""bridge": "br1", "bridge": "br2", "mtu": 1300, "MTU": 1400"#);
    stage.call_text("ADD", &Call::new("p", &pod), "bridge", &config)?.success()?;
    ensure!(devices(&stage.node)?.contains(&"br2".into()), "{:?}", devices(&stage.node)?);
    ensure!(device(&pod, "eth0")?["mtu"] == 1400, "mtu is {}", device(&pod, "eth0")?["mtu"]);
    Ok(())
}

fn unknown(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config =
        text(stage, r#""_comment": "x", "keepalive": {"deep": [1, 2]}, "bridge": "cni0", "linkInContainer": false"#);
    stage.call_text("ADD", &Call::new("p", &pod), "bridge", &config)?.success().map(|_| ())
}

fn numbers(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    for value in ["1450.0", "1e3", r#""1450""#, "true", "[]"] {
        let config = text(stage, &format!(r#""bridge": "cni0", "mtu": {value}"#));
        let finished = stage.call_text("ADD", &Call::new("p", &pod), "bridge", &config)?;
        super::super::stage::error_of(&finished).map_err(|error| error.context(value))?;
    }
    stage.no_leases()
}

fn capabilities(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let fields = json!({
        "bridge": "cni0", "capabilities": {"mac": true, "ips": true}, "runtimeConfig": {"mac": "c2:11:22:33:44:55"},
        "ipam": {"type": "host-local", "subnet": "10.88.0.0/24"}
    });
    let config = stage.net("bridge", fields);
    stage.add(&pod, &config)?;
    ensure!(device(&pod, "eth0")?["address"] == "c2:11:22:33:44:55", "{}", device(&pod, "eth0")?);
    Ok(())
}

fn empty_environment(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config = text(stage, r#""bridge": "cni0", "isGateway": true"#);
    for verb in ["ADD", "DEL"] {
        let job = crate::lab::Job::new(stage.suite.binary("bridge")).bare_env().stdin(config.clone());
        let job = job.env("CNI_COMMAND", verb).env("CNI_CONTAINERID", "p").env("CNI_NETNS", pod.netns());
        stage.node.output(&job.env("CNI_IFNAME", "eth0").env("CNI_PATH", &stage.suite.bin))?.success()?;
    }
    stage.no_leases()
}

fn several_directories(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    // A directory of that name is no plugin; a file of that name is, whoever made it.
    let first = stage.node.dir().join("path/first");
    std::fs::create_dir_all(first.join("host-local"))?;
    let script =
        "#!/bin/sh\ncat >/dev/null\necho '{\"cniVersion\": \"1.1.0\", \"ips\": [{\"address\": \"192.0.2.7/24\"}]}'\n";
    let second = stage.node.write("path/second/host-local", script)?;
    std::fs::set_permissions(&second, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let second = second.parent().map(|path| path.display().to_string()).unwrap_or_default();
    let path = format!("{}:{second}:{}", first.display(), stage.suite.bin.display());
    let config: serde_json::Value = serde_json::from_str(&text(stage, r#""bridge": "cni0""#))?;
    let job = stage.job("ADD", &Call::new("p", &pod), &config).env("CNI_PATH", path);
    let result = stage.node.output(&job)?.success()?.json()?;
    ensure!(ips(&result) == ["192.0.2.7/24"], "{result}");
    Ok(())
}

fn odd_indexes(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config: serde_json::Value = serde_json::from_str(&text(stage, r#""bridge": "cni0""#))?;
    let result = stage.add(&pod, &config)?;
    for index in [json!(-1), json!(99), json!(null)] {
        let mut odd = result.clone();
        odd["ips"][0]["interface"] = index;
        let job = stage.job("CHECK", &Call::new("p", &pod), &super::super::stage::with_result(&config, &odd));
        let finished = stage.node.output(&job)?;
        ensure!(finished.status.code().is_some_and(|code| code < 2), "{}: {}", finished.status, finished.stderr_text());
        stage.silently("DEL", &pod, &super::super::stage::with_result(&config, &odd))?;
    }
    Ok(())
}

fn other_path(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config: serde_json::Value = serde_json::from_str(&text(stage, r#""bridge": "cni0""#))?;
    let result = stage.add(&pod, &config)?;
    let sleeper = pod.start(&crate::lab::Job::new("cat"))?;
    let path = format!("/proc/{}/ns/net", sleeper.pid());
    let call = Call { netns: path.as_ref(), ..Call::new("p", &pod) };
    stage.silently_as("CHECK", &call, &super::super::stage::with_result(&config, &result))
}

fn strange_results(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let config: serde_json::Value = serde_json::from_str(&text(stage, r#""bridge": "cni0""#))?;
    let result = stage.add(&pod, &config)?;
    for version in ["9.9.9", "0.2.0"] {
        let mut strange = result.clone();
        strange["cniVersion"] = version.into();
        stage.refused("CHECK", &pod, &super::super::stage::with_result(&config, &strange))?;
    }
    let mut unsaid = result;
    if let Some(members) = unsaid.as_object_mut() {
        members.remove("cniVersion");
    }
    stage.silently("CHECK", &pod, &super::super::stage::with_result(&config, &unsaid))
}
