//! Writing to an API server: create, replace, patch, delete, and read back. JSON in, JSON out; no watch, no cache.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use ureq::Agent;
use ureq::http::Response;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::lab::Place;
use crate::limit::patience;

/// Kinds that are written, with the path of their group and their plural; `true`: within a namespace.
const KINDS: &[(&str, &str, &str, bool)] = &[
    ("Namespace", "api/v1", "namespaces", false),
    ("Node", "api/v1", "nodes", false),
    ("Service", "api/v1", "services", true),
    ("EndpointSlice", "apis/discovery.k8s.io/v1", "endpointslices", true),
];

/// A client with a token. It connects from its place, whatever thread it is called on.
#[derive(Clone, Debug)]
pub struct Api {
    agent: Agent,
    place: Place,
    url: String,
    authorization: String,
}

impl Api {
    /// `url` like `https://172.30.0.1:6443`; only certificates of `authority` (a PEM file) are trusted.
    pub fn new(place: &Place, url: &str, authority: &Path, token: &str) -> Result<Self> {
        let pem = std::fs::read(authority).with_context(|| format!("read {}", authority.display()))?;
        let trusted = RootCerts::Specific(Arc::new(vec![Certificate::from_pem(&pem).context("read the authority")?]));
        let tls = TlsConfig::builder()
            .root_certs(trusted)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let agent = Agent::config_builder()
            .tls_config(tls.build())
            .http_status_as_error(false)
            .timeout_global(Some(patience(30)))
            .max_idle_connections_per_host(32)
            .max_idle_age(Duration::from_secs(60))
            .proxy(None)
            .build()
            .new_agent();
        Ok(Self { agent, place: place.clone(), url: url.into(), authorization: format!("Bearer {token}") })
    }

    /// Runs `deed` where the client's place is: many calls from one thread cost one visit.
    pub fn visit<T: Send>(&self, deed: impl FnOnce(&Visit<'_>) -> Result<T> + Send) -> Result<T> {
        self.place.enter(|| deed(&Visit(self)))
    }

    /// What is at this path (`/readyz`, `/api/v1/nodes/a`), as text, with the status.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        self.visit(|visit| visit.get(path))
    }

    /// Creates the object, or replaces the one of the same name.
    pub fn put(&self, object: &Value) -> Result<Value> {
        self.visit(|visit| visit.put(object))
    }

    /// Merges into an object (RFC 7386); `part` is empty or a subresource, as in `status`.
    pub fn patch(&self, object: &Value, part: &str, patch: &Value) -> Result<Value> {
        self.visit(|visit| visit.patch(object, part, patch))
    }

    /// Deletes the object of this kind, namespace and name; it may be gone already.
    pub fn delete(&self, object: &Value) -> Result<()> {
        self.visit(|visit| visit.delete(object))
    }
}

/// The client on a thread that is where it connects from.
pub struct Visit<'a>(&'a Api);

impl Visit<'_> {
    /// See [`Api::get`].
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        let request = self.0.agent.get(format!("{}{path}", self.0.url)).header("Authorization", &self.0.authorization);
        let mut response = request.call().with_context(|| format!("get {path}"))?;
        Ok((response.status().as_u16(), response.body_mut().read_to_string().with_context(|| format!("get {path}"))?))
    }

    /// Creates; an object of the same name is an error.
    pub fn create(&self, object: &Value) -> Result<Value> {
        let (collection, name) = path(object)?;
        accept(self.post(&collection, object)?, || format!("create {collection}/{name}"))
    }

    /// Replaces; without a `resourceVersion` whatever is there.
    pub fn replace(&self, object: &Value) -> Result<Value> {
        let (collection, name) = path(object)?;
        accept(self.send_replacement(object)?, || format!("replace {collection}/{name}"))
    }

    /// See [`Api::put`].
    pub fn put(&self, object: &Value) -> Result<Value> {
        // In this order: of a Service that is there, a creation says first that its address is taken.
        let (collection, name) = path(object)?;
        let replaced = self.send_replacement(object)?;
        match replaced.status().as_u16() {
            404 => self.create(object),
            _ => accept(replaced, || format!("replace {collection}/{name}")),
        }
    }

    /// See [`Api::patch`].
    pub fn patch(&self, object: &Value, part: &str, patch: &Value) -> Result<Value> {
        let (collection, name) = path(object)?;
        let part = if part.is_empty() { String::new() } else { format!("/{part}") };
        let request = self.0.agent.patch(format!("{}/{collection}/{name}{part}", self.0.url));
        let request = request.header("Authorization", &self.0.authorization);
        let sent = request.header("Content-Type", "application/merge-patch+json").send(patch.to_string());
        accept(sent?, || format!("patch {collection}/{name}{part}"))
    }

    /// See [`Api::delete`].
    pub fn delete(&self, object: &Value) -> Result<()> {
        let (collection, name) = path(object)?;
        let request = self.0.agent.delete(format!("{}/{collection}/{name}", self.0.url));
        let sent = request.header("Authorization", &self.0.authorization).call()?;
        match sent.status().as_u16() {
            404 => Ok(()),
            _ => accept(sent, || format!("delete {collection}/{name}")).map(drop),
        }
    }

    fn send_replacement(&self, object: &Value) -> Result<Response<ureq::Body>> {
        let (collection, name) = path(object)?;
        let request = self.0.agent.put(format!("{}/{collection}/{name}", self.0.url));
        let sent = request.header("Authorization", &self.0.authorization).send_json(object);
        sent.with_context(|| format!("put {collection}/{name}"))
    }

    fn post(&self, collection: &str, object: &Value) -> Result<Response<ureq::Body>> {
        let request = self.0.agent.post(format!("{}/{collection}", self.0.url));
        let sent = request.header("Authorization", &self.0.authorization).send_json(object);
        sent.with_context(|| format!("post to {collection}"))
    }
}

/// The collection's path, and the name in it.
fn path(object: &Value) -> Result<(String, &str)> {
    let kind = object["kind"].as_str().unwrap_or_default();
    let name = object["metadata"]["name"].as_str().ok_or_else(|| anyhow!("a {kind} without metadata.name"))?;
    let Some((_, group, plural, within)) = KINDS.iter().find(|(known, ..)| *known == kind) else {
        bail!("kind {kind:?} is not one of {:?}", KINDS.iter().map(|(known, ..)| known).collect::<Vec<_>>());
    };
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default");
    let within = if *within { format!("namespaces/{namespace}/") } else { String::new() };
    Ok((format!("{group}/{within}{plural}"), name))
}

/// The object the server answers with; what it refuses is an error with its own words.
fn accept(mut response: Response<ureq::Body>, deed: impl Fn() -> String) -> Result<Value> {
    let status = response.status();
    let body = response.body_mut().read_to_string().with_context(&deed)?;
    if !status.is_success() {
        let message =
            serde_json::from_str::<Value>(&body).ok().and_then(|said| said["message"].as_str().map(str::to_owned));
        bail!("{}: {status}: {}", deed(), message.unwrap_or(body));
    }
    serde_json::from_str(&body).with_context(|| format!("{}: the answer is no JSON", deed()))
}
