use std::fs;

use super::list::{parse_list, parse_plugin};
use super::*;

fn version_of(text: &str) -> Result<String, String> {
    let text = format!(r#"{{"name": "n", "plugins": [{{"type": "t"}}], {text}}}"#);
    parse_list(text.as_bytes()).map(|list| list.version).map_err(|error| error.to_string())
}

#[test]
fn the_newest_known_version_is_spoken() {
    for (text, version) in [
        (r#""cniVersion": "0.4.0""#, "0.4.0"),
        (r#""cniVersion": "9.9.9""#, "9.9.9"),
        (r#""cniVersions": ["0.3.1", "1.0.0", "0.4.0"]"#, "1.0.0"),
        (r#""cniVersion": "1.1.0", "cniVersions": ["1.0.0"]"#, "1.1.0"),
        (r#""cniVersions": ["1.0.0", "2.0.0"]"#, "1.0.0"),
        (r#""cniVersion": "3.0.0", "cniVersions": ["2.0.0"]"#, "3.0.0"),
        (r#""cniVersions": []"#, ""),
    ] {
        assert_eq!(version_of(text).as_deref(), Ok(version), "{text}");
    }
    for (text, said) in [
        (r#""cniVersions": ["x"]"#, "cniVersions[0]: "),
        (r#""cniVersions": [1]"#, "cniVersions[0]: 1 is not a string"),
        (r#""cniVersions": "1.0.0""#, "cniVersions: \"1.0.0\" is not a list"),
        (r#""cniVersion": 1"#, "cniVersion: 1 is not a string"),
    ] {
        let error = version_of(text).unwrap_err();
        assert!(error.starts_with(&format!("error parsing configuration list: {said}")), "{error}");
    }
}

#[test]
fn switches_are_booleans_or_their_names() {
    let list = parse_list(
        br#"{"name": "n", "disableCheck": "TRUE", "disableGC": true, "loadOnlyInlinedPlugins": "false",
            "plugins": [{"TYPE": "t", "capabilities": {"b": true, "a": true, "no": false}}]}"#,
    )
    .unwrap();
    assert_eq!((list.disable_check, list.disable_gc, list.only_inlined), (true, true, false));
    assert_eq!(
        (list.plugins[0].kind.as_str(), &list.plugins[0].capabilities[..]),
        ("t", &["a".into(), "b".into()][..])
    );
    assert!(parse_list(br#"{"name": "n", "disableCheck": 1, "plugins": [{"type": "t"}]}"#).is_err());
}

#[test]
fn broken_lists_are_refused_with_the_place() {
    for (text, said) in [
        ("{\n  \"name\": \"n\",\n  x}", "key must be a string at line 3 column 3"),
        ("[]", "not a JSON object"),
        ("{}", "name: no name"),
        (r#"{"Name": "n"}"#, "name: no name"),
        (r#"{"name": 5}"#, "name: 5 is not a string"),
        (r#"{"name": "n", "plugins": []}"#, "plugins: no plugins in list"),
        (r#"{"name": "n", "plugins": null}"#, "plugins: null is not a list"),
        (r#"{"name": "n", "plugins": [{"type": "a"}, {}]}"#, "failed to parse plugin config 1: missing 'type'"),
        (r#"{"name": "n", "plugins": [{"type": 1}]}"#, "failed to parse plugin config 0: type: the number 1 is not"),
        (r#"{"name": "n", "loadOnlyInlinedPlugins": true}"#, "plugins: there are none"),
    ] {
        let error = parse_list(text.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("error parsing configuration list: {said}")), "{text}: {error}");
    }
    assert!(parse_plugin(br#"{"name": "n"}"#).unwrap_err().to_string().contains("missing 'type'"));
}

/// A directory with these files.
fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let file = directory.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    directory
}

fn kinds(directory: &tempfile::TempDir, name: &str) -> Result<Vec<String>, String> {
    let list = load(directory.path(), name).map_err(|error| error.to_string())?;
    Ok(list.plugins.into_iter().map(|plugin| plugin.kind).collect())
}

#[test]
fn lists_come_before_single_plugins_and_in_the_order_of_their_names() {
    let directory = directory(&[
        ("00.conf", r#"{"name": "n", "type": "single"}"#),
        ("20.conflist", r#"{"name": "n", "plugins": [{"type": "second"}]}"#),
        ("10.conflist", r#"{"name": "n", "plugins": [{"type": "first"}]}"#),
        ("05.json", r#"{"name": "j", "cniVersion": "0.3.1", "type": "json"}"#),
        ("01.yaml", "not read"),
    ]);
    assert_eq!(kinds(&directory, "n").unwrap(), ["first"]);
    assert_eq!(kinds(&directory, "j").unwrap(), ["json"]);
    assert_eq!(load(directory.path(), "j").unwrap().version, "0.3.1");
}

#[test]
fn a_single_plugin_is_kept_as_a_list() {
    let directory = directory(&[("a.conf", r#"{"name": "n", "cniVersion": "1.0.0", "type": "t", "x": [1]}"#)]);
    let kept = String::from_utf8(load(directory.path(), "n").unwrap().bytes).unwrap();
    let plugin = r#"{"name":"n","cniVersion":"1.0.0","type":"t","x":[1]}"#;
    assert_eq!(kept, format!(r#"{{"cniVersion":"1.0.0","name":"n","plugins":[{plugin}]}}"#));
}

#[test]
fn plugins_in_files_of_their_own_are_appended() {
    let own = [
        ("n/20.conf", r#"{"type": "late"}"#),
        ("n/10.conf", r#"{"type": "early"}"#),
        ("n/00.json", r#"{"type": "not read"}"#),
    ];
    let with = |list: &'static str| directory(&[own[0], own[1], own[2], ("n.conflist", list)]);
    let inlined = with(r#"{"name": "n", "plugins": [{"type": "first"}]}"#);
    assert_eq!(kinds(&inlined, "n").unwrap(), ["first", "early", "late"]);
    assert_eq!(kinds(&with(r#"{"name": "n"}"#), "n").unwrap(), ["early", "late"]);
    let only = with(r#"{"name": "n", "loadOnlyInlinedPlugins": true, "plugins": [{"type": "first"}]}"#);
    assert_eq!(kinds(&only, "n").unwrap(), ["first"]);
    let none = directory(&[("n.conflist", r#"{"name": "n"}"#)]);
    assert!(kinds(&none, "n").unwrap_err().contains("n.conflist: no plugin configs found"));
}

#[test]
fn an_unknown_name_is_answered_with_the_known_ones() {
    let directory = directory(&[
        ("10-a.conflist", r#"{"name": "blue", "plugins": [{"type": "t"}]}"#),
        ("20-b.conf", r#"{"name": "green", "type": "t"}"#),
    ]);
    let said = kinds(&directory, "red").unwrap_err();
    assert!(said.starts_with("no net configuration with name \"red\" in "), "{said}");
    assert!(said.ends_with("there: \"blue\" (10-a.conflist), \"green\" (20-b.conf)"), "{said}");
    assert!(load(Path::new("/nonexistent"), "n").unwrap_err().to_string().contains("it does not exist"));
    assert!(load(directory.path(), "../n").is_err());
}

#[test]
fn a_broken_file_before_the_wanted_one_is_named() {
    let directory = directory(&[
        ("10.conflist", "{\"name\": \"x\",\n \"plugins\": [}"),
        ("20.conflist", r#"{"name": "n", "plugins": [{"type": "t"}]}"#),
    ]);
    let said = kinds(&directory, "n").unwrap_err();
    assert!(
        said.contains("10.conflist: error parsing configuration list: ") && said.contains("line 2 column 14"),
        "{said}"
    );
}
