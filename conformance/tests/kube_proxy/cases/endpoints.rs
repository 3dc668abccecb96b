//! Endpoints: their conditions, and slices that come, go, overlap and disagree.

use serde_json::json;

use super::super::play::{Case, step};
use super::super::side::{far, other, own};
use super::{port, with};

pub const CASES: &[Case] = &[
    ("one is not ready", |at| {
        vec![step(
            "made",
            [at.service("web", 0, json!({})), at.slice("web", "1", 0, &[own(1), own(2).unready(), other(1)])],
        )]
    }),
    ("none is ready", |at| {
        vec![step(
            "made",
            [at.service("web", 0, json!({})), at.slice("web", "1", 0, &[own(1).unready(), other(1).unready()])],
        )]
    }),
    ("nothing said is ready", |at| {
        vec![step(
            "made",
            [at.service("web", 0, json!({})), at.slice("web", "1", 0, &[own(1).unsaid(), other(1).unready()])],
        )]
    }),
    ("terminating beside ready", |at| {
        vec![step(
            "made",
            [at.service("web", 0, json!({})), at.slice("web", "1", 0, &[own(1), other(1).terminating()])],
        )]
    }),
    ("terminating only", |at| {
        let slice = |endpoints: &[_]| at.slice("web", "1", 0, endpoints);
        vec![
            step(
                "made",
                [
                    at.service("web", 0, json!({})),
                    slice(&[own(1).terminating(), other(1).terminating(), far(1).gone()]),
                ],
            ),
            step("a ready one comes", [slice(&[own(1).terminating(), other(1).terminating(), far(1)])]),
            step("all gone", [slice(&[own(1).gone(), other(1).gone(), far(1).gone()])]),
        ]
    }),
    ("several slices", |at| {
        let service = at.service("web", 0, json!({}));
        let slices = [
            at.slice("web", "1", 0, &[own(1)]),
            at.slice("web", "2", 0, &[other(1)]),
            at.slice("web", "3", 0, &[far(1)]),
        ];
        let [one, two, three] = slices;
        vec![
            step("made", [service, one, two.clone(), three]),
            step("one deleted", []).and_delete(&two),
            step("it comes again with another", [at.slice("web", "2", 0, &[other(2)])]),
        ]
    }),
    ("several slices, ports of their own", |at| {
        let service = at.service("web", 0, json!({}));
        let there = |suffix: &str, endpoint, number: u16| {
            with(at.slice("web", suffix, 0, &[endpoint]), json!({"ports": [port("main", "TCP", number)]}))
        };
        vec![
            step("made", [service, there("1", own(1), 8080), there("2", other(1), 8081), there("3", far(1), 9090)]),
            // Nobody listens there.
            step("one with a wrong number", [there("2", other(1), 7)]),
        ]
    }),
    ("the same endpoint twice", |at| {
        let service = at.service("web", 0, json!({}));
        vec![
            step(
                "ready and terminating",
                [
                    service,
                    at.slice("web", "1", 0, &[own(1).terminating(), other(1)]),
                    at.slice("web", "2", 0, &[own(1)]),
                ],
            ),
            step("the ready one goes", []).and_delete(&at.slice("web", "2", 0, &[])),
            step("ready in both", [at.slice("web", "1", 0, &[own(1), other(1)]), at.slice("web", "2", 0, &[own(1)])]),
        ]
    }),
    ("an endpoint moves to another slice", |at| {
        let service = at.service("web", 0, json!({}));
        vec![
            step("made", [service, at.slice("web", "1", 0, &[own(1), other(1)]), at.slice("web", "2", 0, &[far(1)])]),
            step("moved", [at.slice("web", "2", 0, &[far(1), own(1)]), at.slice("web", "1", 0, &[other(1)])]),
            step(
                "moved back, deleted first",
                [at.slice("web", "2", 0, &[far(1)]), at.slice("web", "1", 0, &[other(1), own(1)])],
            ),
        ]
    }),
    ("a slice goes to another service", |at| {
        let services = [at.service("web", 0, json!({})), at.service("two", 1, json!({}))];
        let [web, two] = services;
        let slice = at.slice("web", "1", 0, &[own(1), other(1)]);
        let labelled =
            with(slice.clone(), json!({"metadata": {"labels": {"kubernetes.io/service-name": at.name("two")}}}));
        vec![step("made", [web, two, slice]), step("relabelled", [labelled])]
    }),
    ("slices before their service", |at| {
        vec![
            step("slices", [at.slice("web", "1", 0, &[own(1), far(1)])]),
            step("the service", [at.service("web", 0, json!({}))]),
        ]
    }),
    ("a slice of names", |at| {
        let names = json!({"addressType": "FQDN", "endpoints": [{"addresses": ["a.example"]}]});
        vec![step(
            "made",
            [
                at.service("web", 0, json!({})),
                with(at.slice("web", "n", 0, &[]), names),
                at.slice("web", "1", 0, &[own(1)]),
            ],
        )]
    }),
    ("a slice without ports", |at| {
        let none = with(at.slice("web", "n", 0, &[other(1)]), json!({"ports": []}));
        let all = with(at.slice("web", "a", 0, &[other(2)]), json!({"ports": [{"name": "main", "protocol": "TCP"}]}));
        vec![step("made", [at.service("web", 0, json!({})), none, all, at.slice("web", "1", 0, &[own(1)])])]
    }),
    ("everybody replaced", |at| {
        vec![
            step("made", [at.service("web", 0, json!({})), at.slice("web", "1", 0, &[own(1), other(1)])]),
            step("others", [at.slice("web", "1", 0, &[own(2), other(2), far(2)])]),
            step("nobody", [at.slice("web", "1", 0, &[])]),
            step("one", [at.slice("web", "1", 0, &[far(1)])]),
        ]
    }),
    ("everybody replaced, UDP", |at| {
        let service = at.service("dns", 0, json!({"ports": [port("main", "UDP", 53)]}));
        let slice =
            |endpoints: &[_]| with(at.slice("dns", "1", 0, endpoints), json!({"ports": [port("main", "UDP", 8080)]}));
        vec![
            step("made", [service, slice(&[own(1), other(1)])]),
            step("others", [slice(&[own(2), far(2)])]),
            step("nobody", [slice(&[])]),
        ]
    }),
];
