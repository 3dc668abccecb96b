//! The list as a whole: name, version, and which plugin stands where. Pure.

use fairlead_protocol::{Version, is_valid_name, version_numbers};

use super::Around;
use super::document::{Node, What};
use super::finding::{Report, Spot};
use super::keys::below;
use super::tables::{CAPABILITIES, CHAINED, MAIN};

/// Name and version.
pub fn head(list: &Node, report: &mut Report) {
    match list.get_exact("name") {
        None => report.error(
            "name",
            Spot::new("name", list.at),
            "the network has no name, and no runtime loads it",
            "add \"name\"",
        ),
        Some(name) if name.text().is_none_or(|text| !is_valid_name(text)) => report.error(
            "name",
            Spot::new("name", name.at),
            "not a name for a network: plugins refuse it (\"invalid characters found in network name\")",
            "letters, digits, dot, dash and underscore, the first a letter or digit",
        ),
        Some(_) => {}
    }
    for flag in ["disableCheck", "disableGC", "loadOnlyInlinedPlugins"] {
        let Some(value) = list.get_exact(flag) else { continue };
        match &value.what {
            What::Bool(_) => {}
            What::Text(text) if ["true", "false"].iter().any(|word| text.eq_ignore_ascii_case(word)) => report.note(
                "string-boolean",
                Spot::new(flag, value.at),
                "a boolean as text: libcni reads it, other runtimes need not",
                format!("write {} without quotation marks", text.to_ascii_lowercase()),
            ),
            _ => report.error(
                "string-boolean",
                Spot::new(flag, value.at),
                "neither true nor false: libcni does not load the list",
                "write true or false",
            ),
        }
    }
    version(list, report);
}

fn version(list: &Node, report: &mut Report) {
    let Some(written) = list.get_exact("cniVersion") else {
        if list.get_exact("cniVersions").is_none() {
            let message =
                "no version means 0.1.0: results without interfaces, no CHECK, no GC, no STATUS, no prevResult on DEL";
            report.warning(
                "version",
                Spot::new("cniVersion", list.at),
                message,
                "add \"cniVersion\": \"1.0.0\" or \"1.1.0\"",
            );
        }
        return;
    };
    let spot = || Spot::new("cniVersion", written.at);
    let known = || Version::ALL.iter().map(|version| version.as_str()).collect::<Vec<_>>().join(", ");
    let Some(text) = written.text() else {
        report.error("version", spot(), "not a text: libcni does not load the list", "put it in quotation marks");
        return;
    };
    match Version::from_text(text) {
        // `cniVersions` may save it: libcni takes the newest that it knows.
        None if list.get_exact("cniVersions").is_some() => {}
        None => {
            let message = "not a version of the specification: plugins refuse it (\"incompatible CNI versions\")";
            report.error("version", spot(), message, format!("one of {}", known()));
        }
        Some(version) if version < Version::V0_4_0 => {
            let message = format!("with {text} there is no CHECK, no GC, no STATUS, and DEL is not told what ADD did");
            report.note("version", spot(), message, "1.0.0 if every plugin and the runtime know it");
        }
        Some(_) => {}
    }
    for (index, item) in list.get_exact("cniVersions").map(Node::items).unwrap_or_default().iter().enumerate() {
        if item.text().is_none_or(|text| version_numbers(text).is_err()) {
            let spot = Spot::new(format!("cniVersions[{index}]"), item.at);
            report.error(
                "version",
                spot,
                "not a version: libcni does not load the list",
                format!("one of {}", known()),
            );
        }
    }
}

/// Every plugin has a type that can be found, and stands where it works.
pub fn order(plugins: &[(String, &Node)], around: &Around<'_>, report: &mut Report) {
    let mut maker: Option<&str> = None;
    for (index, (field, plugin)) in plugins.iter().enumerate() {
        let kind = plugin.text_of("type");
        let spot = || Spot::new(below(field, "type"), plugin.get("type").map_or(plugin.at, |node| node.at));
        if kind.is_empty() {
            report.error("type", spot(), "no type, so nobody knows which plugin it is for", "add \"type\"");
            continue;
        }
        find(kind, &spot(), around, report);
        if CHAINED.contains(&kind) && index == 0 {
            let message = "this plugin works on the result of one before it, and there is none: ADD fails";
            report.error(
                "order",
                spot(),
                message,
                format!("put the plugin that makes the interface first: {}", MAIN.join(", ")),
            );
        }
        if MAIN.contains(&kind) {
            match maker {
                Some(first) if kind != "ipvlan" => report.error(
                    "order",
                    spot(),
                    format!("{first} has made the interface already, and {kind} makes one of the same name: ADD fails"),
                    "one of them per list; a second interface is a second network",
                ),
                _ => maker = Some(kind),
            }
        }
        if CHAINED.contains(&kind)
            && plugins[..index].iter().any(|(_, earlier)| earlier.text_of("type") == kind && kind != "tuning")
        {
            report.error(
                "order",
                spot(),
                format!("{kind} is in the list already; what it makes is named after the attachment and there can be only one"),
                "remove one of the two",
            );
        }
        if kind == "tuning"
            && plugin.get("mtu").is_some()
            && plugins[..index].iter().any(|(_, earlier)| earlier.text_of("type") == "bandwidth")
        {
            let message = "the MTU changes after bandwidth has made its device with the one before";
            report.warning("order", spot(), message, "put tuning before bandwidth");
        }
        capabilities(kind, field, plugin, report);
    }
}

