//! The configuration as it holds, in kube-proxy's form: for `--write-config-to` and `/configz`.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use serde_json::{Map, Value as Json, json};

use super::document::{API_VERSION, Document, KIND};
use super::fields::FIELDS;
use super::mode::Mode;
use super::value::Value;

/// Every field with the value that holds. Where kube-proxy has one value behind a field of several sections, it stands in the
/// section of the mode and the others have zero, as kube-proxy writes it
/// (Convert_config_KubeProxyConfiguration_To_v1alpha1_KubeProxyConfiguration, pkg/proxy/apis/config/v1alpha1/conversion.go).
pub fn effective(document: &Document, node_name: Option<&str>, bind: super::Bind) -> Json {
    let mode = document.written_mode().unwrap_or(Mode::Nftables);
    let written = super::validate::section(document.written_mode());
    let address = |address: Option<SocketAddr>| address.map(|address| address.to_string()).unwrap_or_default();
    let mut top = Map::from_iter([("apiVersion".to_owned(), json!(API_VERSION)), ("kind".to_owned(), json!(KIND))]);
    for field in FIELDS {
        let value = document.get(field.path);
        let json = match field.path.split_once('.').unwrap_or(("", field.path)) {
            (section @ ("iptables" | "ipvs" | "nftables"), name @ ("syncPeriod" | "minSyncPeriod")) => {
                let holds = section == mode.name();
                let value = document.get(&format!("{written}.{name}"));
                if holds { value.to_json() } else { json!("0s") }
            }
            (section @ ("iptables" | "nftables"), "masqueradeAll") => {
                let holds = (section == "nftables") == (mode == Mode::Nftables);
                json!(holds && document.switch(super::masquerade_all(document)))
            }
            ("", "mode") => json!(mode.name()),
            ("", "detectLocalMode") if document.text("detectLocalMode").is_empty() => json!("ClusterCIDR"),
            ("", "healthzBindAddress") => json!(address(bind.0)),
            ("", "metricsBindAddress") => json!(address(bind.1)),
            ("", "hostnameOverride") => match node_name {
                Some(name) => json!(name.trim().to_lowercase()),
                None => value.to_json(),
            },
            ("", "nodePortAddresses") if mode == Mode::Nftables && value.is_zero() => json!(["primary"]),
            _ if is_left_out(field.path, value) => continue,
            _ => value.to_json(),
        };
        put(&mut top, field.path, json);
    }
    let mut sorted = Json::Object(top);
    sorted.sort_all_objects();
    sorted
}

/// `omitempty` in Go.
fn is_left_out(path: &str, value: &Value) -> bool {
    let may_be = matches!(path, "featureGates" | "logging.vmodule" | "windowsRunAsService")
        || path.starts_with("logging.options.") && path.ends_with(".splitStream");
    may_be && value.is_zero()
}

fn put(object: &mut Map<String, Json>, path: &str, json: Json) {
    match path.split_once('.') {
        None => {
            object.insert(path.to_owned(), json);
        }
        Some((first, rest)) => {
            let below = object.entry(first).or_insert_with(|| Json::Object(Map::new()));
            if let Json::Object(below) = below {
                put(below, rest, json);
            }
        }
    }
}

/// As a file.
pub fn yaml(effective: &Json) -> Result<String> {
    serde_saphyr::to_string(effective).context("write the configuration as YAML")
}
