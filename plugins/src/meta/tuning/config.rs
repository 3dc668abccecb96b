//! The keys of `tuning`, and what they may not say.

use std::path::PathBuf;

use fairlead_kernel::Mac;
use fairlead_protocol::args::Args;
use fairlead_protocol::{CniError, Code, Request, gojson};
use serde::Deserialize;
use serde_json::Value;

use super::sysctls;
use crate::state;

/// Where the reference keeps its back-ups.
const DATA_DIR: &str = "/run/cni/tuning";

/// What to change, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Directory of the back-ups.
    pub data_dir: PathBuf,
    /// Keys as they were written and values, in the order they were written; those of `args.cni` last.
    pub sysctls: Vec<(String, String)>,
    /// Changes of the interface.
    pub link: Wanted,
}

/// What the interface is to become. `None`: as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Hardware address.
    pub mac: Option<Mac>,
    /// Switch promiscuous mode on; `false` leaves it as it is.
    pub promiscuous: bool,
    /// Bytes.
    pub mtu: Option<u32>,
    /// All-multicast mode.
    pub all_multicast: Option<bool>,
    /// Length of the transmit queue, in packets.
    pub tx_queue: Option<u32>,
}

impl Wanted {
    /// Nothing of the interface changes.
    pub fn is_empty(&self) -> bool {
        *self == Wanted::default()
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    data_dir: String,
    mac: String,
    promisc: bool,
    mtu: i64,
    tx_q_len: Option<i64>,
    allmulti: Option<bool>,
    runtime_config: Runtime,
    args: Conventions,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Runtime {
    mac: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Conventions {
    cni: Overrides,
}

/// What a runtime may say instead of the configuration: what is given wins, also when it is empty.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Overrides {
    mac: Option<String>,
    promisc: Option<bool>,
    mtu: Option<i64>,
    tx_q_len: Option<i64>,
    allmulti: Option<bool>,
    sysctl: Option<serde_json::Map<String, Value>>,
}

impl Config {
    /// Reads and checks. Errors: code 4 for `CNI_ARGS`, 6 for what cannot be decoded, 7 for what makes no sense.
    pub fn load(request: &Request) -> Result<Config, CniError> {
        let mut sysctls = sysctls::written(&request.stdin)?;
        let Keys { data_dir, mac, promisc, mtu, tx_q_len, allmulti, runtime_config, args } = request.config()?;
        let Conventions { cni: over } = args;
        for (key, value) in over.sysctl.unwrap_or_default() {
            let value = gojson::decode(&value).map_err(|error| {
                CniError::new(Code::Decode, format!("failed to load netconf: args.cni.sysctl.{key}: {error}"))
            })?;
            match sysctls.iter_mut().find(|(known, _)| *known == key) {
                Some(known) => known.1 = value,
                None => sysctls.push((key, value)),
            }
        }
        let arguments = Args::parse(&request.args, &["MAC"])
            .map_err(|reason| CniError::new(Code::InvalidEnvironment, format!("CNI_ARGS: {reason}")))?;
        let said = [&mac, arguments.get("MAC").unwrap_or_default(), &runtime_config.mac];
        let last = said.into_iter().rev().find(|text| !text.is_empty()).unwrap_or_default();
        let mtu = over.mtu.unwrap_or(mtu);
        let link = Wanted {
            mac: parse_mac(over.mac.as_deref().unwrap_or(last))?,
            promiscuous: over.promisc.unwrap_or(promisc),
            mtu: (mtu != 0).then(|| number("mtu", mtu, "bytes")).transpose()?,
            all_multicast: over.allmulti.or(allmulti),
            tx_queue: over.tx_q_len.or(tx_q_len).map(|length| number("txQLen", length, "packets")).transpose()?,
        };
        Ok(Config { data_dir: state::directory("dataDir", &data_dir, DATA_DIR)?, sysctls, link })
    }

    /// Where the back-ups are, for DEL and GC: those work with whatever has become of the rest of the configuration.
    pub fn lenient_data_dir(request: &Request) -> Option<PathBuf> {
        let said = gojson::lookup(&request.config, "dataDir").and_then(Value::as_str);
        state::directory("dataDir", said.unwrap_or_default(), DATA_DIR).ok()
    }
}

fn parse_mac(text: &str) -> Result<Option<Mac>, CniError> {
    let parsed = (!text.is_empty()).then(|| text.parse()).transpose();
    parsed.map_err(|error| CniError::config(format!("invalid args {text} for MAC addr: {error}")))
}

fn number(key: &str, said: i64, unit: &str) -> Result<u32, CniError> {
    u32::try_from(said)
        .map_err(|_| CniError::config(format!("invalid {key} {said}: it is a number of {unit}, 0 to {}", u32::MAX)))
}

#[cfg(test)]
mod tests;