fn find(kind: &str, spot: &Spot, around: &Around<'_>, report: &mut Report) {
    if kind.contains('/') {
        let message = format!("a type is a file's name, not a path (\"invalid plugin name: {kind}\")");
        report.error("type", spot.clone(), message, "the last part alone; CNI_PATH says where");
    } else if let Some(reason) = (around.missing)(kind) {
        report.error("missing-plugin", spot.clone(), reason, "install it, or correct the type");
    }
}

fn capabilities(kind: &str, field: &str, plugin: &Node, report: &mut Report) {
    let declared = plugin.get("capabilities");
    let place = |at| Spot::new(below(field, "capabilities"), at);
    let declares = |name: &str| declared.is_some_and(|all| all.get_exact(name).is_some_and(Node::is_true));
    let said = |key: &str| plugin.get("runtimeConfig").is_some_and(|config| config.get(key).is_some());
    if kind == "portmap" && !declares("portMappings") && !said("portMappings") {
        let message = "portmap does not declare portMappings, so the runtime tells it none: published ports are not forwarded, and nobody says so";
        report.warning("capability", place(plugin.at), message, "add \"capabilities\": {\"portMappings\": true}");
    }
    let rates =
        ["ingressRate", "ingressBurst", "egressRate", "egressBurst"].iter().any(|key| plugin.get(key).is_some());
    if kind == "bandwidth" && !declares("bandwidth") && !rates && !said("bandwidth") {
        let message = "no rates, and bandwidth is not declared, so the runtime gives none either: nothing is limited";
        report.warning("capability", place(plugin.at), message, "add \"capabilities\": {\"bandwidth\": true}");
    }
    if let Some(config) = plugin.get("runtimeConfig") {
        let message = "written by the runtime; what is in the file is replaced as soon as it gives anything";
        report.warning(
            "runtime-config",
            Spot::new(below(field, "runtimeConfig"), config.at),
            message,
            "use the plugin's own keys",
        );
    }
    let Some(declared) = declared else { return };
    for member in declared.members() {
        let spot = Spot::new(format!("{}.{}", below(field, "capabilities"), member.key), member.at);
        if !matches!(member.value.what, What::Bool(_)) {
            report.error(
                "capability",
                spot,
                "a capability is declared by true or false: libcni does not load the list",
                "write true",
            );
            continue;
        }
        let near = CAPABILITIES.iter().find(|(name, _)| name.eq_ignore_ascii_case(&member.key));
        match near {
            Some((name, _)) if *name != member.key => {
                report.warning(
                    "capability",
                    spot,
                    "names of capabilities are matched exactly",
                    format!("write {name:?}"),
                );
            }
            Some((name, readers)) if !readers.contains(&kind) && (MAIN.contains(&kind) || CHAINED.contains(&kind)) => {
                let message = format!("{kind} does not read {name}: it is passed on and ignored");
                report.warning("capability", spot, message, format!("declare it for {}", readers.join(", ")));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{lint, rules};

    #[test]
    fn who_stands_where() {
        let rows = [
            (r#"[{"type": "portmap"}]"#, "order"),
            (r#"[{"type": "bridge"}, {"type": "ptp", "ipam": {"type": "x"}}]"#, "order"),
            (r#"[{"type": "bridge"}, {"type": "firewall"}, {"type": "firewall"}]"#, "order"),
            (r#"[{"type": "../bridge"}]"#, "type"),
            (r#"[{"type": "bridge"}, {"type": "not-there"}]"#, "missing-plugin"),
            (r#"[{"name": "x"}]"#, "type"),
        ];
        for (plugins, rule) in rows {
            let text = format!(r#"{{"cniVersion": "1.0.0", "name": "n", "plugins": {plugins}}}"#);
            assert!(rules(&lint(&text), "error").contains(&rule), "{text}: {:#?}", lint(&text));
        }
    }

    #[test]
    fn a_list_without_a_name_or_with_a_wrong_version_is_an_error() {
        let rows = [
            (r#"{"cniVersion": "1.0.0", "plugins": [{"type": "loopback"}]}"#, "name"),
            (r#"{"cniVersion": "1.0.0", "name": "a b", "plugins": [{"type": "loopback"}]}"#, "name"),
            (r#"{"cniVersion": "9.0.0", "name": "n", "plugins": [{"type": "loopback"}]}"#, "version"),
            (r#"{"cniVersion": 1.0, "name": "n", "plugins": [{"type": "loopback"}]}"#, "version"),
            (
                r#"{"cniVersion": "1.0.0", "name": "n", "disableGC": 1, "plugins": [{"type": "loopback"}]}"#,
                "string-boolean",
            ),
        ];
        for (text, rule) in rows {
            assert_eq!(rules(&lint(text), "error"), [rule], "{text}");
        }
        let newest_known =
            r#"{"cniVersion": "9.0.0", "cniVersions": ["1.0.0"], "name": "n", "plugins": [{"type": "loopback"}]}"#;
        assert!(rules(&lint(newest_known), "error").is_empty());
    }

    #[test]
    fn a_capability_nobody_declares_is_told() {
        let list = |plugin: &str| {
            format!(r#"{{"cniVersion": "1.0.0", "name": "n", "plugins": [{{"type": "loopback"}}, {plugin}]}}"#)
        };
        for plugin in [
            r#"{"type": "portmap"}"#,
            r#"{"type": "portmap", "capabilities": {"portmappings": true}}"#,
            r#"{"type": "bandwidth"}"#,
            r#"{"type": "tuning", "capabilities": {"portMappings": true}}"#,
        ] {
            assert!(rules(&lint(&list(plugin)), "warning").contains(&"capability"), "{plugin}");
        }
        assert!(
            rules(&lint(&list(r#"{"type": "portmap", "capabilities": {"portMappings": true}}"#)), "warning").is_empty()
        );
    }
}
