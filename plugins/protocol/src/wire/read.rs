//! The shapes of seven versions → newest form.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::{CniResult, Dns, Interface, IpConfig, Route, Version, address, gojson};

/// Reads `prevResult` with the version of the configuration. A result without a version has the configuration's, one of
/// another generation is refused, in the reference's words.
pub(crate) fn decode_prev_result(value: &Value, version: Version) -> Result<CniResult, String> {
    decode(value, version)
}

/// Reads what a delegate printed. Lenient as the reference: no `cniVersion` means the configuration's, and the literal
/// `null` is an empty result. The result's own version decides its shape, whatever generation it is of.
pub(crate) fn decode_delegate_result(text: &[u8], version: Version) -> Result<CniResult, String> {
    decode_printed(&gojson::parse(text)?, version.as_str()).map(|(result, _)| result)
}

/// As [`decode_delegate_result`], with the version the result is in.
pub(crate) fn decode_printed(value: &Value, assumed: &str) -> Result<(CniResult, Version), String> {
    let said = stated_version(value)?;
    let text = if said.is_empty() { assumed } else { &said };
    let version = Version::from_text(text).ok_or_else(|| format!("unsupported CNI result version {text:?}"))?;
    decode(value, version).map(|result| (result, version))
}

fn stated_version(value: &Value) -> Result<String, String> {
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Head {
        cni_version: String,
    }
    gojson::decode::<Head>(value).map(|head| head.cni_version).map_err(|error| error.to_string())
}

fn decode(value: &Value, version: Version) -> Result<CniResult, String> {
    let said = stated_version(value)?;
    if !said.is_empty() && !version.family().iter().any(|known| known.as_str() == said) {
        let known: Vec<&str> = version.family().iter().map(|version| version.as_str()).collect();
        // Go prints the list of its oldest type with the empty version in front.
        let empty = if version.results_need_an_address() { " " } else { "" };
        return Err(format!(
            "result type supports [{empty}{}] but unmarshalled CNIVersion is {said:?}",
            known.join(" ")
        ));
    }
    let read = if version.results_need_an_address() {
        gojson::decode::<Result02>(value).map(CniResult::from)
    } else {
        gojson::decode::<Result1>(value).map(CniResult::from)
    };
    read.map_err(|error| error.to_string()).map(|mut result| {
        if version < Version::V1_0_0 {
            for interface in &mut result.interfaces {
                (interface.mtu, interface.socket_path, interface.pci_id) = (0, String::new(), String::new());
            }
        }
        result
    })
}

/// 0.3.0 and newer; `version` of an address is derived, so it is not read.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Result1 {
    interfaces: Vec<Interface>,
    ips: Vec<IpConfig>,
    routes: Vec<Route>,
    dns: Dns,
}

impl From<Result1> for CniResult {
    fn from(Result1 { interfaces, ips, routes, dns }: Result1) -> Self {
        CniResult { interfaces, ips, routes, dns }
    }
}

/// 0.1.0 and 0.2.0.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Result02 {
    ip4: Option<Family>,
    ip6: Option<Family>,
    dns: Dns,
}

#[derive(Deserialize)]
struct Family {
    #[serde(deserialize_with = "address::cidr")]
    ip: IpNet,
    #[serde(default, deserialize_with = "address::ip_or_absent")]
    gateway: Option<IpAddr>,
    #[serde(default)]
    routes: Vec<Route>,
}

impl From<Result02> for CniResult {
    fn from(Result02 { ip4, ip6, dns }: Result02) -> Self {
        let mut result = CniResult { dns, ..CniResult::default() };
        for Family { ip, gateway, routes } in ip4.into_iter().chain(ip6) {
            result.ips.push(IpConfig::new(ip, gateway));
            result.routes.extend(routes);
        }
        result
    }
}

impl<'de> Deserialize<'de> for IpConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            #[serde(default)]
            interface: Option<i64>,
            #[serde(default, deserialize_with = "address::cidr_or_absent")]
            address: Option<IpNet>,
            #[serde(default, deserialize_with = "address::ip_or_absent")]
            gateway: Option<IpAddr>,
        }
        let Wire { interface, address, gateway } = Wire::deserialize(deserializer)?;
        let address = address.ok_or_else(|| D::Error::custom("an address is missing"))?;
        Ok(IpConfig { interface, address, gateway })
    }
}

/// Also the shape of `routes` in configurations, whatever their version.
impl<'de> Deserialize<'de> for Route {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            #[serde(default, deserialize_with = "address::cidr_or_absent")]
            dst: Option<IpNet>,
            #[serde(default, deserialize_with = "address::ip_or_absent")]
            gw: Option<IpAddr>,
            #[serde(default)]
            mtu: u32,
            #[serde(default)]
            advmss: u32,
            #[serde(default)]
            priority: u32,
            #[serde(default)]
            table: Option<u32>,
            #[serde(default)]
            scope: Option<u8>,
        }
        let Wire { dst, gw, mtu, advmss, priority, table, scope } = Wire::deserialize(deserializer)?;
        let dst = dst.ok_or_else(|| D::Error::custom("a route needs a destination (\"dst\")"))?;
        Ok(Route { dst, gw, mtu, advmss, priority, table, scope })
    }
}
