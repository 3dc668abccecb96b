//! The list of attachments that a GC must leave alone.

use serde::Deserialize;
use serde_json::Value;

use crate::gojson::{self, DecodeError};

/// One interface of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(default)]
pub struct Attachment {
    /// As in `CNI_CONTAINERID`.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// As in `CNI_IFNAME`.
    pub ifname: String,
}

/// The key since libcni 1.2.3, and the one of the tagged specification. libcni sends both.
const KEYS: [&str; 2] = ["cni.dev/valid-attachments", "cni.dev/attachments"];

/// The valid attachments of a configuration. `None` when it says nothing about them: then *nothing* may be removed,
/// because `cnitool gc` sends no list and means no harm.
pub(crate) fn valid_attachments(config: &Value) -> Result<Option<Vec<Attachment>>, DecodeError> {
    KEYS.iter().find_map(|key| gojson::lookup(config, key)).map(gojson::decode).transpose()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_keys_are_read_and_the_newer_wins() {
        let a = |id: &str| json!([{"containerID": id, "ifname": "eth0"}]);
        let of = |value: Value| valid_attachments(&value).unwrap().map(|list| list[0].container_id.clone());
        assert_eq!(of(json!({"cni.dev/attachments": a("old")})), Some("old".into()));
        assert_eq!(
            of(json!({"cni.dev/attachments": a("old"), "cni.dev/valid-attachments": a("new")})),
            Some("new".into())
        );
    }

    #[test]
    fn no_list_is_not_an_empty_list() {
        assert_eq!(valid_attachments(&json!({})), Ok(None));
        assert_eq!(valid_attachments(&json!({"cni.dev/valid-attachments": null})), Ok(None));
        assert_eq!(valid_attachments(&json!({"cni.dev/valid-attachments": []})), Ok(Some(Vec::new())));
        assert!(valid_attachments(&json!({"cni.dev/valid-attachments": "x"})).is_err());
    }
}
