//! The text of a network configuration → a chain of plugins. Pure.

use std::collections::BTreeMap;

use fairlead_protocol::{CniError, Code, Version, gojson, version_numbers};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// A network: plugins that are called one after the other.
#[derive(Debug)]
pub struct NetworkList {
    pub name: String,
    /// The version plugins are spoken to in: as it is written, possibly empty or one that nobody knows.
    pub version: String,
    /// CHECK does nothing.
    pub disable_check: bool,
    /// GC does nothing.
    pub disable_gc: bool,
    /// `loadOnlyInlinedPlugins`: plugins in files of their own are not for this network.
    pub only_inlined: bool,
    pub plugins: Vec<PluginConfig>,
    /// The configuration as it is kept in the cache.
    pub bytes: Vec<u8>,
}

/// One plugin of a chain.
#[derive(Clone, Debug)]
pub struct PluginConfig {
    /// Name of the file to look for in `CNI_PATH`.
    pub kind: String,
    /// The network's name in a configuration of one plugin; usually empty in a chain.
    pub name: String,
    /// What it wants to be told by the runtime.
    pub capabilities: Vec<String>,
    /// Everything that is written, the above included.
    pub object: Map<String, Value>,
}

impl NetworkList {
    /// True when the version of the configuration is at least this one. Errors: it is no version.
    pub fn is_at_least(&self, version: Version) -> Result<bool, CniError> {
        let numbers = |text: &str| {
            version_numbers(text).map_err(|reason| CniError::config(format!("network {:?}: {reason}", self.name)))
        };
        Ok(numbers(&self.version)? >= numbers(version.as_str())?)
    }
}

/// Reads a `.conflist`. Keys of the list are matched exactly, as libcni does, those of plugins in any case.
pub fn parse_list(text: &[u8]) -> Result<NetworkList, CniError> {
    let refuse = |reason: String| CniError::new(Code::Decode, format!("error parsing configuration list: {reason}"));
    let Value::Object(object) = gojson::parse(text).map_err(refuse)? else {
        return Err(refuse("not a JSON object".into()));
    };
    let string = |key: &str| match object.get(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(refuse(format!("{key}: {other} is not a string"))),
    };
    let boolean = |key: &str| match object.get(key) {
        None => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(other) => Err(refuse(format!("{key}: {other} is neither true nor false"))),
    };
    let name = string("name")?.ok_or_else(|| refuse("name: no name".into()))?;
    let version = best_version(string("cniVersion")?.unwrap_or_default(), object.get("cniVersions")).map_err(refuse)?;
    let only_inlined = boolean("loadOnlyInlinedPlugins")?;
    let plugins = match object.get("plugins") {
        None if only_inlined => {
            return Err(refuse("plugins: there are none, and loadOnlyInlinedPlugins allows no others".into()));
        }
        None => Vec::new(),
        Some(Value::Array(items)) if items.is_empty() => return Err(refuse("plugins: no plugins in list".into())),
        Some(Value::Array(items)) => items
            .iter()
            .enumerate()
            .map(|(index, item)| {
                plugin(item).map_err(|reason| refuse(format!("failed to parse plugin config {index}: {reason}")))
            })
            .collect::<Result<_, _>>()?,
        Some(other) => return Err(refuse(format!("plugins: {other} is not a list"))),
    };
    Ok(NetworkList {
        name,
        version,
        disable_check: boolean("disableCheck")?,
        disable_gc: boolean("disableGC")?,
        only_inlined,
        plugins,
        bytes: text.to_vec(),
    })
}

/// Reads what the cache keeps: a list, or the one plugin that a runtime called without a list.
pub fn parse_kept(text: &[u8]) -> Result<NetworkList, CniError> {
    match gojson::parse(text) {
        Ok(Value::Object(object)) if !object.contains_key("plugins") => parse_plugin(text).map(of_one),
        _ => parse_list(text),
    }
}

/// Reads a `.conf`: one plugin.
pub fn parse_plugin(text: &[u8]) -> Result<PluginConfig, CniError> {
    gojson::parse(text)
        .and_then(|value| plugin(&value))
        .map_err(|reason| CniError::new(Code::Decode, format!("error parsing configuration: {reason}")))
}

/// A chain of one, from a configuration that has a file and no list around it.
pub fn of_one(plugin: PluginConfig) -> NetworkList {
    let version = gojson::lookup(&Value::Object(plugin.object.clone()), "cniVersion")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let bytes = json!({"cniVersion": version, "name": plugin.name, "plugins": [plugin.object]}).to_string().into();
    NetworkList {
        name: plugin.name.clone(),
        version,
        disable_check: false,
        disable_gc: false,
        only_inlined: true,
        plugins: vec![plugin],
        bytes,
    }
}

fn plugin(value: &Value) -> Result<PluginConfig, String> {
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Head {
        cni_version: String,
        name: String,
        r#type: String,
        capabilities: BTreeMap<String, bool>,
    }
    let Value::Object(object) = value else { return Err("not a JSON object".into()) };
    let Head { cni_version: _, name, r#type: kind, capabilities } =
        gojson::decode(value).map_err(|error| error.to_string())?;
    if kind.is_empty() {
        return Err("missing 'type'".into());
    }
    let capabilities = capabilities.into_iter().filter_map(|(name, wanted)| wanted.then_some(name)).collect();
    Ok(PluginConfig { kind, name, capabilities, object: object.clone() })
}

/// The newest of `cniVersions` and `cniVersion` that is known here; without any, `cniVersion` as it is.
fn best_version(version: String, versions: Option<&Value>) -> Result<String, String> {
    let Some(versions) = versions else { return Ok(version) };
    let Value::Array(items) = versions else { return Err(format!("cniVersions: {versions} is not a list")) };
    let newest = version_numbers(Version::NEWEST.as_str())?;
    let mut known = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let text = item.as_str().ok_or_else(|| format!("cniVersions[{index}]: {item} is not a string"))?;
        known.push((version_numbers(text).map_err(|reason| format!("cniVersions[{index}]: {reason}"))?, text));
    }
    if !version.is_empty() {
        known.push((version_numbers(&version).map_err(|reason| format!("cniVersion: {reason}"))?, version.as_str()));
    }
    let best = known.into_iter().filter(|(numbers, _)| *numbers <= newest).max_by_key(|(numbers, _)| *numbers);
    Ok(best.map(|(_, text)| text.to_owned()).unwrap_or(version))
}
