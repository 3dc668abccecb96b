use super::*;

/// The plugins that are installed where these tests lint.
const INSTALLED: &[&str] = &[
    "bridge",
    "ptp",
    "loopback",
    "flannel",
    "portmap",
    "firewall",
    "tuning",
    "bandwidth",
    "host-local",
    "static",
    "x",
];

/// Lints on a machine whose uplink has an MTU of 1400 and where every plugin of ours is installed.
pub fn lint_beside(text: &str, neighbours: &[(&str, &str)]) -> Vec<Finding> {
    let around = Around {
        uplink: Some(Uplink { name: "uplink0".to_owned(), mtu: 1400 }),
        missing: &|kind| (!INSTALLED.contains(&kind)).then(|| format!("no {kind}")),
        unreadable: &|_| None,
        neighbours: neighbours.iter().map(|(name, text)| ((*name).to_owned(), document::read(text).unwrap())).collect(),
    };
    super::lint(text.as_bytes(), true, &around)
}

pub fn lint(text: &str) -> Vec<Finding> {
    lint_beside(text, &[])
}

/// The rules of the findings of this severity.
pub fn rules(findings: &[Finding], severity: &str) -> Vec<&'static str> {
    findings.iter().filter(|finding| finding.severity.name() == severity).map(|finding| finding.rule).collect()
}

fn list(plugin: &str) -> String {
    format!("{{\n\"cniVersion\": \"1.1.0\",\n\"name\": \"n\",\n\"plugins\": [\n{plugin}\n]}}")
}

#[test]
fn keys_are_explained_at_their_places() {
    let rows = [
        (r#"{"type": "loopback", "Capabilities": {}}"#, "note", "key-case", "write \"capabilities\""),
        (
            r#"{"type": "bridge", "mtu": 1400, "isGatway": true}"#,
            "warning",
            "unknown-key",
            "did you mean \"isGateway\"?",
        ),
        (r#"{"type": "bridge", "mtu": 1400, "mtu": 1300}"#, "warning", "repeated-key", "remove one of them"),
        (
            r#"{"type": "bridge", "mtu": 1400, "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.0.0.0/24", "gatway": ""}]]}}"#,
            "warning",
            "unknown-key",
            "did you mean \"gateway\"?",
        ),
        (
            r#"{"type": "flannel", "delegate": {"hairpinmod": true}}"#,
            "warning",
            "unknown-key",
            "did you mean \"hairpinMode\"?",
        ),
    ];
    for (plugin, severity, rule, remedy) in rows {
        let found = lint(&list(plugin));
        assert_eq!(rules(&found, severity), [rule], "{plugin}: {found:#?}");
        let finding = found.iter().find(|finding| finding.rule == rule).unwrap();
        assert_eq!((finding.at.unwrap().line, finding.remedy.as_str()), (5, remedy), "{plugin}");
    }
    let comment = r#"{"type": "loopback", "_comment": "x", "cni.dev/attachments": []}"#;
    assert!(lint(&list(comment)).is_empty());
    let somebody_elses = r#"{"type": "x", "whatever": 1}"#;
    assert!(lint(&list(somebody_elses)).is_empty());
}

#[test]
fn the_lists_own_keys_are_matched_exactly() {
    let found = lint(
        r#"{"cniVersion": "1.1.0", "Name": "n", "name": "n", "disablecheck": true, "plugins": [{"type": "loopback"}]}"#,
    );
    assert_eq!(rules(&found, "warning"), ["key-case", "key-case"]);
}

#[test]
fn what_is_no_list_is_told_in_one_finding() {
    for (text, rule) in [
        ("", "json"),
        ("[1]", "json"),
        ("{\n\"a\": 1,,\n}", "json"),
        (r#"{"cniVersion": "1.0.0", "name": "n", "plugins": []}"#, "plugins"),
        (r#"{"cniVersion": "1.0.0", "name": "n", "plugins": [1]}"#, "plugins"),
        (r#"{"cniVersion": "1.0.0", "name": "n", "type": "bridge"}"#, "plugins"),
    ] {
        let found = lint(text);
        assert_eq!(rules(&found, "error"), [rule], "{text}");
    }
    assert_eq!(lint("{\n\"a\": 1,,\n}")[0].at, Some(Place { line: 2, column: 8 }));
    let around = Around { uplink: None, missing: &|_| None, unreadable: &|_| None, neighbours: Vec::new() };
    let in_conf =
        super::lint(br#"{"cniVersion": "1.0.0", "name": "n", "plugins": [{"type": "bridge"}]}"#, false, &around);
    assert_eq!(rules(&in_conf, "error"), ["plugins"]);
}

#[test]
fn what_a_plugin_refuses_is_an_error_in_its_own_words() {
    let found = lint(&list(r#"{"type": "bridge", "mtu": "1400"}"#));
    assert_eq!(rules(&found, "error"), ["refused"]);
    assert!(found[0].message.contains("mtu"), "{found:#?}");
    let found = lint(&list(r#"{"type": "bridge", "mtu": 1400, "ipam": {"type": "host-local"}}"#));
    assert!(found.iter().any(|f| f.message.contains("no IP ranges specified")), "{found:#?}");
}
