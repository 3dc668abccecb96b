//! The keys of `ipam` and what they mean. The only place with their names.

use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};

use fairlead_protocol::args::Args;
use fairlead_protocol::{CniError, Code, Request, Route, address, gojson};
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::Value;

use super::range::{RangeConfig, RangeSet};

/// Where the leases of all networks are unless `dataDir` says something else.
pub const DEFAULT_DATA_DIR: &str = "/var/lib/cni/networks";

/// A checked configuration.
#[derive(Debug)]
pub struct Config {
    /// One address is handed out of each.
    pub sets: Vec<RangeSet>,
    /// Copied to the result.
    pub routes: Vec<Route>,
    /// Where the leases of this network are.
    pub directory: PathBuf,
    /// A file in the format of resolv.conf whose words go to the result; empty: none.
    pub resolv_conf: String,
    /// Addresses the runtime asks for, each once.
    pub requested: Vec<IpAddr>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Network {
    ipam: Option<Ipam>,
    runtime_config: Runtime,
    args: Conventions,
    cni_version: String,
}

/// `subnet` and its companions may stand here directly: the form before there were sets.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Ipam {
    #[serde(deserialize_with = "address::cidr_or_absent")]
    subnet: Option<IpNet>,
    #[serde(deserialize_with = "address::ip_or_absent")]
    range_start: Option<IpAddr>,
    #[serde(deserialize_with = "address::ip_or_absent")]
    range_end: Option<IpAddr>,
    #[serde(deserialize_with = "address::ip_or_absent")]
    gateway: Option<IpAddr>,
    ranges: Vec<Vec<RangeConfig>>,
    routes: Vec<Route>,
    data_dir: String,
    resolv_conf: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Runtime {
    ip_ranges: Vec<Vec<RangeConfig>>,
    ips: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Conventions {
    cni: CniConventions,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CniConventions {
    ips: Vec<String>,
}

impl Config {
    /// Reads and checks. Errors: code 4 for `CNI_ARGS`, 6 for what cannot be decoded, 7 for what makes no sense, in the
    /// reference's order and words.
    pub fn load(request: &Request) -> Result<Config, CniError> {
        let Network { ipam, runtime_config, args, cni_version } = request.config()?;
        let ipam = ipam.ok_or_else(|| CniError::config("IPAM config missing 'ipam' key"))?;
        let requested = requested_addresses(request, &args.cni.ips, &runtime_config.ips)?;
        let written = ipam.written(runtime_config.ip_ranges);
        let sets = validate(&written, request.version.results_need_an_address(), &cni_version)?;
        check_data_dir(&ipam.data_dir)?;
        let directory = directory(&ipam.data_dir, &request.name);
        Ok(Config { sets, routes: ipam.routes, directory, resolv_conf: ipam.resolv_conf, requested })
    }
}

impl Ipam {
    /// All sets, in the order of their numbers: the runtime's, then the one written directly, then the others.
    fn written(&self, runtimes: Vec<Vec<RangeConfig>>) -> Vec<Vec<RangeConfig>> {
        let Ipam { subnet, range_start, range_end, gateway, .. } = *self;
        let direct = subnet.is_some().then(|| vec![RangeConfig { subnet, range_start, range_end, gateway }]);
        runtimes.into_iter().chain(direct).chain(self.ranges.iter().cloned()).collect()
    }
}

/// What the configuration of a plugin lets be given out, without what a runtime adds. Errors as [`Config::load`].
pub fn sets_of(plugin: &Value) -> Result<Vec<RangeSet>, CniError> {
    let network: Network = gojson::decode(plugin).map_err(|error| CniError::new(Code::Decode, error.to_string()))?;
    let ipam = network.ipam.ok_or_else(|| CniError::config("IPAM config missing 'ipam' key"))?;
    validate(&ipam.written(Vec::new()), false, &network.cni_version)
}

/// A path that means the same wherever the runtime was started, and that nobody has to think about: the reference takes
/// everything, and makes directories of it as root.
fn check_data_dir(text: &str) -> Result<(), CniError> {
    let is_plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
    let reason = if text.is_empty() {
        return Ok(());
    } else if !text.starts_with('/') {
        "it is relative"
    } else if !Path::new(text).components().all(is_plain) {
        "it goes up by `..`"
    } else if text.chars().any(char::is_control) {
        "it holds control characters"
    } else {
        return Ok(());
    };
    Err(CniError::config(format!("ipam.dataDir {text:?}: {reason}; it must be an absolute path without `..`")))
}

/// Where the leases are, for DEL and GC: those work with whatever has become of the rest of the configuration.
pub fn lenient_directory(request: &Request) -> PathBuf {
    let ipam = gojson::lookup(&request.config, "ipam");
    let data_dir = ipam.and_then(|ipam| gojson::lookup(ipam, "dataDir")).and_then(Value::as_str);
    directory(data_dir.unwrap_or_default(), &request.name)
}

fn directory(data_dir: &str, network: &str) -> PathBuf {
    PathBuf::from(if data_dir.is_empty() { DEFAULT_DATA_DIR } else { data_dir }).join(network)
}

fn validate(written: &[Vec<RangeConfig>], one_per_family: bool, cni_version: &str) -> Result<Vec<RangeSet>, CniError> {
    if written.is_empty() {
        return Err(CniError::config("no IP ranges specified"));
    }
    let mut sets = Vec::with_capacity(written.len());
    for (i, ranges) in written.iter().enumerate() {
        let set = RangeSet::validate(ranges)
            .map_err(|reason| CniError::config(format!("invalid range set {i}: {reason}")))?;
        sets.push(set);
    }
    let v4 = sets.iter().filter(|set| set.is_ipv4()).count();
    if one_per_family && (v4 > 1 || sets.len() - v4 > 1) {
        let text = format!("CNI version {cni_version} does not support more than 1 address per family");
        return Err(CniError::config(text));
    }
    for (i, a) in sets.iter().enumerate() {
        if let Some(j) = sets[i + 1..].iter().position(|b| a.overlaps(b)) {
            return Err(CniError::config(format!("range set {i} overlaps with {}", i + j + 1)));
        }
    }
    Ok(sets)
}

/// From `CNI_ARGS`, `args.cni.ips` and the capability `ips`: all of them, a prefix length is ignored.
fn requested_addresses(request: &Request, conventions: &[String], runtime: &[String]) -> Result<Vec<IpAddr>, CniError> {
    let args = Args::parse(&request.args, &["IP"]).map_err(|reason| CniError::new(Code::InvalidEnvironment, reason))?;
    let from_args = args.get("IP").filter(|text| !text.is_empty());
    let mut addresses = Vec::new();
    for text in from_args.into_iter().chain(conventions.iter().chain(runtime).map(String::as_str)) {
        let without_prefix = address::parse_cidr(text).map(|net| net.addr()).or_else(|_| address::parse_ip(text));
        let ip =
            without_prefix.map_err(|_| CniError::config(format!("cannot understand ip: invalid IP address {text}")))?;
        if !addresses.contains(&ip) {
            addresses.push(ip);
        }
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests;
