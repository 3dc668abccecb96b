//! The source: whether what it needs can be had.

use std::time::Duration;

use http::Request;
use tokio::time::timeout;

use super::Finding;
use crate::config::{Config, KubernetesConfig, SourceConfig};
use crate::convert::Rules;
use crate::convert::api::Collection;
use crate::sources::kubernetes::client::Client;

/// How long an answer is waited for.
const LIMIT: Duration = Duration::from_secs(15);

pub fn source(config: &Config) -> Vec<Finding> {
    match &config.source {
        SourceConfig::Directory(path) => vec![match std::fs::read_dir(path) {
            Ok(_) => Finding::good("source", format!("directory {}", path.display())),
            Err(error) => Finding::bad("source", format!("directory {} cannot be read: {error}", path.display()), ""),
        }],
        SourceConfig::Kubernetes(kubernetes) => {
            match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => {
                    let findings = runtime.block_on(server(kubernetes));
                    runtime.shutdown_background();
                    findings
                }
                Err(error) => vec![Finding::bad("source", format!("the API server cannot be asked: {error}"), "")],
            }
        }
    }
}

async fn server(config: &KubernetesConfig) -> Vec<Finding> {
    const WHAT: &str = "API server";
    let client = match Client::new(config).await {
        Ok(client) => client,
        Err(failure) => {
            return vec![Finding::bad(WHAT, failure.to_string(), "see the kubeconfig, or the pod's service account")];
        }
    };
    let (mut heard, mut findings) = (Vec::new(), Vec::new());
    for collection in [Collection::Services, Collection::Slices, Collection::Nodes] {
        let (path, query) = collection.request(&Rules::default());
        let request = Request::get(format!("{path}?{query}&limit=1")).body(Vec::new());
        let Ok(request) = request else { continue };
        match timeout(LIMIT, client.send(request)).await {
            Ok(Ok(_)) => heard.push(collection.name()),
            Ok(Err(failure)) => {
                let to_do = "the proxy's user needs to get, list and watch services, endpointslices (discovery.k8s.io) and nodes";
                findings.push(Finding::bad(WHAT, format!("{} cannot be listed: {failure}", collection.name()), to_do));
            }
            Err(_) => {
                let found = format!("{} gave no answer within {} s", client.server(), LIMIT.as_secs());
                findings.push(Finding::bad(
                    WHAT,
                    found,
                    "see the address, and the way to it: it must not be a Service's",
                ));
                break;
            }
        }
    }
    if !heard.is_empty() {
        findings.insert(0, Finding::good(WHAT, format!("{} lists {}", client.server(), heard.join(", "))));
    }
    findings
}
