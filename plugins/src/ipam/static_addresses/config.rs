//! The keys of `ipam` for `static`, and who overrides whom. The only place with their names.

use std::net::IpAddr;

use fairlead_protocol::args::Args;
use fairlead_protocol::{CniError, Code, Dns, IpConfig, Request, Route, address};
use ipnet::IpNet;
use serde::Deserialize;

/// A checked configuration: what the result will say.
#[derive(Debug)]
pub struct Config {
    /// May be empty: whoever delegates says what that means.
    pub addresses: Vec<IpConfig>,
    /// Copied to the result; several with one destination are a choice of ways, and stay several.
    pub routes: Vec<Route>,
    /// Copied to the result.
    pub dns: Dns,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Network {
    ipam: Option<Ipam>,
    runtime_config: Addresses,
    args: Conventions,
    cni_version: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Ipam {
    addresses: Vec<Written>,
    routes: Vec<Route>,
    dns: Dns,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Written {
    address: String,
    #[serde(deserialize_with = "address::ip_or_absent")]
    gateway: Option<IpAddr>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Conventions {
    cni: Addresses,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Addresses {
    ips: Vec<String>,
}

impl Config {
    /// Reads and checks. The addresses of the configuration and those of `CNI_ARGS` add up; `args.cni.ips` replaces both,
    /// and the capability `ips` replaces all of them.
    ///
    /// Errors: code 4 for `CNI_ARGS` that are no pairs, 6 for what cannot be decoded, 7 for what makes no sense, in the
    /// reference's order and words.
    pub fn load(request: &Request) -> Result<Config, CniError> {
        let Network { ipam, runtime_config, args, cni_version } = request.config()?;
        let Ipam { addresses, routes, dns } = ipam.ok_or_else(|| CniError::config("IPAM config missing 'ipam' key"))?;
        let from_args = of_cni_args(&request.args)?;
        let by_convention = replacement(&args.cni.ips)?;
        let by_capability = replacement(&runtime_config.ips)?;
        let addresses = match by_capability.or(by_convention) {
            Some(replaced) => replaced,
            None => addresses.iter().map(written).chain(from_args.into_iter().map(Ok)).collect::<Result<_, _>>()?,
        };
        let v4 = addresses.iter().filter(|ip| ip.address.addr().is_ipv4()).count();
        if request.version.results_need_an_address() && (v4 > 1 || addresses.len() - v4 > 1) {
            let text = format!("CNI version {cni_version} does not support more than 1 address per family");
            return Err(CniError::config(text));
        }
        Ok(Config { addresses, routes, dns })
    }
}

/// `IP=10.0.0.2/24,fd00::2/64;GATEWAY=10.0.0.1`. A gateway belongs to each of these addresses whose subnet it is in; those
/// of the configuration have their own.
fn of_cni_args(text: &str) -> Result<Vec<IpConfig>, CniError> {
    let args =
        Args::parse(text, &["IP", "GATEWAY"]).map_err(|reason| CniError::new(Code::InvalidEnvironment, reason))?;
    let items = |key| args.get(key).filter(|list| !list.is_empty()).into_iter().flat_map(|list| list.split(','));
    let mut addresses = Vec::new();
    for item in items("IP").map(str::trim) {
        addresses.push(IpConfig::new(cidr(item, "the 'ip' field is expected to be in CIDR notation")?, None));
    }
    for item in items("GATEWAY") {
        let invalid = |_| CniError::config(format!("invalid gateway address: {item}"));
        let gateway = address::parse_ip(item.trim()).map_err(invalid)?;
        for ip in addresses.iter_mut().filter(|ip| ip.address.contains(&gateway)) {
            ip.gateway = Some(gateway);
        }
    }
    Ok(addresses)
}

/// What a list of the runtime's puts in the place of the others. An empty one replaces nothing.
fn replacement(ips: &[String]) -> Result<Option<Vec<IpConfig>>, CniError> {
    let cidrs = ips.iter().map(|text| cidr(text, "an entry in the 'ips' field is NOT in CIDR notation"));
    let addresses: Vec<IpConfig> =
        cidrs.map(|net| net.map(|net| IpConfig::new(net, None))).collect::<Result<_, _>>()?;
    Ok(Some(addresses).filter(|list| !list.is_empty()))
}

fn written(written: &Written) -> Result<IpConfig, CniError> {
    let net = cidr(&written.address, "the 'address' field is expected to be in CIDR notation")?;
    Ok(IpConfig::new(net, written.gateway))
}

fn cidr(text: &str, complaint: &str) -> Result<IpNet, CniError> {
    address::parse_cidr(text).map_err(|_| CniError::config(format!("{complaint}, got: '{text}'")))
}

#[cfg(test)]
mod tests;
