use serde_json::json;

use super::*;

#[derive(Debug, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Config {
    is_gateway: bool,
    mtu: i64,
    name: String,
    routes: Vec<Inner>,
    inner: Option<Inner>,
    limit: u16,
}

impl Default for Config {
    fn default() -> Self {
        Config { is_gateway: false, mtu: 7, name: String::new(), routes: Vec::new(), inner: None, limit: 0 }
    }
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Inner {
    dst: String,
}

fn of(value: Value) -> Result<Config, String> {
    decode(&value).map_err(|error| error.to_string())
}

#[test]
fn keys_match_in_any_case_and_unknown_keys_are_ignored() {
    let config = of(json!({"ISGATEWAY": true, "Mtu": 3, "_comment": [1], "inner": {"DST": "x"}})).unwrap();
    assert!(config.is_gateway);
    assert_eq!((config.mtu, config.inner), (3, Some(Inner { dst: "x".into() })));
    assert!(of(json!({"i\u{17f}gateway": true})).unwrap().is_gateway);
}

#[test]
fn the_last_of_several_spellings_wins() {
    assert_eq!(of(json!({"mtu": 1, "MTU": 2})).unwrap().mtu, 2);
    assert_eq!(of(json!({"MTU": 1, "mtu": 2})).unwrap().mtu, 2);
    assert_eq!(of(parse(br#"{"mtu": 1, "mtu": 2}"#).unwrap()).unwrap().mtu, 2);
}

#[test]
fn null_leaves_the_default() {
    let config = of(json!({"isGateway": null, "mtu": null, "name": null, "routes": null, "inner": null})).unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(of(json!({"routes": [null, {"dst": null}]})).unwrap().routes, vec![Inner::default(), Inner::default()]);
    assert_eq!(of(json!(null)).unwrap(), Config::default());
}

#[test]
fn a_null_after_a_value_leaves_the_value() {
    assert_eq!(of(json!({"mtu": 3, "MTU": null})).unwrap().mtu, 3);
}

#[test]
fn numbers_with_point_or_exponent_and_texts_are_not_integers() {
    for text in [r#"{"mtu": 1450.0}"#, r#"{"mtu": 1e3}"#, r#"{"mtu": "1450"}"#, r#"{"mtu": true}"#] {
        let error = of(parse(text.as_bytes()).unwrap()).unwrap_err();
        assert!(error.starts_with("mtu: "), "{error}");
    }
    assert_eq!(of(json!({"limit": 65536})).unwrap_err(), "limit: 65536 is out of range (0 to 65535)");
    assert_eq!(of(json!({"limit": -1})).unwrap_err(), "limit: -1 is out of range (0 to 65535)");
}

#[test]
fn an_error_says_where() {
    let error = of(json!({"routes": [{"dst": "a"}, {"Dst": 5}]})).unwrap_err();
    assert_eq!(error, "routes[1].dst: the number 5 is not a string");
    assert_eq!(of(json!([])).unwrap_err(), "a list is not an object");
}

#[test]
fn broken_documents_are_refused_with_a_place() {
    assert_eq!(parse(b" \n").unwrap_err(), "unexpected end of JSON input");
    assert!(parse(b"{\"a\": }").unwrap_err().contains("line 1 column 7"));
    assert!(parse(b"{} x").is_err());
    assert_eq!(parse(b"{\"a\": \"\xff\"}").unwrap(), json!({"a": "\u{fffd}"}));
}

#[test]
fn replacing_a_key_removes_its_other_spellings() {
    let mut value = json!({"CNIVersion": "1.0.0", "x": 1});
    replace(value.as_object_mut().unwrap(), "cniVersion", Some(json!("0.4.0")));
    assert_eq!(value, json!({"x": 1, "cniVersion": "0.4.0"}));
    assert_eq!(lookup(&value, "CNIversion"), Some(&json!("0.4.0")));
}
