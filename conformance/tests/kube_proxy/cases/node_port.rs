//! Node ports, asked at the own node's addresses, at another node's and at loopback addresses.

use serde_json::json;

use super::super::play::{Case, step};
use super::super::side::{far, other, own};
use super::{dual, port, with};

pub const CASES: &[Case] = &[
    ("node port", |at| {
        let service = at.service("web", 0, json!({"type": "NodePort", "ipFamilies": dual()}));
        vec![step(
            "made",
            [service, at.slice("web", "4", 0, &[own(1), other(1)]), at.slice("web", "6", 1, &[own(2), far(1)])],
        )]
    }),
    ("node port, UDP", |at| {
        let service = at.service("dns", 0, json!({"type": "NodePort", "ports": [port("main", "UDP", 53)]}));
        let slice = with(at.slice("dns", "1", 0, &[own(1), far(1)]), json!({"ports": [port("main", "UDP", 8080)]}));
        vec![step("made", [service, slice])]
    }),
    ("node port without endpoints", |at| vec![step("made", [at.service("web", 0, json!({"type": "NodePort"}))])]),
    ("node ports of two ports", |at| {
        let service =
            at.service("web", 0, json!({"type": "NodePort", "ports": [port("a", "TCP", 80), port("b", "TCP", 81)]}));
        let slice = with(
            at.slice("web", "1", 0, &[own(1), other(1)]),
            json!({"ports": [port("a", "TCP", 8080), port("b", "TCP", 9090)]}),
        );
        vec![step("made", [service, slice])]
    }),
    ("node port changed", |at| {
        let service = at.service("web", 0, json!({"type": "NodePort"}));
        let moved = json!([{"name": "main", "protocol": "TCP", "port": 80, "nodePort": at.node_port(0, 1)}]);
        let changed = with(service.clone(), json!({"spec": {"ports": moved}}));
        vec![step("made", [service, at.slice("web", "1", 0, &[own(1), other(1)])]), step("changed", [changed])]
    }),
    ("node port with affinity", |at| {
        let spec = json!({"type": "NodePort", "sessionAffinity": "ClientIP"});
        vec![
            step("one endpoint", [at.service("web", 0, spec), at.slice("web", "1", 0, &[other(1)])]),
            step("more endpoints", [at.slice("web", "1", 0, &[own(1), other(1), far(1)])]),
        ]
    }),
];
