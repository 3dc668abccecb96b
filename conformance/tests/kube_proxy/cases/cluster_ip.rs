//! ClusterIPs: families, protocols, ports, affinity, and who is not ours to serve.

use serde_json::json;

use super::super::play::{Case, step};
use super::super::side::{far, other, own};
use super::{dual, port, with};

pub const CASES: &[Case] = &[
    ("one endpoint", |at| vec![step("made", [at.service("web", 0, json!({})), at.slice("web", "1", 0, &[other(1)])])]),
    ("endpoints everywhere", |at| {
        vec![step("made", [at.service("web", 0, json!({})), at.slice("web", "1", 0, &[own(1), other(1), far(1)])])]
    }),
    ("no slice", |at| vec![step("made", [at.service("web", 0, json!({}))])]),
    ("empty slice", |at| vec![step("made", [at.service("web", 0, json!({})), at.slice("web", "1", 0, &[])])]),
    ("dual stack", |at| {
        let slices = [0, 1].map(|family| at.slice("web", ["4", "6"][family], family, &[own(1), other(2)]));
        let [four, six] = slices;
        vec![step("made", [at.service("web", 0, json!({"ipFamilies": dual()})), four, six])]
    }),
    ("dual stack, endpoints of one family", |at| {
        vec![step("made", [at.service("web", 0, json!({"ipFamilies": dual()})), at.slice("web", "6", 1, &[own(1)])])]
    }),
    ("IPv6 alone", |at| {
        let service = at.service("web", 0, json!({"ipFamilies": ["IPv6"]}));
        vec![step("made", [service, at.slice("web", "6", 1, &[own(1), other(1)])])]
    }),
    ("UDP", |at| {
        let service = at.service("dns", 0, json!({"ports": [port("main", "UDP", 53)]}));
        let slice = with(at.slice("dns", "1", 0, &[own(1), far(1)]), json!({"ports": [port("main", "UDP", 8080)]}));
        vec![step("made", [service, slice])]
    }),
    ("UDP without endpoints", |at| {
        vec![step("made", [at.service("dns", 0, json!({"ports": [port("main", "UDP", 53)]}))])]
    }),
    ("one number, two protocols", |at| {
        let service = at.service("dns", 0, json!({"ports": [port("tcp", "TCP", 53), port("udp", "UDP", 53)]}));
        let ports = json!({"ports": [port("tcp", "TCP", 8080), port("udp", "UDP", 8081)]});
        vec![step("made", [service, with(at.slice("dns", "1", 0, &[own(1), other(1)]), ports)])]
    }),
    ("several ports, one without endpoints", |at| {
        let ports = json!({"ports": [port("a", "TCP", 80), port("b", "TCP", 8000), port("c", "TCP", 9000)]});
        let slice = json!({"ports": [port("a", "TCP", 8080), port("b", "TCP", 9090), port("d", "TCP", 8081)]});
        vec![step("made", [at.service("web", 0, ports), with(at.slice("web", "1", 0, &[own(2), other(1)]), slice)])]
    }),
    ("a port without a name", |at| {
        let service = at.service("web", 0, json!({"ports": [{"protocol": "TCP", "port": 80}]}));
        let slice =
            with(at.slice("web", "1", 0, &[own(1)]), json!({"ports": [{"name": "", "protocol": "TCP", "port": 8080}]}));
        vec![step("made", [service, slice])]
    }),
    ("affinity switched on and off", |at| {
        let slice = at.slice("web", "1", 0, &[own(1), other(1), far(1)]);
        let on = json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 600}}});
        vec![
            step("made", [at.service("web", 0, json!({})), slice]),
            // Which one a client sticks to is by lot: one endpoint, then, for whoever asks from now on.
            step("on, one endpoint", [at.service("web", 0, on.clone()), at.slice("web", "1", 0, &[own(1)])]),
            step("more endpoints", [at.slice("web", "1", 0, &[own(1), other(1), far(1)])]),
            step("its endpoint gone", [at.slice("web", "1", 0, &[other(1)])]),
            step("off", [at.service("web", 0, json!({})), at.slice("web", "1", 0, &[own(1), other(1)])]),
        ]
    }),
    ("affinity of two ports", |at| {
        let on = json!({
            "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 600}},
            "ports": [port("tcp", "TCP", 80), port("udp", "UDP", 80)]
        });
        let ports = json!({"ports": [port("tcp", "TCP", 8080), port("udp", "UDP", 8080)]});
        let slice = |endpoints: &[_]| with(at.slice("web", "1", 0, endpoints), ports.clone());
        vec![
            step("one endpoint", [at.service("web", 0, on), slice(&[other(1)])]),
            step("more endpoints", [slice(&[own(1), other(1), far(1)])]),
        ]
    }),
    ("another proxy's", |at| {
        let plain = at.service("web", 0, json!({}));
        let foreign =
            with(plain.clone(), json!({"metadata": {"labels": {"service.kubernetes.io/service-proxy-name": "x"}}}));
        vec![
            step("labelled", [foreign.clone(), at.slice("web", "1", 0, &[own(1)])]),
            step("label taken away", [plain]),
            step("labelled again", [foreign]),
        ]
    }),
    ("headless made a service and back", |at| {
        let headless = json!({"clusterIP": "None", "clusterIPs": ["None"]});
        let slice = at.slice("web", "1", 0, &[own(1)]);
        let labelled = with(slice.clone(), json!({"metadata": {"labels": {"service.kubernetes.io/headless": ""}}}));
        let served = at.service("web", 0, json!({}));
        vec![
            step("headless", [at.service("web", 0, headless), labelled]),
            step("deleted", []).and_delete(&served),
            step("with an address", [served, slice]),
        ]
    }),
    ("external addresses", |at| {
        let both = at.external_ips(0);
        let spec = json!({"ipFamilies": dual(), "externalIPs": both, "ports": [port("tcp", "TCP", 80), port("udp", "UDP", 80)]});
        let ports = json!({"ports": [port("tcp", "TCP", 8080), port("udp", "UDP", 8080)]});
        let slices =
            [0, 1].map(|family| with(at.slice("web", ["4", "6"][family], family, &[own(1), other(1)]), ports.clone()));
        let [four, six] = slices;
        vec![
            step("made", [at.service("web", 0, spec.clone()), four, six]),
            step("taken away", [at.service("web", 0, with(spec, json!({"externalIPs": []})))]),
        ]
    }),
    ("external address without endpoints", |at| {
        let [four, _] = at.external_ips(0);
        vec![step("made", [at.service("web", 0, json!({"externalIPs": [four]}))])]
    }),
];
