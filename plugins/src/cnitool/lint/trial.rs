//! What an ADD would refuse before it touches anything: each plugin of ours reads its configuration itself.

use fairlead_protocol::{Version, gojson};
use serde_json::{Map, Value, json};

use super::document::{Member, Node, What};
use super::finding::{Report, Spot};
use crate::trial;

/// Lets the plugin, and its IPAM plugin, read. What the checks with places have found already is not said again.
pub fn check(list: &Node, field: &str, plugin: &Node, is_chained: bool, report: &mut Report) {
    let version = newest(list);
    let name = list.get_exact("name").and_then(Node::text).unwrap_or_default();
    let kinds = [plugin.text_of("type"), plugin.get("ipam").map(|ipam| ipam.text_of("type")).unwrap_or_default()];
    for (kind, place) in kinds.into_iter().zip([field.to_owned(), super::keys::below(field, "ipam")]) {
        let Some(ours) = crate::PLUGINS.iter().find(|ours| ours.name() == kind) else { continue };
        if report.has_error_in(&place) || report.has_error_in("cniVersion") || report.has_error_in("name") {
            continue;
        }
        let config = stdin(plugin, name, version, is_chained);
        let asked = trial::request(ours.versions(), &variable, config.to_string().as_bytes());
        let read = asked.and_then(|request| request.and_then(|r| trial::read_config(kind, &r)).unwrap_or(Ok(())));
        if let Err(error) = read {
            let remedy = format!("{kind} itself says so, and ADD will");
            report.error("refused", Spot::new(place, plugin.at), error.to_string(), remedy);
        }
    }
}

/// What a runtime sets for an ordinary container.
fn variable(name: &str) -> Option<String> {
    let value = match name {
        "CNI_COMMAND" => "ADD",
        "CNI_CONTAINERID" => "lint",
        "CNI_NETNS" | "CNI_PATH" => "/nowhere",
        "CNI_IFNAME" => "eth0",
        _ => return None,
    };
    Some(value.to_owned())
}

/// The version the plugins will be spoken to in.
fn newest(list: &Node) -> &str {
    let known = |node: &Node| node.text().and_then(Version::from_text);
    let all = list.get_exact("cniVersions").map(Node::items).unwrap_or_default().iter();
    let best = all.chain(list.get_exact("cniVersion")).filter_map(known).max();
    best.map_or("", Version::as_str)
}

fn stdin(plugin: &Node, name: &str, version: &str, is_chained: bool) -> Value {
    let Value::Object(mut object) = value(plugin) else { return Value::Null };
    gojson::replace(&mut object, "name", Some(name.into()));
    gojson::replace(&mut object, "cniVersion", Some(version.into()));
    if is_chained {
        let result = json!({
            "cniVersion": version,
            "interfaces": [{"name": "cni0"}, {"name": "veth0"}, {"name": "eth0", "sandbox": "/nowhere"}],
            "ips": [{"version": "4", "address": "10.1.0.2/16", "gateway": "10.1.0.1", "interface": 2}],
        });
        gojson::replace(&mut object, "prevResult", Some(result));
    }
    Value::Object(object)
}

fn value(node: &Node) -> Value {
    match &node.what {
        What::Null => Value::Null,
        What::Bool(bool) => (*bool).into(),
        What::Number(digits) => serde_json::from_str(digits).unwrap_or_default(),
        What::Text(text) => text.as_str().into(),
        What::List(items) => items.iter().map(value).collect(),
        What::Object(members) => {
            let pair = |member: &Member| (member.key.clone(), value(&member.value));
            Value::Object(members.iter().map(pair).collect::<Map<_, _>>())
        }
    }
}
