//! Topology: hints for zones and for nodes, and when they do not count.

use serde_json::json;

use super::super::play::{Case, Step, step};
use super::super::side::{At, Endpoint, far, other, own};

pub const CASES: &[Case] = &[
    ("zones", |at| made(at, &[own(1).for_zones(&["own"]), other(1).for_zones(&["other"]), far(1).for_zones(&["far"])])),
    ("zones, another's endpoint for ours", |at| {
        made(at, &[own(1).for_zones(&["other"]), other(1).for_zones(&["own"]), far(1).for_zones(&["far", "own"])])
    }),
    ("zones, one without", |at| made(at, &[own(1).for_zones(&["own"]), other(1).for_zones(&["other"]), far(1)])),
    ("zones, none for ours", |at| made(at, &[own(1).for_zones(&["other"]), other(1).for_zones(&["other"])])),
    ("zones, an unready one without", |at| {
        made(at, &[own(1).for_zones(&["own"]), other(1).for_zones(&["other"]), far(1).unready()])
    }),
    ("zones, ours is ending", |at| {
        made(at, &[own(1).terminating().for_zones(&["own"]), other(1).for_zones(&["other"])])
    }),
    ("zones, all ending", |at| {
        made(at, &[own(1).terminating().for_zones(&["own"]), other(1).terminating().for_zones(&["other"])])
    }),
    ("nodes", |at| made(at, &[own(1).for_nodes(&["own"]), other(1).for_nodes(&["other"]), far(1).for_nodes(&["far"])])),
    ("nodes, one without", |at| made(at, &[own(1).for_nodes(&["own"]), other(1).for_nodes(&["other"]), far(1)])),
    ("nodes before zones", |at| {
        let both = |endpoint: Endpoint, zone, node| endpoint.for_zones(&[zone]).for_nodes(&[node]);
        made(at, &[both(own(1), "own", "own"), both(own(2), "own", "far"), both(other(1), "other", "other")])
    }),
    ("nodes for nobody here, zones for us", |at| {
        let both = |endpoint: Endpoint, zone, node| endpoint.for_zones(&[zone]).for_nodes(&[node]);
        made(at, &[both(own(1), "own", "far"), both(other(1), "other", "other")])
    }),
    ("zones and node ports", |at| {
        let service = at.service("web", 0, json!({"type": "NodePort"}));
        vec![step(
            "made",
            [service, at.slice("web", "1", 0, &[own(1).for_zones(&["own"]), other(1).for_zones(&["other"])])],
        )]
    }),
    ("hints come and go", |at| {
        vec![
            step("none", [at.service("web", 0, json!({})), at.slice("web", "1", 0, &[own(1), other(1)])]),
            step("zones", [at.slice("web", "1", 0, &[own(1).for_zones(&["own"]), other(1).for_zones(&["other"])])]),
            step("none again", [at.slice("web", "1", 0, &[own(1), other(1)])]),
        ]
    }),
];

fn made(at: &At<'_>, endpoints: &[Endpoint]) -> Vec<Step> {
    vec![step("made", [at.service("web", 0, json!({})), at.slice("web", "1", 0, endpoints)])]
}
