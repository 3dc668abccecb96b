//! Load balancers' addresses: modes, source ranges, health checks.

use serde_json::{Value, json};

use super::super::play::{Case, Step, step};
use super::super::side::{At, far, other, own};
use super::{dual, ingress};

pub const CASES: &[Case] = &[
    ("balancer", |at| {
        let service = at.service("web", 0, json!({"type": "LoadBalancer", "ipFamilies": dual()}));
        let entries: Vec<Value> = at.balancer_ips(0).iter().map(|ip| json!({"ip": ip})).collect();
        let slices = [0, 1].map(|family| at.slice("web", ["4", "6"][family], family, &[own(1), other(1)]));
        let [four, six] = slices;
        vec![step("made", [ingress(service, json!(entries)), four, six])]
    }),
    ("balancer as a proxy", |at| {
        let [ip, _] = at.balancer_ips(0);
        let mode = |mode: &str| {
            let service = at.service("web", 0, json!({"type": "LoadBalancer"}));
            ingress(service, json!([{"ip": ip, "ipMode": mode}]))
        };
        vec![
            step("Proxy", [mode("Proxy"), at.slice("web", "1", 0, &[own(1), other(1)])]),
            step("VIP", [mode("VIP")]),
            step("Proxy again", [mode("Proxy")]),
        ]
    }),
    ("balancer by name", |at| {
        let service = at.service("web", 0, json!({"type": "LoadBalancer"}));
        vec![step("made", [ingress(service, json!([{"hostname": "a.example"}])), at.slice("web", "1", 0, &[own(1)])])]
    }),
    ("balancer without endpoints", |at| {
        let [ip, _] = at.balancer_ips(0);
        let service = at.service("web", 0, json!({"type": "LoadBalancer"}));
        vec![step("made", [ingress(service, json!([{"ip": ip}]))])]
    }),
    ("balancer without node ports", |at| {
        let [ip, _] = at.balancer_ips(0);
        let service = at.service("web", 0, json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false}));
        vec![step("made", [ingress(service, json!([{"ip": ip}])), at.slice("web", "1", 0, &[own(1), far(1)])])]
    }),
    ("balancer's address comes and goes", |at| {
        let [ip, _] = at.balancer_ips(0);
        let service = at.service("web", 0, json!({"type": "LoadBalancer"}));
        vec![
            step("none", [service.clone(), at.slice("web", "1", 0, &[own(1), other(1)])]),
            step("there", [ingress(service.clone(), json!([{"ip": ip}]))]),
            step("gone", [ingress(service, json!([]))]),
        ]
    }),
    ("ranges with pods and nodes", |at| ranges(at, json!(["10.244.0.0/16", "172.30.0.0/24"]))),
    ("ranges with pods", |at| ranges(at, json!(["10.244.0.0/16"]))),
    ("ranges with nodes", |at| ranges(at, json!(["172.30.0.0/24"]))),
    ("ranges with strangers", |at| ranges(at, json!(["192.0.2.0/24", "2001:db8:9::/48"]))),
    ("ranges with everybody", |at| ranges(at, json!(["0.0.0.0/0"]))),
    ("ranges change", |at| {
        let there = |ranges: Value| {
            let [ip, _] = at.balancer_ips(0);
            let service = at.service("web", 0, json!({"type": "LoadBalancer", "loadBalancerSourceRanges": ranges}));
            ingress(service, json!([{"ip": ip}]))
        };
        vec![
            step("strangers", [there(json!(["192.0.2.0/24"])), at.slice("web", "1", 0, &[own(1)])]),
            step("pods", [there(json!(["10.244.0.0/16"]))]),
            step("none", [there(json!([]))]),
        ]
    }),
    ("ranges, both families", |at| {
        let spec = json!({
            "type": "LoadBalancer", "ipFamilies": dual(),
            "loadBalancerSourceRanges": ["10.244.0.0/16", "192.0.2.0/24", "2001:db8:9::/48"]
        });
        let entries: Vec<Value> = at.balancer_ips(0).iter().map(|ip| json!({"ip": ip})).collect();
        let slices = [0, 1].map(|family| at.slice("web", ["4", "6"][family], family, &[own(1), other(1)]));
        let [four, six] = slices;
        vec![step("made", [ingress(at.service("web", 0, spec), json!(entries)), four, six])]
    }),
    ("balancer on the node's own address", |at| {
        let [ip, _] = at.side.member().addresses();
        let port = json!([{"name": "main", "protocol": "TCP", "port": 7000 + u16::from(at.number)}]);
        let service = at.service("web", 0, json!({"type": "LoadBalancer", "ports": port}));
        vec![step("made", [ingress(service, json!([{"ip": ip}])), at.slice("web", "1", 0, &[other(1), far(1)])])]
    }),
    ("health checks follow the endpoints", |at| {
        let spec =
            json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": at.health_port()});
        let [ip, _] = at.balancer_ips(0);
        let service = ingress(at.service("web", 0, spec), json!([{"ip": ip}]));
        vec![
            step("two here", [service.clone(), at.slice("web", "1", 0, &[own(1), own(2), other(1)])]),
            step("one here", [at.slice("web", "1", 0, &[own(1), other(1)])]),
            step("none here", [at.slice("web", "1", 0, &[other(1)])]),
            step("deleted", []).and_delete(&service),
        ]
    }),
];

fn ranges(at: &At<'_>, ranges: Value) -> Vec<Step> {
    let [ip, _] = at.balancer_ips(0);
    let service = at.service("web", 0, json!({"type": "LoadBalancer", "loadBalancerSourceRanges": ranges}));
    vec![step("made", [ingress(service, json!([{"ip": ip}])), at.slice("web", "1", 0, &[own(1), other(1)])])]
}
