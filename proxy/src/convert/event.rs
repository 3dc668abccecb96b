//! An event of ours as the API server takes it (`events.k8s.io/v1`).

use std::time::SystemTime;

use serde_json::json;

use crate::events::{Event, Regarding};
use crate::surface::clock::rfc3339_micros;

/// The API server's limit of a note, in bytes (`pkg/apis/core/validation/events.go`).
pub const NOTE_LIMIT: usize = 1024;
/// Its limit of the reporting instance.
const INSTANCE_LIMIT: usize = 128;

/// Path and body of the request that makes the event. `number` tells events of the same moment apart.
pub fn request(event: &Event, node: &str, now: SystemTime, number: u64) -> (String, Vec<u8>) {
    let (kind, namespace, name) = match &event.regarding {
        Regarding::Node => ("Node", None, node),
        Regarding::Service(service) => ("Service", Some(&*service.namespace), &*service.name),
    };
    let mut regarding = json!({"apiVersion": "v1", "kind": kind, "name": name});
    if let Some(namespace) = namespace {
        regarding["namespace"] = json!(namespace);
    }
    // Events about what is in no namespace are kept in this one (client-go, tools/events).
    let namespace = namespace.unwrap_or("default");
    let nanos = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
    let body = json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"namespace": namespace, "name": format!("{name}.{:x}", nanos.wrapping_add(number))},
        "eventTime": rfc3339_micros(now),
        "type": if event.warning { "Warning" } else { "Normal" },
        "reason": event.reason,
        "action": event.action,
        "note": shortened(&event.note, NOTE_LIMIT),
        "regarding": regarding,
        "reportingController": "fairlead-proxy",
        "reportingInstance": shortened(&format!("fairlead-proxy-{node}"), INSTANCE_LIMIT),
    });
    (format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events"), body.to_string().into_bytes())
}

/// The beginning of `text`, of whole characters, at most `limit` bytes long.
fn shortened(text: &str, limit: usize) -> &str {
    let end = (0..=limit.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}
