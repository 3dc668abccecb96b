//! Kubernetes objects → facts. The only file that knows the shapes of the Kubernetes API.
//!
//! The shapes are slim: of `v1 Service` and `discovery.k8s.io/v1 EndpointSlice` only what decides something here. They are
//! read as `kubectl get -o yaml` prints them (null for an empty list, lists of mixed kinds) and as people write them by
//! hand (no status, no port name where there is one port), with the defaults that an API server would fill in.

use std::net::IpAddr;
use std::sync::Arc;

use fairlead_proxy_model::{
    Endpoint, Family, ObjectName, Protocol, ServiceFact, ServicePort, SliceFact, TrafficPolicy,
};
use serde::{Deserialize, Deserializer};
use serde_saphyr::{Location, Spanned};

use crate::rfc3339::seconds;

/// What an object of a file turned out to be.
#[derive(Debug)]
pub enum Converted {
    /// A service with virtual addresses.
    Service(Arc<ServiceFact>),
    /// A slice of endpoints.
    Slice(Arc<SliceFact>),
    /// Not for a service proxy; why.
    Ignored(String),
}

/// A value that cannot be meant, and where it stands.
#[derive(Debug)]
pub struct Fault {
    /// Where, within the text that was parsed.
    pub at: Location,
    /// Which object, which field, what is wrong.
    pub text: String,
}

/// Something that is accepted, but not served as written.
#[derive(Debug)]
pub struct Remark {
    /// Where, within the text that was parsed.
    pub at: Location,
    /// Which object, and what is not served.
    pub text: String,
}

/// What an object is, before it is read in full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `v1 Service`.
    Service,
    /// `discovery.k8s.io/v1 EndpointSlice`.
    Slice,
    /// `v1 List`: the items say what they are.
    List,
    /// `v1 ServiceList`: the items need not say.
    ServiceList,
    /// `discovery.k8s.io/v1 EndpointSliceList`: the items need not say.
    SliceList,
    /// Anything else.
    Other,
}

/// The two fields that tell the kind of an object; every other field is passed over.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    /// `apiVersion`.
    #[serde(default)]
    pub api_version: Option<String>,
    /// `kind`.
    #[serde(default)]
    pub kind: Option<String>,
}

