//! Services that change what they are.

use serde_json::json;

use super::super::play::{Case, step};
use super::super::side::{far, other, own};
use super::{dual, ingress, port, with};

pub const CASES: &[Case] = &[
    ("type changes", |at| {
        let [ip, _] = at.balancer_ips(0);
        let slice = at.slice("web", "1", 0, &[own(1), other(1)]);
        let balancer = ingress(at.service("web", 0, json!({"type": "LoadBalancer"})), json!([{"ip": ip}]));
        vec![
            step("ClusterIP", [at.service("web", 0, json!({})), slice]),
            step("NodePort", [at.service("web", 0, json!({"type": "NodePort"}))]),
            step("LoadBalancer", [balancer]),
            step("ClusterIP again", [ingress(at.service("web", 0, json!({})), json!([]))]),
        ]
    }),
    ("ExternalName and back", |at| {
        let served = at.service("web", 0, json!({}));
        let name = with(
            served.clone(),
            json!({"spec": {"type": "ExternalName", "externalName": "a.example", "clusterIP": null, "clusterIPs": null, "ipFamilyPolicy": null}}),
        );
        vec![
            step("ClusterIP", [served.clone(), at.slice("web", "1", 0, &[own(1), other(1)])]),
            step("ExternalName", [name]),
            step("ClusterIP again", [served]),
        ]
    }),
    ("port changed", |at| {
        let service = |number: u16| at.service("web", 0, json!({"ports": [port("main", "TCP", number)]}));
        vec![
            step("80", [service(80), at.slice("web", "1", 0, &[own(1), other(1)])]),
            step("8000", [service(8000)]),
            step("80 again", [service(80)]),
        ]
    }),
    ("target port changed", |at| {
        let slice = |number: u16| {
            with(at.slice("web", "1", 0, &[own(1), other(1)]), json!({"ports": [port("main", "TCP", number)]}))
        };
        vec![
            step("8080", [at.service("web", 0, json!({})), slice(8080)]),
            step("8081", [slice(8081)]),
            step("nobody there", [slice(7)]),
        ]
    }),
    ("port renamed", |at| {
        let service = |name: &str| at.service("web", 0, json!({"ports": [port(name, "TCP", 80)]}));
        let slice = |name: &str| with(at.slice("web", "1", 0, &[own(1)]), json!({"ports": [port(name, "TCP", 8080)]}));
        vec![
            step("a", [service("a"), slice("a")]),
            step("b, the slice not yet", [service("b")]),
            step("b", [slice("b")]),
        ]
    }),
    ("ports added and taken away", |at| {
        let service = |ports: &[serde_json::Value]| at.service("web", 0, json!({"ports": ports}));
        let slice = with(
            at.slice("web", "1", 0, &[own(1), other(1)]),
            json!({"ports": [port("a", "TCP", 8080), port("b", "TCP", 8081), port("c", "UDP", 8080)]}),
        );
        let [a, b, c] = [port("a", "TCP", 80), port("b", "TCP", 8000), port("c", "UDP", 53)];
        vec![
            step("one", [service(std::slice::from_ref(&a)), slice]),
            step("three", [service(&[a, b.clone(), c.clone()])]),
            step("two others", [service(&[b, c])]),
        ]
    }),
    ("protocol changed", |at| {
        let service = |protocol: &str| at.service("web", 0, json!({"ports": [port("main", protocol, 80)]}));
        let slice =
            |protocol: &str| with(at.slice("web", "1", 0, &[own(1)]), json!({"ports": [port("main", protocol, 8080)]}));
        vec![step("TCP", [service("TCP"), slice("TCP")]), step("UDP", [service("UDP"), slice("UDP")])]
    }),
    ("deleted", |at| {
        let service = at.service("web", 0, json!({"type": "NodePort", "externalIPs": [(&at.external_ips(0)[0])]}));
        vec![
            step("made", [service.clone(), at.slice("web", "1", 0, &[own(1), other(1)])]),
            step("the service", []).and_delete(&service),
            step("made again", [service]),
        ]
    }),
    ("deleted with its slices", |at| {
        let (service, slice) = (at.service("web", 0, json!({})), at.slice("web", "1", 0, &[own(1)]));
        vec![step("made", [service.clone(), slice.clone()]), step("both", []).and_delete(&slice).and_delete(&service)]
    }),
    ("an address changes hands", |at| {
        let first = at.service("one", 0, json!({}));
        let second = at.service("two", 0, json!({}));
        vec![
            step(
                "the first",
                [first.clone(), at.slice("one", "1", 0, &[own(1)]), at.slice("two", "1", 0, &[other(1)])],
            ),
            step("nobody", []).and_delete(&first),
            step("the second", [second]),
        ]
    }),
    ("an external address changes hands", |at| {
        let [ip, _] = at.external_ips(0);
        let with_it = |name: &str, k: u8| at.service(name, k, json!({"externalIPs": [ip]}));
        let without = |name: &str, k: u8| at.service(name, k, json!({}));
        vec![
            step(
                "the first",
                [
                    with_it("one", 0),
                    without("two", 1),
                    at.slice("one", "1", 0, &[own(1)]),
                    at.slice("two", "1", 0, &[other(1)]),
                ],
            ),
            step("nobody", [without("one", 0)]),
            step("the second", [with_it("two", 1)]),
        ]
    }),
    ("a second family", |at| {
        let slices = [0, 1].map(|family| at.slice("web", ["4", "6"][family], family, &[own(1), far(1)]));
        let [four, six] = slices;
        vec![
            step("IPv4", [at.service("web", 0, json!({"ipFamilies": ["IPv4"]})), four, six]),
            step("both", [at.service("web", 0, json!({"ipFamilies": dual()}))]),
        ]
    }),
];
