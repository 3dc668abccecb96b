//! The server at `metricsBindAddress`: `/metrics`, `/healthz`, `/proxyMode`, `/configz`.

use std::sync::{Arc, Mutex, PoisonError};

use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::{CONTENT_TYPE, Metrics};
use crate::surface::http::{Reply, not_found, reply};

/// Answers.
#[derive(Clone)]
pub struct Pages {
    metrics: Metrics,
    /// To the loop: a scrape is to be answered, tell what is.
    observe: mpsc::Sender<oneshot::Sender<()>>,
    /// What `/proxyMode` says. Who reads it (Kubernetes' own tests, support scripts) knows three words and asks which of their
    /// behaviours to expect: the mode whose rules hold here.
    proxy_mode: &'static str,
    configz: Configz,
}

/// What `/configz` says: JSON, replaced when the configuration is.
#[derive(Clone)]
pub struct Configz(Arc<Mutex<Arc<str>>>);

impl Configz {
    /// The configuration as it holds, in kube-proxy's form.
    pub fn new(effective: &Value) -> Self {
        Self(Arc::new(Mutex::new(page(effective))))
    }

    /// Another configuration holds.
    pub fn replace(&self, effective: &Value) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = page(effective);
    }

    fn page(&self) -> Arc<str> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// By the name of its group (component-base, configz).
fn page(effective: &Value) -> Arc<str> {
    json!({ "kubeproxy.config.k8s.io": effective }).to_string().into()
}

impl Pages {
    /// See the fields.
    pub fn new(
        metrics: Metrics,
        observe: mpsc::Sender<oneshot::Sender<()>>,
        proxy_mode: &'static str,
        configz: Configz,
    ) -> Self {
        Self { metrics, observe, proxy_mode, configz }
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
            "/proxyMode" => reply(StatusCode::OK, PLAIN, self.proxy_mode),
            "/configz" => reply(StatusCode::OK, "application/json", self.configz.page().as_bytes().to_vec()),
            _ => not_found(),
        }
    }
}