impl Head {
    /// Which kind it is.
    pub fn kind(&self) -> Kind {
        match (self.api_version.as_deref().unwrap_or(""), self.kind.as_deref().unwrap_or("")) {
            ("v1", "Service") => Kind::Service,
            ("v1", "List") => Kind::List,
            ("v1", "ServiceList") => Kind::ServiceList,
            ("discovery.k8s.io/v1", "EndpointSlice") => Kind::Slice,
            ("discovery.k8s.io/v1", "EndpointSliceList") => Kind::SliceList,
            _ => Kind::Other,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: Spanned<String>,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    labels: Labels,
    #[serde(default)]
    creation_timestamp: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
struct Labels {
    #[serde(default, rename = "kubernetes.io/service-name")]
    service_name: Option<String>,
    #[serde(default, rename = "service.kubernetes.io/service-proxy-name")]
    proxy_name: Option<String>,
    #[serde(default, rename = "service.kubernetes.io/headless")]
    headless: Option<String>,
}

/// `v1 Service`.
#[derive(Debug, Deserialize)]
pub struct Service {
    metadata: Metadata,
    #[serde(default, deserialize_with = "null_as_default")]
    spec: ServiceSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServiceSpec {
    #[serde(default)]
    r#type: Option<String>,
    #[serde(default, rename = "clusterIP")]
    cluster_ip: Option<Spanned<String>>,
    #[serde(default, rename = "clusterIPs", deserialize_with = "null_as_default")]
    cluster_ips: Vec<Spanned<String>>,
    #[serde(default, rename = "externalIPs", deserialize_with = "null_as_default")]
    external_ips: Vec<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    ports: Vec<Port>,
    #[serde(default)]
    internal_traffic_policy: Option<Spanned<String>>,
    #[serde(default)]
    session_affinity: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Port {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    protocol: Option<Spanned<String>>,
    #[serde(default)]
    port: Option<Spanned<u32>>,
}

/// `discovery.k8s.io/v1 EndpointSlice`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Slice {
    metadata: Metadata,
    address_type: Spanned<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    ports: Vec<Port>,
    #[serde(default, deserialize_with = "null_as_default")]
    endpoints: Vec<SliceEndpoint>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SliceEndpoint {
    #[serde(default, deserialize_with = "null_as_default")]
    addresses: Vec<Spanned<String>>,
    #[serde(default, deserialize_with = "null_as_default")]
    conditions: Conditions,
    #[serde(default)]
    node_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Conditions {
    #[serde(default)]
    ready: Option<bool>,
    #[serde(default)]
    serving: Option<bool>,
    #[serde(default)]
    terminating: Option<bool>,
}

impl Service {
    /// Its name, and where it stands.
    pub fn name(&self) -> (ObjectName, Location) {
        self.metadata.object_name()
    }

    /// The fact it states.
    pub fn convert(self, remarks: &mut Vec<Remark>) -> Result<Converted, Fault> {
        let (name, at) = self.name();
        let Self { metadata, spec } = self;
        if let Some(proxy) = metadata.labels.proxy_name {
            return Ok(Converted::Ignored(format!("Service {name}: left to the service proxy {proxy:?}")));
        }
        if spec.r#type.as_deref() == Some("ExternalName") {
            return Ok(Converted::Ignored(format!("Service {name}: ExternalName, an alias in DNS only")));
        }
        let fault = |at: Location, text: String| Fault { at, text: format!("Service {name}: {text}") };
        let written = if spec.cluster_ips.is_empty() { Vec::from_iter(spec.cluster_ip) } else { spec.cluster_ips };
        if written.iter().any(|addr| addr.value == "None") {
            return Ok(Converted::Ignored(format!(
                "Service {name}: headless, clients use the endpoints' own addresses"
            )));
        }
        let mut cluster_ips: Vec<IpAddr> = Vec::new();
        for addr in written.iter().filter(|addr| !addr.value.is_empty()) {
            let ip = address(addr).map_err(|text| fault(addr.referenced, format!("spec.clusterIPs: {text}")))?;
            if cluster_ips.iter().any(|known| Family::of(*known) == Family::of(ip)) {
                return Err(fault(addr.referenced, format!("spec.clusterIPs: {ip} is the second of its family")));
            }
            cluster_ips.push(ip);
        }
        if cluster_ips.is_empty() {
            let text = "spec.clusterIP: missing; nobody assigns one to a Service in a file, write the address";
            return Err(fault(at, text.to_owned()));
        }
        let mut ports: Vec<ServicePort> = Vec::new();
        for (index, port) in spec.ports.into_iter().enumerate() {
            let field = |text: String| format!("spec.ports[{index}]: {text}");
            let port_at = port.port.as_ref().map_or(at, |port| port.referenced);
            let port = match port.convert() {
                Ok(Some(port)) => port,
                Ok(None) => return Err(fault(port_at, field("port: missing".to_owned()))),
                Err((at, text)) => return Err(fault(at, field(text))),
            };
            if ports.iter().any(|known| known.name == port.name) {
                return Err(fault(port_at, field(format!("the name {:?} is used twice", port.name))));
            }
            if ports.iter().any(|known| (known.port, known.protocol) == (port.port, port.protocol)) {
                return Err(fault(port_at, field(format!("{}/{} twice", port.port, port.protocol.name()))));
            }
            ports.push(port);
        }
        let internal_policy = match spec.internal_traffic_policy {
            Some(policy) if policy.value == "Local" => TrafficPolicy::Local,
            Some(policy) if policy.value != "Cluster" => {
                let text = format!("spec.internalTrafficPolicy: {:?} is neither Cluster nor Local", policy.value);
                return Err(fault(policy.referenced, text));
            }
            _ => TrafficPolicy::Cluster,
        };
        let mut remark = |text: &str| remarks.push(Remark { at, text: format!("Service {name}: {text}") });
        if let Some(kind @ ("NodePort" | "LoadBalancer")) = spec.r#type.as_deref() {
            remark(&format!("type {kind}: only its cluster IP is served"));
        }
        if !spec.external_ips.is_empty() {
            remark("externalIPs are not served");
        }
        if spec.session_affinity.as_deref() == Some("ClientIP") {
            remark("sessionAffinity: ClientIP is not kept; connections are spread over all endpoints");
        }
        let created = match metadata.creation_timestamp {
            Some(text) => Some(seconds(&text.value).ok_or_else(|| {
                fault(text.referenced, format!("metadata.creationTimestamp: {:?} is no RFC 3339 time", text.value))
            })?),
            None => None,
        };
        Ok(Converted::Service(Arc::new(ServiceFact { name, created, cluster_ips, ports, internal_policy })))
    }
}

impl Slice {
    /// Its name, and where it stands.
    pub fn name(&self) -> (ObjectName, Location) {
        self.metadata.object_name()
    }

    /// The fact it states.
    pub fn convert(self, remarks: &mut Vec<Remark>) -> Result<Converted, Fault> {
        let (name, at) = self.name();
        let fault = |at: Location, text: String| Fault { at, text: format!("EndpointSlice {name}: {text}") };
        if self.metadata.labels.headless.is_some() {
            return Ok(Converted::Ignored(format!("EndpointSlice {name}: of a headless Service")));
        }
        let Some(service) = self.metadata.labels.service_name.filter(|service| !service.is_empty()) else {
            let text = format!("EndpointSlice {name}: ignored, it has no label kubernetes.io/service-name");
            remarks.push(Remark { at, text: text.clone() });
            return Ok(Converted::Ignored(text));
        };
        let family = match self.address_type.value.as_str() {
            "IPv4" => Family::V4,
            "IPv6" => Family::V6,
            "FQDN" => return Ok(Converted::Ignored(format!("EndpointSlice {name}: addresses are names"))),
            other => {
                let text = format!("addressType: {other:?} is none of IPv4, IPv6 and FQDN");
                return Err(fault(self.address_type.referenced, text));
            }
        };
        let mut ports = Vec::new();
        for (index, port) in self.ports.into_iter().enumerate() {
            match port.convert().map_err(|(at, text)| fault(at, format!("ports[{index}]: {text}")))? {
                Some(port) => ports.push(port),
                None => remarks.push(Remark {
                    at,
                    text: format!("EndpointSlice {name}: ports[{index}] ignored, it has no number"),
                }),
            }
        }
        let mut endpoints = Vec::new();
        for (index, endpoint) in self.endpoints.into_iter().enumerate() {
            // All addresses of an endpoint are the same pod's; only the first is used, as the API says.
            let Some(written) = endpoint.addresses.first() else { continue };
            let field = |text: String| fault(written.referenced, format!("endpoints[{index}].addresses: {text}"));
            let addr = address(written).map_err(field)?;
            if Family::of(addr) != family {
                return Err(field(format!("{addr} is not of addressType {}", self.address_type.value)));
            }
            let Conditions { ready, serving, terminating } = endpoint.conditions;
            endpoints.push(Endpoint {
                addr,
                ready: ready.unwrap_or(true),
                serving: serving.unwrap_or(true),
                terminating: terminating.unwrap_or(false),
                node: endpoint.node_name,
            });
        }
        Ok(Converted::Slice(Arc::new(SliceFact { name, service, family, ports, endpoints })))
    }
}

impl Metadata {
    fn object_name(&self) -> (ObjectName, Location) {
        let namespace = self.namespace.as_deref().filter(|namespace| !namespace.is_empty()).unwrap_or("default");
        (ObjectName::new(namespace, self.name.value.clone()), self.name.referenced)
    }
}

impl Port {
    /// `None`: without a number, which in a slice means "all ports" and is not served by any proxy.
    fn convert(self) -> Result<Option<ServicePort>, (Location, String)> {
        let protocol = match self.protocol {
            None => Protocol::Tcp,
            Some(protocol) => match protocol.value.as_str() {
                "TCP" => Protocol::Tcp,
                "UDP" => Protocol::Udp,
                "SCTP" => Protocol::Sctp,
                other => {
                    return Err((protocol.referenced, format!("protocol: {other:?} is none of TCP, UDP and SCTP")));
                }
            },
        };
        let Some(number) = self.port else { return Ok(None) };
        match u16::try_from(number.value) {
            Ok(port) if port != 0 => Ok(Some(ServicePort { name: self.name.unwrap_or_default(), protocol, port })),
            _ => Err((number.referenced, format!("port: {} is not between 1 and 65535", number.value))),
        }
    }
}

fn null_as_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// An address that a socket can be connected to.
fn address(written: &Spanned<String>) -> Result<IpAddr, String> {
    let text = written.value.trim();
    let addr: IpAddr = text.parse().map_err(|_| format!("{text:?} is not an IP address"))?;
    let mapped = matches!(addr, IpAddr::V6(addr) if addr.to_ipv4_mapped().is_some());
    if mapped || addr.is_unspecified() || addr.is_multicast() {
        return Err(format!("{addr} cannot be the address of a service or an endpoint"));
    }
    Ok(addr)
}
