//! Health over HTTP: status, headers that mean something, and the body without its times.

use std::time::Duration;

use fairlead_conformance::lab::Place;
use fairlead_conformance::limit::patience;
use fairlead_conformance::snapshot::Snapshot;
use serde_json::Value;

use super::side::Side;

/// Headers that a load balancer reads.
const HEADERS: [&str; 3] = ["content-type", "x-content-type-options", "x-load-balancing-endpoint-weight"];

/// What a GET gave: status, headers, body. An error is its own words.
pub fn get(place: &Place, url: &str) -> (String, Vec<(String, String)>, String) {
    let asked = place.enter(|| {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).proxy(None);
        let agent = agent.timeout_global(Some(patience(2).max(Duration::from_secs(2)))).build().new_agent();
        let mut response = agent.get(url).call()?;
        let header = |name: &&str| Some(((*name).to_owned(), response.headers().get(*name)?.to_str().ok()?.to_owned()));
        let headers = HEADERS.iter().filter_map(header).collect();
        Ok((response.status().as_u16().to_string(), headers, response.body_mut().read_to_string()?))
    });
    asked.unwrap_or_else(|error: anyhow::Error| {
        let refused = format!("{error:#}").to_lowercase().contains("refused");
        (if refused { "refused".to_owned() } else { format!("{error:#}") }, Vec::new(), String::new())
    })
}

/// A service's health-check port at both addresses of the node.
pub fn of_service(facts: &mut Snapshot, key: &str, side: &Side<'_>, port: u16) {
    for (family, address) in [4, 6].into_iter().zip(side.member().addresses()) {
        let url = format!("http://{}/healthz", std::net::SocketAddr::new(address, port));
        tell(facts, &format!("{key}{family}"), get(&side.member().node, &url));
    }
}

/// One answer as facts. Times differ, and names that carry the side.
pub fn tell(facts: &mut Snapshot, key: &str, answer: (String, Vec<(String, String)>, String)) {
    let (status, headers, body) = answer;
    facts.add(format!("{key} status"), status);
    for (name, value) in headers {
        facts.add(format!("{key} header {name}"), value);
    }
    match serde_json::from_str::<Value>(&body) {
        Ok(mut value) => {
            forget_times(&mut value);
            if let Some(name) =
                value["service"]["name"].as_str().map(|name| name.trim_start_matches(['a', 'b']).to_owned())
            {
                value["service"]["name"] = Value::from(name);
            }
            facts.add_json(&format!("{key} body"), &value);
        }
        Err(_) => facts.add(format!("{key} body"), body.trim_end()),
    }
}

fn forget_times(value: &mut Value) {
    for (key, value) in value.as_object_mut().into_iter().flatten() {
        match key.as_str() {
            "lastUpdated" | "currentTime" => *value = Value::from("a time"),
            _ => forget_times(value),
        }
    }
}
