//! `cnitool lint`: it says nothing bad of what the runtimes bring along, and what it calls an error is one.

use std::path::Path;

use anyhow::{Context, Result};
use fairlead_conformance::cni::Suite;
use fairlead_conformance::lab::{Finished, Lab, Node};
use serde_json::{Value, json};

/// The lists that these bring along, with the fields of their defaults.
const STOCK: [(&str, &str); 8] = [
    ("containerd", include_str!("stock/containerd.conflist")),
    ("crio", include_str!("stock/crio.conflist")),
    ("podman", include_str!("stock/podman.conflist")),
    ("nerdctl", include_str!("stock/nerdctl.conflist")),
    ("kind", include_str!("stock/kind.conflist")),
    ("k3s", include_str!("stock/k3s.conflist")),
    ("flannel", include_str!("stock/flannel.conflist")),
    ("loopback", include_str!("stock/loopback.conflist")),
];

struct Scene {
    lab: Lab,
    node: Node,
    suite: Suite,
}

impl Scene {
    fn new(name: &str) -> Result<Self> {
        let lab = Lab::new(&format!("lint-{name}"))?;
        let node = lab.node("a")?;
        Ok(Self { lab, node, suite: Suite::ours()? })
    }

    /// Lints one list, alone in its directory.
    fn lint(&self, name: &str, text: &str, arguments: &[&str]) -> Result<Finished> {
        let file = self.node.write(&format!("{name}/10-{name}.conflist"), text)?;
        self.lint_path(&file, arguments)
    }

    fn lint_path(&self, path: &Path, arguments: &[&str]) -> Result<Finished> {
        self.node.output(&self.suite.cnitool_job(&self.node).arg("lint").args(arguments).arg(path))
    }

    fn findings(&self, name: &str, text: &str) -> Result<Vec<Value>> {
        let told = self.lint(name, text, &["-o", "json"])?.json()?;
        Ok(told["findings"].as_array().context("findings")?.clone())
    }
}

fn rules<'a>(findings: &'a [Value], severity: &str) -> Vec<&'a str> {
    findings.iter().filter(|one| one["severity"] == severity).filter_map(|one| one["rule"].as_str()).collect()
}

#[test]
fn what_the_runtimes_bring_along_has_no_error() -> Result<()> {
    let scene = Scene::new("stock")?;
    for (name, text) in STOCK {
        let finished = scene.lint(name, text, &[])?;
        let told = finished.stdout_text();
        assert!(finished.status.success() && told.contains("0 errors, 0 warnings"), "{name}: {told}");
    }
    // As they are, they attach: those that need nobody's daemon.
    for (name, text) in STOCK.iter().filter(|(name, _)| !["k3s", "flannel"].contains(name)) {
        // Each on a node of its own: some call different bridges by one name.
        let node = scene.lab.node(name)?;
        let pod = scene.lab.pod(&node, &format!("in-{name}"))?;
        node.write(&format!("net.d/{name}.conflist"), text)?;
        let network = serde_json::from_str::<Value>(text)?["name"].as_str().context("a name")?.to_owned();
        scene.suite.add(&node, &network, &pod).with_context(|| format!("{name} attaches"))?;
        scene.suite.del(&node, &network, &pod)?;
    }
    Ok(())
}

fn list(plugins: Value) -> String {
    json!({"cniVersion": "1.0.0", "name": "net", "plugins": plugins}).to_string()
}

