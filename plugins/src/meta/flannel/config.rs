//! The keys of `flannel`, and what they may not say.

use std::path::PathBuf;

use fairlead_protocol::{CniError, Request, gojson};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::state;

const SUBNET_FILE: &str = "/run/flannel/subnet.env";
const DATA_DIR: &str = "/var/lib/cni/flannel";

/// A network of this plugin, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The agent's file.
    pub subnet_file: PathBuf,
    /// Directory of what was delegated.
    pub data_dir: PathBuf,
    /// What the delegate is told, before the rest is filled in.
    pub delegate: Map<String, Value>,
    /// What the delegate's IPAM plugin is told, before the rest is filled in.
    pub ipam: Map<String, Value>,
    /// Handed to the delegate.
    pub runtime_config: Option<Map<String, Value>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    subnet_file: String,
    data_dir: String,
    delegate: Map<String, Value>,
    ipam: Map<String, Value>,
    runtime_config: Option<Map<String, Value>>,
}

impl Config {
    /// Reads and checks. Errors: code 6 for what cannot be decoded, 7 for what makes no sense, in the reference's words.
    pub fn load(request: &Request) -> Result<Config, CniError> {
        let Keys { subnet_file, data_dir, delegate, ipam, runtime_config } = request.config()?;
        if delegate.get("type").is_some_and(|kind| !kind.is_string()) {
            return Err(CniError::config("'delegate' dictionary, if present, must have (string) 'type' field"));
        }
        for key in ["name", "ipam"] {
            if delegate.contains_key(key) {
                let text = format!("'delegate' dictionary must not have '{key}' field, it'll be set by flannel");
                return Err(CniError::config(text));
            }
        }
        for (place, section) in [("delegate", &delegate), ("ipam", &ipam)] {
            if section.get("type").is_some_and(|kind| kind == "flannel") {
                return Err(CniError::config(format!(
                    "{place}.type cannot be flannel: it would hand on to itself for ever"
                )));
            }
        }
        let subnet_file = if subnet_file.is_empty() { SUBNET_FILE.to_owned() } else { subnet_file };
        let data_dir = state::directory("dataDir", &data_dir, DATA_DIR)?;
        Ok(Config { subnet_file: subnet_file.into(), data_dir, delegate, ipam, runtime_config })
    }

    /// Where the delegated configurations are, for DEL and GC: those work with whatever has become of the rest.
    pub fn lenient_data_dir(request: &Request) -> Option<PathBuf> {
        let said = gojson::lookup(&request.config, "dataDir").and_then(Value::as_str);
        state::directory("dataDir", said.unwrap_or_default(), DATA_DIR).ok()
    }
}
