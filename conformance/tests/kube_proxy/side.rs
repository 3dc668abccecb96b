//! The stage as one side sees it: its own node with the proxy that is judged, a node of the other side, one far away. Every
//! case is written from its own node's point of view and played twice, with addresses and ports of its own each time.

use std::net::IpAddr;

use fairlead_conformance::kubernetes::{Cluster, Member};
use fairlead_conformance::lab::Place;
use serde_json::{Value, json};

/// Namespace of everything that is judged.
pub const NAMESPACE: &str = "judged";
/// Pods that answer: on the first node, on the second, and far away.
pub const PODS: [&[&str]; 3] = [&["a1", "a2", "a3"], &["b1", "b2", "b3"], &["c1", "c2", "c3"]];
/// Pods that only ask.
pub const CLIENTS: [&str; 2] = ["ask-a", "ask-b"];
pub const ZONES: [&str; 3] = ["zone-a", "zone-b", "zone-c"];
pub const NODES: [&str; 3] = ["first", "second", "far"];
/// The member of the cluster that is far from both sides.
pub const FAR: usize = 2;

/// One of the two sides: 0 or 1, the index of its own node.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    pub cluster: &'a Cluster,
    pub own: usize,
}

impl<'a> Side<'a> {
    pub fn member(&self) -> &'a Member {
        &self.cluster.members[self.own]
    }

    pub fn other(&self) -> usize {
        1 - self.own
    }

    /// The pod of its own node that asks.
    pub fn client(&self) -> &'a Place {
        self.member().pod(CLIENTS[self.own])
    }

    /// A backend's name from this side: `a1` is `own1` on one, `other1` on the other.
    pub fn role_of(&self, pod: &str) -> String {
        let member = PODS.iter().position(|pods| pods.contains(&pod));
        let role = match member {
            Some(member) if member == self.own => "own",
            Some(FAR) => "far",
            _ => "other",
        };
        format!("{role}{}", pod.trim_start_matches(|letter: char| letter.is_alphabetic()))
    }

    /// Who a backend saw, when this pod or (none) a process of the node asked.
    pub fn client_of(&self, address: &str, asker: Option<[IpAddr; 2]>) -> String {
        let Ok(address) = address.parse::<IpAddr>() else { return address.to_owned() };
        if asker.is_some_and(|own| own.contains(&address)) {
            return "the pod".into();
        }
        let roles = [(self.own, "its node"), (self.other(), "the other node"), (FAR, "the far node")];
        let node = roles.into_iter().find(|(index, _)| self.cluster.members[*index].owns(address));
        node.map_or_else(|| address.to_string(), |(_, role)| role.to_owned())
    }
}

/// A case's place: its side and its number, from which every address and port follows.
#[derive(Clone, Copy)]
pub struct At<'a> {
    pub side: Side<'a>,
    pub number: u8,
}

/// The addresses of service `k` (0..4) of a case, IPv4 and IPv6.
impl At<'_> {
    fn block(&self, k: u8) -> u8 {
        4 * u8::try_from(self.side.own).unwrap_or_default() + k
    }

    pub fn cluster_ips(&self, k: u8) -> [String; 2] {
        let (block, last) = (self.block(k), self.number + 1);
        [format!("10.96.{}.{last}", 16 + block), format!("fd00:96::{:x}:{last:x}", 1 + block)]
    }

    pub fn external_ips(&self, k: u8) -> [String; 2] {
        let (block, last) = (self.block(k), self.number + 1);
        [format!("198.18.{block}.{last}"), format!("2001:db8:1:{block:x}::{last:x}")]
    }

    pub fn balancer_ips(&self, k: u8) -> [String; 2] {
        let (block, last) = (self.block(k), self.number + 1);
        [format!("198.19.{block}.{last}"), format!("2001:db8:2:{block:x}::{last:x}")]
    }

    pub fn node_port(&self, k: u8, port: u16) -> u16 {
        30_000 + 200 * u16::from(self.block(k)) + 2 * u16::from(self.number) + port
    }

    pub fn health_port(&self) -> u16 {
        32_000 + 200 * u16::try_from(self.side.own).unwrap_or_default() + u16::from(self.number)
    }

    /// The object's name: unique over sides and cases.
    pub fn name(&self, name: &str) -> String {
        format!("{}-{}-{name}", ["a", "b"][self.side.own], self.number)
    }

    /// Service `k` with these members of `spec` over the ordinary ones: ClusterIP of IPv4, port `main` 80 to 8080.
    pub fn service(&self, name: &str, k: u8, spec: Value) -> Value {
        let dual = spec["ipFamilies"].as_array().map_or(1, Vec::len) == 2;
        let ips = self.cluster_ips(k);
        let ips = if dual { &ips[..] } else { &ips[..1] };
        let mut service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": self.name(name), "namespace": NAMESPACE},
            "spec": {
                "type": "ClusterIP", "clusterIP": ips[0], "clusterIPs": ips, "ipFamilyPolicy": if dual { "RequireDualStack" } else { "SingleStack" },
                "ports": [{"name": "main", "protocol": "TCP", "port": 80, "targetPort": 8080}],
            },
        });
        merge(&mut service["spec"], &spec);
        if spec["ipFamilies"] == json!(["IPv6"]) {
            let six = &self.cluster_ips(k)[1];
            service["spec"]["clusterIP"] = json!(six);
            service["spec"]["clusterIPs"] = json!([six]);
        }
        if matches!(service["spec"]["type"].as_str(), Some("NodePort" | "LoadBalancer"))
            && spec["allocateLoadBalancerNodePorts"] != json!(false)
        {
            for (number, port) in (0..).zip(service["spec"]["ports"].as_array_mut().into_iter().flatten()) {
                port["nodePort"] = json!(self.node_port(k, number));
            }
        }
        service
    }

    /// A slice of IPv4 (`family` 0) or IPv6 (1) of a service, with the port `main` at 8080 unless `ports` says otherwise.
    pub fn slice(&self, service: &str, suffix: &str, family: usize, endpoints: &[Endpoint]) -> Value {
        let endpoints: Vec<Value> = endpoints.iter().map(|endpoint| endpoint.object(&self.side, family)).collect();
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": (["IPv4", "IPv6"][family]),
            "metadata": {
                "name": format!("{}-{suffix}", self.name(service)), "namespace": NAMESPACE,
                "labels": {"kubernetes.io/service-name": self.name(service)},
            },
            "endpoints": endpoints, "ports": [{"name": "main", "protocol": "TCP", "port": 8080}],
        })
    }
}

