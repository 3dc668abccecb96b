//! Traffic policies: internal and external, Cluster and Local, with endpoints here, elsewhere, ending and absent.

use serde_json::{Value, json};

use super::super::play::{Case, Step, step};
use super::super::side::{At, Endpoint, far, other, own};
use super::{dual, port, with};

pub const CASES: &[Case] = &[
    ("internal Local, here and elsewhere", |at| internal(at, &[own(1), own(2), other(1)])),
    ("internal Local, elsewhere", |at| internal(at, &[other(1), far(1)])),
    ("internal Local, nowhere", |at| internal(at, &[])),
    ("internal Local, ending here", |at| internal(at, &[own(1).terminating(), other(1)])),
    ("internal Local, gone here", |at| internal(at, &[own(1).gone(), other(1).terminating()])),
    ("internal Local, on no node", |at| internal(at, &[own(1).of_no_node(), other(1)])),
    ("internal Local, ready and ending here", |at| internal(at, &[own(1), own(2).terminating()])),
    ("external Local, here and elsewhere", |at| external(at, &[own(1), other(1), far(1)])),
    ("external Local, here", |at| external(at, &[own(1), own(2)])),
    ("external Local, elsewhere", |at| external(at, &[other(1)])),
    ("external Local, far", |at| external(at, &[far(1), far(2)])),
    ("external Local, nowhere", |at| external(at, &[])),
    ("external Local, ending here", |at| external(at, &[own(1).terminating(), other(1)])),
    ("external Local, ending everywhere", |at| external(at, &[own(1).terminating(), other(1).terminating()])),
    ("UDP, internal Local", |at| {
        let spec = json!({"internalTrafficPolicy": "Local", "ports": [port("main", "UDP", 53)]});
        let slice = |endpoints: &[Endpoint]| {
            with(at.slice("dns", "1", 0, endpoints), json!({"ports": [port("main", "UDP", 8080)]}))
        };
        vec![
            step("here", [at.service("dns", 0, spec), slice(&[own(1), other(1)])]),
            step("elsewhere", [slice(&[other(1)])]),
            step("nowhere", [slice(&[])]),
        ]
    }),
    ("both Local", |at| {
        let spec = json!({"type": "NodePort", "externalTrafficPolicy": "Local", "internalTrafficPolicy": "Local"});
        vec![
            step("here", [at.service("web", 0, spec), at.slice("web", "1", 0, &[own(1), other(1)])]),
            step("elsewhere", [at.slice("web", "1", 0, &[other(1)])]),
        ]
    }),
    ("policies change", |at| {
        let service = |external: &str, internal: &str| {
            at.service(
                "web",
                0,
                json!({"type": "NodePort", "externalTrafficPolicy": external, "internalTrafficPolicy": internal}),
            )
        };
        vec![
            step("Cluster", [service("Cluster", "Cluster"), at.slice("web", "1", 0, &[own(1), other(1)])]),
            step("internal Local", [service("Cluster", "Local")]),
            step("both Local", [service("Local", "Local")]),
            step("external Local", [service("Local", "Cluster")]),
            step("Cluster again", [service("Cluster", "Cluster")]),
        ]
    }),
    ("external address, Local", |at| {
        let [four, _] = at.external_ips(0);
        let spec = json!({"type": "NodePort", "externalTrafficPolicy": "Local", "externalIPs": [four]});
        vec![
            step("here", [at.service("web", 0, spec), at.slice("web", "1", 0, &[own(1), other(1)])]),
            step("elsewhere", [at.slice("web", "1", 0, &[other(1), far(1)])]),
            step("nowhere", [at.slice("web", "1", 0, &[])]),
        ]
    }),
];

fn internal(at: &At<'_>, endpoints: &[Endpoint]) -> Vec<Step> {
    vec![step(
        "made",
        [at.service("web", 0, json!({"internalTrafficPolicy": "Local"})), at.slice("web", "1", 0, endpoints)],
    )]
}

/// A balancer's addresses and node ports, and the port for its health checks.
fn external(at: &At<'_>, endpoints: &[Endpoint]) -> Vec<Step> {
    let spec = json!({
        "type": "LoadBalancer", "externalTrafficPolicy": "Local", "ipFamilies": dual(),
        "healthCheckNodePort": at.health_port()
    });
    let entries: Vec<Value> = at.balancer_ips(0).iter().map(|ip| json!({"ip": ip, "ipMode": "VIP"})).collect();
    let service = super::ingress(at.service("web", 0, spec), json!(entries));
    vec![step("made", [service, at.slice("web", "4", 0, endpoints), at.slice("web", "6", 1, endpoints)])]
}
