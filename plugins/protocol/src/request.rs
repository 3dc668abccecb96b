//! One call of a plugin, checked.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::environment::Environment;
use crate::{Attachment, CniError, CniResult, Code, Command, Plugin, Version, attachments, gojson, wire};

/// Everything a plugin is told. The environment has been checked for the verb, name and version are valid.
#[derive(Clone)]
pub struct Request {
    /// The verb.
    pub command: Command,
    /// `CNI_CONTAINERID`; empty for GC and STATUS.
    pub container_id: String,
    /// `CNI_NETNS`, a path; may be empty or stale on DEL, empty for GC and STATUS.
    pub netns: String,
    /// `CNI_IFNAME`, a name the kernel takes; empty for GC and STATUS.
    pub ifname: String,
    /// `CNI_ARGS` as it is; see [`crate::args`].
    pub args: String,
    /// `CNI_PATH`: directories of plugins, separated by colons.
    pub path: String,
    /// Name of the network.
    pub name: String,
    /// Version of the configuration, and of the result.
    pub version: Version,
    /// The configuration, keys as they were written; read it with [`Request::config`].
    pub config: Value,
    /// The configuration byte for byte, for delegates.
    pub stdin: Vec<u8>,
    /// Plugins that live in this binary; a delegate among them may be called without a process.
    pub plugins: &'static [&'static dyn Plugin],
}

impl Request {
    /// Decodes the configuration as Go would (see [`gojson`]). Errors: code 6, with the key.
    pub fn config<T: DeserializeOwned>(&self) -> Result<T, CniError> {
        gojson::decode(&self.config)
            .map_err(|error| CniError::new(Code::Decode, format!("failed to load netconf: {error}")))
    }

    /// The result of the plugins before this one, or on CHECK and DEL of the whole list. Decoded when it is asked for,
    /// so that a DEL that does not need it cannot fail over it. Errors: code 6.
    pub fn prev_result(&self) -> Result<Option<CniResult>, CniError> {
        let Some(value) = gojson::lookup(&self.config, "prevResult") else { return Ok(None) };
        wire::decode_prev_result(value, self.version)
            .map(Some)
            .map_err(|reason| CniError::new(Code::Decode, format!("could not parse prevResult: {reason}")))
    }

    /// One capability argument of `runtimeConfig`, decoded. `None`: not given. Errors: code 6.
    pub fn runtime_config<T: DeserializeOwned>(&self, capability: &str) -> Result<Option<T>, CniError> {
        let value = gojson::lookup(&self.config, "runtimeConfig").and_then(|all| gojson::lookup(all, capability));
        value.map(gojson::decode).transpose().map_err(|error| {
            CniError::new(Code::Decode, format!("failed to load netconf: runtimeConfig.{capability}: {error}"))
        })
    }

    /// The attachments a GC must leave alone. `None`: the runtime sent no list, and nothing may be removed. Errors: code 6.
    pub fn valid_attachments(&self) -> Result<Option<Vec<Attachment>>, CniError> {
        attachments::valid_attachments(&self.config)
            .map_err(|error| CniError::new(Code::Decode, format!("failed to load netconf: valid-attachments: {error}")))
    }

    /// The type of the IPAM plugin; empty when the configuration names none. Errors: code 6.
    pub fn ipam_type(&self) -> Result<String, CniError> {
        #[derive(Default, serde::Deserialize)]
        #[serde(default)]
        struct Config {
            ipam: Ipam,
        }
        #[derive(Default, serde::Deserialize)]
        #[serde(default)]
        struct Ipam {
            r#type: String,
        }
        Ok(self.config::<Config>()?.ipam.r#type)
    }

    pub(crate) fn new(
        command: Command,
        environment: Environment,
        (name, version): (String, Version),
        (config, stdin): (Value, Vec<u8>),
        plugins: &'static [&'static dyn Plugin],
    ) -> Request {
        let Environment { command: _, container_id, netns, ifname, args, path, netns_override: _ } = environment;
        Request { command, container_id, netns, ifname, args, path, name, version, config, stdin, plugins }
    }
}
