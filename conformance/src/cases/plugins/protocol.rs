//! Rules of the protocol, the same for every plugin: environment, standard input, versions, errors.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::super::case::{CHECKS, LATEST, case, of};
use super::super::look::devices;
use super::super::stage::{Stage, error_of, says};
use crate::cases::Case;
use crate::cni::Call;
use crate::lab::Job;
use crate::limit::patience;

const ENV: &str = "SPEC 1.1.0, Parameters";
const ERROR: &str = "SPEC 1.1.0, Error";

/// Variables that a verb cannot do without, as the reference asks for them.
const REQUIRED: [(&str, &[&str]); 5] = [
    ("ADD", &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"]),
    ("CHECK", &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"]),
    ("DEL", &["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"]),
    ("GC", &["CNI_PATH"]),
    ("STATUS", &["CNI_PATH"]),
];

pub(super) fn cases(plugin: &'static str) -> Vec<Case> {
    let mut cases = of(
        plugin,
        vec![
            case(
                "T1.version",
                "VERSION",
                LATEST,
                ("SPEC 1.1.0, VERSION", "answers without waiting for standard input"),
                version,
            ),
            case(
                "T1.supported",
                "VERSION",
                LATEST,
                ("SPEC 1.1.0, VERSION", "lists every version it is made for"),
                supported,
            ),
            case("T2.add", "ADD", LATEST, (ENV, "names the variable that is missing"), |stage| required(stage, "ADD")),
            case("T2.check", "CHECK", LATEST, (ENV, "names the variable that is missing"), |stage| {
                required(stage, "CHECK")
            }),
            case("T2.del", "DEL", LATEST, (ENV, "names the variable that is missing"), |stage| required(stage, "DEL")),
            case("T2.gc", "GC", LATEST, (ENV, "needs CNI_PATH only"), |stage| required(stage, "GC")),
            case("T2.status", "STATUS", LATEST, (ENV, "needs CNI_PATH only"), |stage| required(stage, "STATUS")),
            case("T3", "ADD", LATEST, (ENV, "names all variables that are missing, in their order"), all_missing),
            case("T4.id", "ADD", LATEST, (ENV, "refuses a container id with strange characters"), container_ids),
            case("T4.ifname", "ADD", LATEST, (ENV, "refuses what cannot be a name of an interface"), ifnames),
            case(
                "T4.network",
                "ADD",
                LATEST,
                ("SPEC 1.1.0, Network configuration", "refuses a network without a name, or with a strange one"),
                networks,
            ),
            case("T6.check", "CHECK", &["0.3.1"], ("SPEC 1.1.0, CHECK", "is refused below 0.4.0"), |stage| {
                too_old(stage, "CHECK")
            }),
            case("T6.gc", "GC", &["1.0.0"], ("SPEC 1.1.0, GC", "is refused below 1.1.0"), |stage| too_old(stage, "GC")),
            case("T6.status", "STATUS", &["1.0.0"], ("SPEC 1.1.0, STATUS", "is refused below 1.1.0"), |stage| {
                too_old(stage, "STATUS")
            }),
            case("T6.unknown", "ADD", LATEST, (ERROR, "code 1 for a version that it does not know"), unknown_version),
            case("T7.unknown", "ADD", LATEST, (ERROR, "code 4 for a verb that there is not"), unknown_verb),
            case(
                "T7.about",
                "VERSION",
                LATEST,
                ("upstream skel tests", "called by hand it says on stderr what it is"),
                about,
            ),
            case("T8", "ADD", LATEST, (ERROR, "code 5 when standard input cannot be read"), unreadable),
            case("T9", "ADD", LATEST, (ERROR, "code 6 for what is no JSON"), no_json),
            case(
                "F4.nowhere",
                "DEL",
                CHECKS,
                ("SPEC 1.1.0, DEL", "succeeds without a namespace, again and again"),
                nowhere,
            ),
            case(
                "F24",
                "ADD",
                LATEST,
                ("plugins must not die of what they read", "an error for every nonsense on standard input"),
                nonsense,
            ),
        ],
    );
    // Only what begins a list of plugins can be asked alone.
    if ["bridge", "ptp", "host-local", "static", "loopback"].contains(&plugin) {
        let rule = "refuses its own namespace with one document, and leaves nothing";
        cases.extend(of(plugin, vec![case("F4.own", "ADD", LATEST, ("upstream skel tests", rule), own_namespace)]));
    }
    cases
}

/// A configuration that the plugin itself can read.
fn minimal(stage: &Stage) -> Value {
    let pool = json!({"type": "host-local", "subnet": "10.88.0.0/24"});
    match stage.plugin {
        "bridge" => stage.net("bridge", json!({"bridge": "cni0", "isGateway": true, "ipam": pool})),
        "ptp" => stage.net("ptp", json!({"ipam": pool})),
        "host-local" => stage.net("host-local", json!({"ipam": pool})),
        "static" => {
            stage.net("static", json!({"ipam": {"type": "static", "addresses": [{"address": "10.88.0.5/24"}]}}))
        }
        other => stage.net(other, json!({})),
    }
}

/// The plugin with exactly these variables.
fn bare(stage: &Stage, variables: &[(&str, &str)], input: &str) -> Job {
    let job = Job::new(stage.suite.binary(stage.plugin)).bare_env().stdin(input);
    variables.iter().fold(job, |job, (name, value)| job.env(name, value))
}

/// All variables of a verb except one.
fn without(stage: &Stage, verb: &str, missing: &[&str]) -> Vec<(String, String)> {
    let path = stage.suite.bin.to_string_lossy().into_owned();
    let all = [
        ("CNI_COMMAND", verb),
        ("CNI_CONTAINERID", "some-container"),
        ("CNI_NETNS", "/run/netns/none"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_PATH", path.as_str()),
    ];
    let kept = all.iter().filter(|(name, _)| !missing.contains(name));
    kept.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn refused_without(stage: &Stage, verb: &str, missing: &[&str]) -> Result<(i64, String)> {
    let variables = without(stage, verb, missing);
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    error_of(&stage.node.output(&bare(stage, &variables, &minimal(stage).to_string()))?)
}

fn version(stage: &mut Stage) -> Result<()> {
    // Standard input stays open: who reads it waits for ever.
    let job = Job::new(stage.suite.binary(stage.plugin)).bare_env().env("CNI_COMMAND", "VERSION");
    let mut running = stage.node.start(&job)?;
    let status = running.wait(patience(10)).context("VERSION reads standard input")?;
    ensure!(status.success(), "it ended with {status}");
    let text = running.stdout_text()?;
    ensure!(text.trim_end().lines().count() == 1, "more than one line: {text}");
    let answer: Value = serde_json::from_str(&text)?;
    ensure!(answer["cniVersion"] == "1.1.0", "{answer}");
    Ok(())
}

fn supported(stage: &mut Stage) -> Result<()> {
    let answer = stage.node.output(&bare(stage, &[("CNI_COMMAND", "VERSION")], ""))?.success()?.json()?;
    let listed: Vec<&str> =
        answer["supportedVersions"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let first = match stage.plugin {
        "bandwidth" => "0.3.0",
        "firewall" => "0.4.0",
        _ => "0.1.0",
    };
    let wanted: Vec<&str> = crate::differential::VERSIONS.into_iter().filter(|version| *version >= first).collect();
    ensure!(listed == wanted, "{listed:?} instead of {wanted:?}");
    Ok(())
}

fn required(stage: &mut Stage, verb: &'static str) -> Result<()> {
    let (_, names) = REQUIRED.iter().find(|(known, _)| *known == verb).context("a row for the verb")?;
    for name in *names {
        let (code, said) = refused_without(stage, verb, &[name])?;
        ensure!(code == 4, "without {name}: code {code}: {said}");
        says(&said, &["required env variables", name])?;
    }
    Ok(())
}

fn all_missing(stage: &mut Stage) -> Result<()> {
    let (code, said) = refused_without(stage, "ADD", &["CNI_CONTAINERID", "CNI_NETNS", "CNI_PATH"])?;
    ensure!(code == 4, "code {code}: {said}");
    says(&said, &["[CNI_CONTAINERID,CNI_NETNS,CNI_PATH]"])
}

fn container_ids(stage: &mut Stage) -> Result<()> {
    let (pod, config) = (stage.pod("p")?, minimal(stage));
    for id in ["a/b", "../../etc", "-begins", ".begins", "with blank", "id\n", "ä"] {
        let (code, said) = error_of(&stage.call("ADD", &Call::new(id, &pod), &config)?)?;
        ensure!(code == 4, "{id:?}: code {code}: {said}");
        says(&said, &["invalid characters in containerID"])?;
    }
    Ok(())
}

fn ifnames(stage: &mut Stage) -> Result<()> {
    let (pod, config) = (stage.pod("p")?, minimal(stage));
    for ifname in ["sixteen-letters-", ".", "..", "a/b", "a:b", "a b", "a\tb"] {
        let finished = stage.call("ADD", &Call { ifname, ..Call::new("p", &pod) }, &config)?;
        let (code, said) = error_of(&finished).with_context(|| format!("{ifname:?}"))?;
        ensure!(code == 4, "{ifname:?}: code {code}: {said}");
    }
    Ok(())
}

fn networks(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    for (name, words) in [
        (Value::Null, "missing network name"),
        ("".into(), "missing network name"),
        ("a/b".into(), "invalid characters found in network name"),
        ("../x".into(), "invalid characters found in network name"),
    ] {
        let mut config = minimal(stage);
        config["name"] = name;
        let (code, said) = stage.refused("ADD", &pod, &config)?;
        ensure!(code == 7, "code {code}: {said}");
        says(&said, &[words])?;
    }
    Ok(())
}

fn too_old(stage: &mut Stage, verb: &'static str) -> Result<()> {
    let (pod, config) = (stage.pod("p")?, minimal(stage));
    let (code, said) = stage.refused(verb, &pod, &config)?;
    ensure!(code == 1, "code {code}: {said}");
    says(&said, &["config version does not allow", verb])
}

fn unknown_version(stage: &mut Stage) -> Result<()> {
    let (pod, mut config) = (stage.pod("p")?, minimal(stage));
    config["cniVersion"] = "9.9.9".into();
    let (code, said) = stage.refused("ADD", &pod, &config)?;
    ensure!(code == 1, "code {code}: {said}");
    says(&said, &["incompatible CNI versions", "9.9.9"])?;
    config["cniVersion"] = "no number".into();
    stage.refused("GC", &pod, &config).map(|_| ())
}

fn unknown_verb(stage: &mut Stage) -> Result<()> {
    let (pod, config) = (stage.pod("p")?, minimal(stage));
    let (code, said) = stage.refused("FROBNICATE", &pod, &config)?;
    ensure!(code == 4, "code {code}: {said}");
    says(&said, &["unknown CNI_COMMAND: FROBNICATE"])
}

fn about(stage: &mut Stage) -> Result<()> {
    let finished = stage.node.output(&bare(stage, &[], ""))?.success()?;
    ensure!(finished.stdout.is_empty(), "it printed {:?}", finished.stdout_text());
    says(&finished.stderr_text(), &[stage.plugin, "CNI protocol versions supported", "1.1.0"])
}

fn unreadable(stage: &mut Stage) -> Result<()> {
    let variables = without(stage, "ADD", &[]);
    let program = stage.suite.binary(stage.plugin);
    let job = Job::new("/bin/sh").bare_env().args(["-c", r#"exec "$0" </"#]).arg(program);
    let job = variables.iter().fold(job, |job, (name, value)| job.env(name, value));
    let (code, said) = error_of(&stage.node.output(&job)?)?;
    ensure!(code == 5, "code {code}: {said}");
    says(&said, &["error reading from stdin"])
}

fn no_json(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    for text in ["", "{", "[]", "no json", r#"{"name": 5}"#] {
        let finished = stage.call_text("ADD", &Call::new("p", &pod), stage.plugin, text)?;
        let (code, said) = error_of(&finished).with_context(|| format!("{text:?}"))?;
        ensure!(code == 6, "{text:?}: code {code}: {said}");
    }
    Ok(())
}

fn own_namespace(stage: &mut Stage) -> Result<()> {
    let config = minimal(stage);
    let before = devices(&stage.node)?;
    let netns = stage.node.netns().to_owned();
    let call = Call { container: "p", netns: &netns, ifname: "own0", args: "" };
    let finished = stage.call("ADD", &call, &config)?;
    let (code, said) = error_of(&finished)?;
    ensure!(code == 8, "code {code}: {said}");
    ensure!(devices(&stage.node)? == before, "devices are left: {:?}", devices(&stage.node)?);
    stage.no_leases()
}

fn nowhere(stage: &mut Stage) -> Result<()> {
    let (pod, config) = (stage.pod("p")?, minimal(stage));
    // firewall's reference asks for iptables, which is in PATH; nothing else is needed.
    for netns in ["", "/run/netns/never-was"] {
        let call = Call { netns: netns.as_ref(), ..Call::new("p", &pod) };
        for _ in 0..2 {
            stage.silently_as("DEL", &call, &config).with_context(|| format!("CNI_NETNS={netns:?}"))?;
        }
    }
    Ok(())
}

fn nonsense(stage: &mut Stage) -> Result<()> {
    let pod = stage.pod("p")?;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let texts = [
        "null".to_owned(),
        "\u{0}\u{1}".to_owned(),
        r#"{"cniVersion": 1.1, "name": "net", "type": "x"}"#.to_owned(),
        r#"{"cniVersion": "1.1.0", "name": "net", "ipam": [], "prevResult": 7, "runtimeConfig": "x"}"#.to_owned(),
        r#"{"cniVersion": "1.1.0", "name": "net", "ipam": {"type": "host-local", "ranges": [[[[]]]]}, "sysctl": 1, "mtu": 1e99}"#.to_owned(),
        format!(r#"{{"cniVersion": "1.1.0", "name": "net", "x": {deep}}}"#),
    ];
    for text in texts {
        let finished = stage.call_text("ADD", &Call::new("p", &pod), stage.plugin, &text)?;
        // A field that means nothing to this plugin is nobody's business: then the ADD may succeed or fail for its own
        // reasons, but it says so in JSON and is not killed by a signal.
        let shown: String = text.chars().take(60).collect();
        ensure!(
            finished.status.code().is_some_and(|code| code < 2),
            "{shown}: {} {}",
            finished.status,
            finished.stderr_text()
        );
        finished.json().with_context(|| format!("{shown}: no JSON"))?;
    }
    Ok(())
}
