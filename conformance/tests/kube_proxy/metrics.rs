//! The names that dashboards and alerts know: metrics with their types, and the paths beside them.

use fairlead_conformance::snapshot::Snapshot;

use super::health;
use super::stage::Stage;

/// What readers of kube-proxy know. The rest is Go's, or of libraries that it does not use.
const KNOWN: [&str; 4] = ["kubeproxy_", "kubernetes_", "process_", "rest_client_"];
const SERVER: &str = "http://127.0.0.1:10249";

/// Each metric's name, with its type and its help as value; and what the other paths say.
pub fn facts(stage: &Stage) -> [Snapshot; 2] {
    stage.sides().map(|side| {
        let mut facts = Snapshot::default();
        let place = &side.member().node;
        let (status, _, body) = health::get(place, &format!("{SERVER}/metrics"));
        facts.add("metrics status", status);
        let is_known = |name: &str| KNOWN.iter().any(|known| name.starts_with(known));
        let said = |kind: &str| -> Vec<(&str, &str)> {
            let lines = body.lines().filter_map(|line| line.strip_prefix(kind)?.split_once(' '));
            lines.filter(|(name, _)| is_known(name)).collect()
        };
        for (name, kind) in said("# TYPE ") {
            facts.add(format!("metric {name} type"), kind);
        }
        for (name, help) in said("# HELP ") {
            facts.add(format!("metric {name} help"), help);
        }
        for path in ["proxyMode", "healthz"] {
            health::tell(&mut facts, path, health::get(place, &format!("{SERVER}/{path}")));
        }
        let (status, headers, _) = health::get(place, &format!("{SERVER}/configz"));
        facts.add("configz status", status);
        for (name, value) in headers {
            facts.add(format!("configz header {name}"), value);
        }
        facts
    })
}
