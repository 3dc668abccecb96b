//! What is read of `v1 Service`, `discovery.k8s.io/v1 EndpointSlice` and `v1 Node`: only what decides something here.
//!
//! Null stands for an empty list or object, as `kubectl` and Go's encoder print it.

use serde::{Deserialize, Deserializer};

use super::form::Form;

/// `metadata` of any object.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound = "")]
pub struct Metadata<F: Form> {
    pub name: F::Leaf<String>,
    #[serde(default)]
    pub namespace: Option<String>,
    #[serde(default)]
    pub uid: Option<String>,
    #[serde(default)]
    pub resource_version: Option<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub labels: Labels,
    #[serde(default, deserialize_with = "null_as_default")]
    pub annotations: Annotations,
    #[serde(default)]
    pub creation_timestamp: Option<F::Leaf<String>>,
    #[serde(default)]
    pub deletion_timestamp: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub struct Labels {
    #[serde(default, rename = "kubernetes.io/service-name")]
    pub service_name: Option<String>,
    #[serde(default, rename = "service.kubernetes.io/service-proxy-name")]
    pub proxy_name: Option<String>,
    #[serde(default, rename = "service.kubernetes.io/headless")]
    pub headless: Option<String>,
    #[serde(default, rename = "topology.kubernetes.io/zone")]
    pub zone: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub struct Annotations {
    #[serde(default, rename = "endpoints.kubernetes.io/last-change-trigger-time")]
    pub triggered: Option<String>,
}

/// `v1 Service`.
#[derive(Debug, Deserialize)]
#[serde(bound = "")]
pub struct Service<F: Form> {
    pub metadata: Metadata<F>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub spec: ServiceSpec<F>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub status: ServiceStatus<F>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound = "")]
pub struct ServiceSpec<F: Form> {
    #[serde(default)]
    pub r#type: Option<String>,
    #[serde(default, rename = "clusterIP")]
    pub cluster_ip: Option<F::Leaf<String>>,
    #[serde(default, rename = "clusterIPs", deserialize_with = "null_as_default")]
    pub cluster_ips: Vec<F::Leaf<String>>,
    #[serde(default, rename = "externalIPs", deserialize_with = "null_as_default")]
    pub external_ips: Vec<F::Leaf<String>>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub load_balancer_source_ranges: Vec<F::Leaf<String>>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub ports: Vec<Port<F>>,
    #[serde(default)]
    pub internal_traffic_policy: Option<F::Leaf<String>>,
    #[serde(default)]
    pub external_traffic_policy: Option<F::Leaf<String>>,
    #[serde(default)]
    pub session_affinity: Option<F::Leaf<String>>,
    #[serde(default)]
    pub session_affinity_config: Option<AffinityConfig<F>>,
    #[serde(default)]
    pub health_check_node_port: Option<F::Leaf<i64>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound = "")]
pub struct AffinityConfig<F: Form> {
    #[serde(default, rename = "clientIP")]
    pub client_ip: Option<ClientIpConfig<F>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound = "")]
pub struct ClientIpConfig<F: Form> {
    #[serde(default)]
    pub timeout_seconds: Option<F::Leaf<i64>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound = "")]
pub struct ServiceStatus<F: Form> {
    #[serde(default, deserialize_with = "null_as_default")]
    pub load_balancer: LoadBalancer<F>,
}

#[derive(Debug, Deserialize)]
#[serde(bound = "")]
pub struct LoadBalancer<F: Form> {
    #[serde(default, deserialize_with = "null_as_default")]
    pub ingress: Vec<Ingress<F>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound = "")]
pub struct Ingress<F: Form> {
    /// Absent where the load balancer has a name only.
    #[serde(default)]
    pub ip: Option<F::Leaf<String>>,
    #[serde(default)]
    pub ip_mode: Option<String>,
}

/// A port of a service or of a slice.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound = "")]
pub struct Port<F: Form> {
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub protocol: Option<F::Leaf<String>>,
    #[serde(default)]
    pub port: Option<F::Leaf<i64>>,
    #[serde(default)]
    pub node_port: Option<F::Leaf<i64>>,
}

/// `discovery.k8s.io/v1 EndpointSlice`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound = "")]
pub struct Slice<F: Form> {
    pub metadata: Metadata<F>,
    pub address_type: F::Leaf<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub ports: Vec<Port<F>>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub endpoints: Vec<SliceEndpoint<F>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound = "")]
pub struct SliceEndpoint<F: Form> {
    #[serde(default, deserialize_with = "null_as_default")]
    pub addresses: Vec<F::Leaf<String>>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub conditions: Conditions,
    #[serde(default)]
    pub node_name: Option<String>,
    #[serde(default)]
    pub hints: Option<EndpointHints>,
}

#[derive(Debug, Default, Deserialize)]
pub struct Conditions {
    #[serde(default)]
    pub ready: Option<bool>,
    #[serde(default)]
    pub serving: Option<bool>,
    #[serde(default)]
    pub terminating: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointHints {
    #[serde(default, deserialize_with = "null_as_default")]
    pub for_zones: Vec<Named>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub for_nodes: Vec<Named>,
}

#[derive(Debug, Deserialize)]
pub struct Named {
    pub name: String,
}

/// `v1 Node`.
#[derive(Debug, Deserialize)]
#[serde(bound = "")]
pub struct Node<F: Form> {
    pub metadata: Metadata<F>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub spec: NodeSpec<F>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub status: NodeStatus<F>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound = "")]
pub struct NodeSpec<F: Form> {
    #[serde(default, rename = "podCIDR")]
    pub pod_cidr: Option<F::Leaf<String>>,
    #[serde(default, rename = "podCIDRs", deserialize_with = "null_as_default")]
    pub pod_cidrs: Vec<F::Leaf<String>>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub taints: Vec<Taint>,
}

#[derive(Debug, Deserialize)]
pub struct Taint {
    #[serde(default)]
    pub key: String,
}

#[derive(Debug, Deserialize)]
#[serde(bound = "")]
pub struct NodeStatus<F: Form> {
    #[serde(default, deserialize_with = "null_as_default")]
    pub addresses: Vec<NodeAddress<F>>,
}

#[derive(Debug, Deserialize)]
#[serde(bound = "")]
pub struct NodeAddress<F: Form> {
    #[serde(default)]
    pub r#type: String,
    pub address: F::Leaf<String>,
}

macro_rules! empty_by_default {
    ($($shape:ident { $($field:ident),* })*) => {$(
        impl<F: Form> Default for $shape<F> {
            fn default() -> Self {
                Self { $($field: Default::default()),* }
            }
        }
    )*};
}

// Derived, these would ask for `F: Default`.
empty_by_default! {
    ServiceSpec {
        r#type, cluster_ip, cluster_ips, external_ips, load_balancer_source_ranges, ports, internal_traffic_policy,
        external_traffic_policy, session_affinity, session_affinity_config, health_check_node_port
    }
    ServiceStatus { load_balancer }
    LoadBalancer { ingress }
    NodeSpec { pod_cidr, pod_cidrs, taints }
    NodeStatus { addresses }
}

fn null_as_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