#[test]
fn what_is_called_an_error_fails() -> Result<()> {
    let scene = Scene::new("errors")?;
    let ipam = json!({"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}]]});
    let of = |range: Value| json!({"type": "host-local", "ranges": [[range]]});
    let rows = [
        (
            "order",
            list(json!([{"type": "portmap", "capabilities": {"portMappings": true}, "runtimeConfig":
            {"portMappings": [{"hostPort": 80, "containerPort": 80, "protocol": "tcp"}]}}, {"type": "loopback"}])),
        ),
        ("order", list(json!([{"type": "bridge", "ipam": ipam}, {"type": "ptp", "ipam": ipam}]))),
        ("hairpin", list(json!([{"type": "bridge", "hairpinMode": true, "promiscMode": true, "ipam": ipam}]))),
        ("bridge-name", list(json!([{"type": "bridge", "bridge": "a-name-too-long0", "ipam": ipam}]))),
        ("host-bits", list(json!([{"type": "bridge", "ipam": of(json!({"subnet": "10.88.0.7/24"}))}]))),
        (
            "range",
            list(json!([{"type": "bridge", "ipam": of(json!({"subnet": "10.88.0.0/24", "rangeEnd": "10.89.0.1"}))}])),
        ),
        ("missing-plugin", list(json!([{"type": "frobnicate"}]))),
        ("refused", list(json!([{"type": "bridge", "mtu": "1400", "ipam": ipam}]))),
        ("ipam", list(json!([{"type": "ptp"}]))),
        ("version", list(json!([{"type": "loopback"}])).replace("1.0.0", "7.0.0")),
        ("plugins", list(json!([]))),
        ("json", "{".to_owned()),
    ];
    for (number, (rule, text)) in rows.iter().enumerate() {
        let name = format!("case{number}");
        let finished = scene.lint(&name, text, &["-o", "json"])?;
        let told = finished.json()?;
        let findings = told["findings"].as_array().context("findings")?;
        assert!(rules(findings, "error").contains(rule), "{text}: {findings:#?}");
        assert_eq!((finished.status.code(), &told["ok"]), (Some(1), &json!(false)));
        assert!(findings.iter().all(|one| one["message"] != "" && one["file"] != ""), "{findings:#?}");

        let pod = scene.lab.pod(&scene.node, &name)?;
        let directory = scene.node.dir().join(&name);
        let job = scene.suite.cnitool_job(&scene.node).env("NETCONFPATH", &directory);
        let added = scene.node.output(&job.args(["add", "net"]).arg(pod.netns()))?;
        assert!(!added.status.success(), "lint says {rule}, and ADD succeeds: {text}");
    }
    Ok(())
}

#[test]
fn the_default_route_trap_snaps_with_the_reference_only() -> Result<()> {
    let scene = Scene::new("trap")?;
    let ipam =
        json!({"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]});
    let text = list(json!([{"type": "bridge", "isDefaultGateway": true, "ipam": ipam}]));
    let findings = scene.findings("trap", &text)?;
    assert_eq!(rules(&findings, "warning"), ["default-route"], "{findings:#?}");
    assert_eq!(findings[0]["field"], "plugins[0].ipam.routes[0]");
    scene.node.write("net.d/10-net.conflist", &text)?;
    let pod = scene.lab.pod(&scene.node, "p")?;
    let reference = Suite::reference()?;
    let refused = reference.cnitool(&scene.node, "add", "net", &pod)?;
    assert!(!refused.status.success() && refused.stderr_text().contains("file exists"), "{}", refused.stderr_text());
    reference.del(&scene.node, "net", &pod)?;
    scene.suite.add(&scene.node, "net", &pod)?;
    scene.suite.del(&scene.node, "net", &pod)
}

#[test]
fn the_mtu_is_held_against_the_uplink_and_addresses_against_the_neighbours() -> Result<()> {
    let scene = Scene::new("around")?;
    let bridge = |mtu: Value, name: &str| {
        let ipam = json!({"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}]]});
        json!({"cniVersion": "1.0.0", "name": name, "plugins":
            [{"type": "bridge", "isGateway": true, "mtu": mtu, "ipam": ipam}]})
        .to_string()
    };
    assert!(
        scene.findings("alone", &bridge(json!(9000), "net"))?.is_empty(),
        "no default route, nothing to compare with"
    );
    let other = scene.lab.node("b")?;
    scene.lab.wire(&scene.node, "192.0.2.1/24", &other, "192.0.2.2/24")?;
    scene.node.sh("ip link set eth0 mtu 1400")?;
    scene.node.sh("ip route add default via 192.0.2.2")?;
    for (mtu, expected) in [(json!(9000), 1), (json!(0), 1), (json!(1400), 0)] {
        let findings = scene.findings("mtu", &bridge(mtu.clone(), "net"))?;
        assert_eq!(rules(&findings, "warning").len(), expected, "mtu {mtu}: {findings:#?}");
    }
    scene.node.write("beside/20-other.conflist", bridge(json!(1400), "other"))?;
    let findings = scene.findings("beside", &bridge(json!(1400), "net"))?;
    assert_eq!(rules(&findings, "warning"), ["overlap"], "{findings:#?}");
    // A directory stands for its files.
    let told = scene.lint_path(&scene.node.dir().join("beside"), &["-o", "json"])?.json()?;
    assert_eq!(told["findings"].as_array().map(Vec::len), Some(2), "{told:#}");
    Ok(())
}

#[test]
fn keys_are_told_with_file_line_and_remedy() -> Result<()> {
    let scene = Scene::new("keys")?;
    let text = "{\n \"cniVersion\": \"1.0.0\",\n \"name\": \"net\",\n \"plugins\": [\n  {\n   \"type\": \"bridge\",\n   \"IsGateway\": true,\n   \"mtuu\": 1,\n   \"mtu\": 1400,\n   \"mtu\": 1500\n  }\n ]\n}\n";
    let told = scene.lint("keys", text, &[])?.stdout_text();
    for line in [
        ":7:4: note: plugins[0].IsGateway: ",
        ":8:4: warning: plugins[0].mtuu: ",
        "    did you mean \"mtu\"?",
        ":9:4: warning: plugins[0].mtu: ",
    ] {
        assert!(told.contains(line), "{line:?} is not in\n{told}");
    }
    Ok(())
}
