//! The server at `metricsBindAddress`: `/metrics`, `/healthz`, `/proxyMode`, `/configz`.

use std::sync::Arc;

use hyper::StatusCode;
use tokio::sync::{mpsc, oneshot};

use super::{CONTENT_TYPE, Metrics};
use crate::surface::http::{Reply, not_found, reply};

/// What `/proxyMode` says. Who reads it (Kubernetes' own tests, support scripts) knows three words and asks which of their
/// behaviours to expect; ours are those of nftables mode: NodePorts at the primary addresses, a refusal at an undefined port
/// of a known ClusterIP, no `route_localnet`.
pub const PROXY_MODE: &str = "nftables";

/// Answers.
#[derive(Clone)]
pub struct Pages {
    metrics: Metrics,
    /// To the loop: a scrape is to be answered, tell what is.
    observe: mpsc::Sender<oneshot::Sender<()>>,
    configz: Arc<str>,
}

impl Pages {
    /// `configz` is JSON.
    pub fn new(metrics: Metrics, observe: mpsc::Sender<oneshot::Sender<()>>, configz: impl Into<Arc<str>>) -> Self {
        Self { metrics, observe, configz: configz.into() }
    }

    /// The answer to `path`.
    pub async fn answer(&self, path: &str) -> Reply {
        const PLAIN: &str = "text/plain; charset=utf-8";
        match path {
            "/metrics" => {
                let (done, wait) = oneshot::channel();
                // A loop that is ending observes nothing more; what was counted is still worth telling.
                if self.observe.send(done).await.is_ok() {
                    let _ = wait.await;
                }
                reply(StatusCode::OK, CONTENT_TYPE, self.metrics.text())
            }
            "/healthz" => reply(StatusCode::OK, PLAIN, "ok"),
            "/proxyMode" => reply(StatusCode::OK, PLAIN, PROXY_MODE),
            "/configz" => reply(StatusCode::OK, "application/json", self.configz.as_bytes().to_vec()),
            _ => not_found(),
        }
    }
}
