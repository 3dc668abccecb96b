//! Newest form → the shape and key order of the caller's version.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Map, Value};

use crate::version::no_addresses;
use crate::{CniError, CniResult, Dns, Interface, IpConfig, Route, Version};

/// The result as an object of `version`. Errors: 0.1.0 and 0.2.0 cannot say a result without addresses.
pub(crate) fn encode(result: &CniResult, version: Version) -> Result<Value, CniError> {
    match version {
        Version::V0_1_0 | Version::V0_2_0 => encode_02(result, version),
        Version::V0_3_0 | Version::V0_3_1 | Version::V0_4_0 => Ok(encode_03(result, version)),
        // The reference marshals these through a map, hence the alphabetical order.
        Version::V1_0_0 | Version::V1_1_0 => Ok(sorted(encode_1(result, version))),
    }
}

/// Four spaces of indent, no newline, and Go's escapes of `<`, `>` and `&`.
pub(crate) fn pretty(value: &Value) -> String {
    let mut text = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b"    "));
    value.serialize(&mut serializer).expect("a value with text keys, written to memory, cannot fail");
    go_escaped(&String::from_utf8(text).expect("serde_json writes UTF-8"))
}

/// Outside of strings JSON has none of these characters, so they can be replaced wherever they stand.
fn go_escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("\\u003c"),
            '>' => escaped.push_str("\\u003e"),
            '&' => escaped.push_str("\\u0026"),
            '\u{2028}' => escaped.push_str("\\u2028"),
            '\u{2029}' => escaped.push_str("\\u2029"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// An object under construction: what is empty is left out.
struct Object(Map<String, Value>);

impl Object {
    fn new() -> Self {
        Object(Map::new())
    }

    fn put(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.insert(key.to_owned(), value.into());
        self
    }

    fn text(self, key: &str, text: &str) -> Self {
        if text.is_empty() { self } else { self.put(key, text) }
    }

    fn number(self, key: &str, number: u32) -> Self {
        if number == 0 { self } else { self.put(key, number) }
    }

    fn list(self, key: &str, items: Vec<Value>) -> Self {
        if items.is_empty() { self } else { self.put(key, items) }
    }

    fn maybe(self, key: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.put(key, value),
            None => self,
        }
    }

    fn done(self) -> Value {
        Value::Object(self.0)
    }
}

fn encode_1(result: &CniResult, version: Version) -> Value {
    let object = Object::new()
        .put("cniVersion", version.as_str())
        .list("interfaces", result.interfaces.iter().map(interface_1).collect())
        .list("ips", result.ips.iter().map(|ip| address(ip, Object::new()).done()).collect())
        .list("routes", result.routes.iter().map(route).collect());
    if result.dns.is_empty() { object.done() } else { object.put("dns", dns(&result.dns)).done() }
}

fn encode_03(result: &CniResult, version: Version) -> Value {
    let family = |ip: &IpConfig| Object::new().put("version", if is_v4(&ip.address) { "4" } else { "6" });
    Object::new()
        .put("cniVersion", version.as_str())
        .list("interfaces", result.interfaces.iter().map(interface_03).collect())
        .list("ips", result.ips.iter().map(|ip| address(ip, family(ip)).done()).collect())
        .list("routes", result.routes.iter().map(route).collect())
        .put("dns", dns(&result.dns))
        .done()
}

/// One address a family, with the routes of its family reduced to destination and gateway.
fn encode_02(result: &CniResult, version: Version) -> Result<Value, CniError> {
    let of_family = |v4: bool| {
        let first = result.ips.iter().find(|ip| is_v4(&ip.address) == v4)?;
        let routes = result.routes.iter().filter(|route| is_v4(&route.dst) == v4);
        let entry = Object::new()
            .put("ip", first.address.to_string())
            .maybe("gateway", gateway_text(first.gateway))
            .list("routes", routes.map(|r| route(&Route::new(r.dst, r.gw))).collect());
        Some(entry.done())
    };
    let (ip4, ip6) = (of_family(true), of_family(false));
    if ip4.is_none() && ip6.is_none() {
        return Err(no_addresses());
    }
    let object = Object::new().put("cniVersion", version.as_str()).maybe("ip4", ip4).maybe("ip6", ip6);
    Ok(object.put("dns", dns(&result.dns)).done())
}

fn is_v4(net: &IpNet) -> bool {
    matches!(net, IpNet::V4(_))
}

fn gateway_text(gateway: Option<IpAddr>) -> Option<String> {
    gateway.map(|ip| ip.to_string())
}

fn interface_1(interface: &Interface) -> Value {
    let Interface { name, mac, mtu, sandbox, socket_path, pci_id } = interface;
    let object = Object::new().put("name", name.as_str()).text("mac", mac).number("mtu", *mtu).text("sandbox", sandbox);
    object.text("socketPath", socket_path).text("pciID", pci_id).done()
}

fn interface_03(interface: &Interface) -> Value {
    let Interface { name, mac, sandbox, .. } = interface;
    Object::new().put("name", name.as_str()).text("mac", mac).text("sandbox", sandbox).done()
}

fn address(ip: &IpConfig, head: Object) -> Object {
    let IpConfig { interface, address, gateway } = ip;
    head.maybe("interface", *interface).put("address", address.to_string()).maybe("gateway", gateway_text(*gateway))
}

fn route(route: &Route) -> Value {
    let Route { dst, gw, mtu, advmss, priority, table, scope } = route;
    Object::new()
        .put("dst", dst.to_string())
        .maybe("gw", gateway_text(*gw))
        .number("mtu", *mtu)
        .number("advmss", *advmss)
        .number("priority", *priority)
        .maybe("table", *table)
        .maybe("scope", *scope)
        .done()
}

fn dns(dns: &Dns) -> Value {
    let Dns { nameservers, domain, search, options } = dns;
    let texts = |list: &[String]| list.iter().map(|text| Value::from(text.as_str())).collect();
    Object::new()
        .list("nameservers", texts(nameservers))
        .text("domain", domain)
        .list("search", texts(search))
        .list("options", texts(options))
        .done()
}

/// The same value with the keys of every object in alphabetical order.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let mut entries: Vec<(String, Value)> = object.into_iter().map(|(k, v)| (k, sorted(v))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}
