//! What a plugin of a chain reads from stdin. Pure.
//!
//! Its configuration as it is written, with the list's name and version in place of its own, and what the verb adds.
//! `capabilities` stays in, as in libcni, though the specification would have it removed.

use fairlead_protocol::gojson;
use serde_json::{Map, Number, Value};

use super::config::{NetworkList, PluginConfig};

/// For ADD, CHECK and DEL: with the result so far, and of the capabilities' arguments those that the plugin declares.
pub fn for_attachment(
    list: &NetworkList,
    plugin: &PluginConfig,
    prev_result: Option<Value>,
    capabilities: &Map<String, Value>,
) -> Vec<u8> {
    let mut object = named(list, plugin);
    if let Some(result) = prev_result {
        gojson::replace(&mut object, "prevResult", Some(result));
    }
    let declared = plugin.capabilities.iter().filter_map(|name| Some((name.clone(), capabilities.get(name)?.clone())));
    let runtime_config: Map<String, Value> = declared.collect();
    if !runtime_config.is_empty() {
        gojson::replace(&mut object, "runtimeConfig", Some(Value::Object(runtime_config)));
    }
    text(object)
}

/// For GC and STATUS. No list of valid attachments is sent: libcni's `cnitool` sends none either, and to a plugin that
/// means "remove nothing of your own accord".
pub fn for_network(list: &NetworkList, plugin: &PluginConfig) -> Vec<u8> {
    text(named(list, plugin))
}

fn named(list: &NetworkList, plugin: &PluginConfig) -> Map<String, Value> {
    let mut object = plugin.object.clone();
    gojson::replace(&mut object, "name", Some(list.name.as_str().into()));
    gojson::replace(&mut object, "cniVersion", Some(list.version.as_str().into()));
    object
}

fn text(object: Map<String, Value>) -> Vec<u8> {
    whole(Value::Object(object)).to_string().into_bytes()
}

/// `1450.0` and `1e3` as integers: libcni reads and writes every number as Go's float64, which prints these without
/// point or exponent. Plugins refuse them, so a configuration that has them works only through a runtime that does this.
fn whole(value: Value) -> Value {
    match value {
        Value::Number(number) => Value::Number(whole_number(number)),
        Value::Array(items) => Value::Array(items.into_iter().map(whole).collect()),
        Value::Object(object) => Value::Object(object.into_iter().map(|(key, item)| (key, whole(item))).collect()),
        other => other,
    }
}

fn whole_number(number: Number) -> Number {
    /// 2^53: every integer up to here is a float64 too.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match number.as_f64() {
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() <= EXACT => Number::from(float as i64),
        _ => number,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::config::parse_list;
    use super::*;

    fn list() -> NetworkList {
        parse_list(
            br#"{"name": "n", "cniVersion": "1.0.0", "plugins": [
                {"type": "t", "Name": "other", "CNIVersion": "0.1.0", "mtu": 1450.0, "rate": 0.5, "big": 1e3,
                 "capabilities": {"mac": true, "ips": true, "dns": false}, "_own": {"x": [2.0]}}]}"#,
        )
        .unwrap()
    }

    fn parsed(text: Vec<u8>) -> Value {
        serde_json::from_slice(&text).unwrap()
    }

    #[test]
    fn the_lists_name_and_version_replace_the_plugins() {
        let expected = json!({"type": "t", "mtu": 1450, "rate": 0.5, "big": 1000,
            "capabilities": {"mac": true, "ips": true, "dns": false}, "_own": {"x": [2]},
            "name": "n", "cniVersion": "1.0.0"});
        let list = list();
        assert_eq!(parsed(for_network(&list, &list.plugins[0])), expected);
        assert_eq!(parsed(for_attachment(&list, &list.plugins[0], None, &Map::new())), expected);
    }

    #[test]
    fn capabilities_reach_those_who_declare_them() {
        let list = list();
        let Value::Object(given) = json!({"mac": "02:00:00:00:00:01", "dns": {}, "portMappings": []}) else { panic!() };
        let result = json!({"cniVersion": "1.0.0"});
        let sent = parsed(for_attachment(&list, &list.plugins[0], Some(result.clone()), &given));
        assert_eq!(sent["runtimeConfig"], json!({"mac": "02:00:00:00:00:01"}));
        assert_eq!(sent["prevResult"], result);
    }
}