/// An endpoint by its role: `own`, `other` or `far`, and its number.
#[derive(Clone)]
pub struct Endpoint {
    role: &'static str,
    number: usize,
    /// Merged over the endpoint's object, in order; names of zones and nodes in hints are roles.
    over: Vec<Value>,
}

pub const fn own(number: usize) -> Endpoint {
    Endpoint { role: "own", number, over: Vec::new() }
}

pub const fn other(number: usize) -> Endpoint {
    Endpoint { role: "other", number, over: Vec::new() }
}

pub const fn far(number: usize) -> Endpoint {
    Endpoint { role: "far", number, over: Vec::new() }
}

impl Endpoint {
    fn with(mut self, over: Value) -> Self {
        self.over.push(over);
        self
    }

    pub fn unready(self) -> Self {
        self.with(json!({"conditions": {"ready": false, "serving": false}}))
    }

    /// Not ready, but still serving while it terminates.
    pub fn terminating(self) -> Self {
        self.with(json!({"conditions": {"ready": false, "serving": true, "terminating": true}}))
    }

    /// It terminates and serves nobody.
    pub fn gone(self) -> Self {
        self.with(json!({"conditions": {"ready": false, "serving": false, "terminating": true}}))
    }

    /// No `conditions` at all: ready, by the meaning of their absence.
    pub fn unsaid(self) -> Self {
        self.with(json!({"conditions": null}))
    }

    /// No `nodeName`: nobody's own.
    pub fn of_no_node(self) -> Self {
        self.with(json!({"nodeName": null}))
    }

    pub fn for_zones(self, roles: &[&str]) -> Self {
        let zones: Vec<Value> = roles.iter().map(|role| json!({"name": format!("zone of {role}")})).collect();
        self.with(json!({"hints": {"forZones": zones}}))
    }

    pub fn for_nodes(self, roles: &[&str]) -> Self {
        let nodes: Vec<Value> = roles.iter().map(|role| json!({"name": format!("node of {role}")})).collect();
        self.with(json!({"hints": {"forNodes": nodes}}))
    }

    fn object(&self, side: &Side<'_>, family: usize) -> Value {
        let index = index_of(self.role, side);
        let address = side.cluster.members[index].pod_addresses(PODS[index][self.number - 1])[family];
        let mut object = json!({"addresses": [address], "conditions": {"ready": true}, "nodeName": NODES[index]});
        self.over.iter().for_each(|over| merge(&mut object, over));
        for (hints, words, names) in [("forZones", "zone of ", ZONES), ("forNodes", "node of ", NODES)] {
            for hint in object["hints"][hints].as_array_mut().into_iter().flatten() {
                let role =
                    hint["name"].as_str().and_then(|name| name.strip_prefix(words)).unwrap_or_default().to_owned();
                hint["name"] = json!(names[index_of(&role, side)]);
            }
        }
        if object["hints"].is_null() {
            object.as_object_mut().map(|object| object.remove("hints"));
        }
        object
    }
}

fn index_of(role: &str, side: &Side<'_>) -> usize {
    match role {
        "own" => side.own,
        "other" => side.other(),
        _ => FAR,
    }
}

/// RFC 7386, but for lists, which replace.
pub fn merge(onto: &mut Value, patch: &Value) {
    match (onto, patch) {
        (Value::Object(onto), Value::Object(patch)) => {
            for (key, value) in patch {
                if value.is_null() {
                    onto.remove(key);
                } else {
                    merge(onto.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (onto, patch) if patch.is_null() => drop(onto.take()),
        (onto, patch) => *onto = patch.clone(),
    }
}
