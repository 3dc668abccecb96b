//! A JSON value as facts: one per leaf.

use serde_json::Value;

/// Calls `add` for every leaf with its path. Lists of plain values are one leaf.
pub(super) fn flatten(path: &str, value: &Value, add: &mut impl FnMut(String, String)) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, member) in members {
                flatten(&format!("{path} {name}"), member, add);
            }
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            for (index, item) in items.iter().enumerate() {
                flatten(&format!("{path} {index}"), item, add);
            }
        }
        leaf => add(path.to_owned(), plain(leaf)),
    }
}

/// A leaf without JSON's quotes.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}
