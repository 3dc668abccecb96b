//! Requests to the API server, over a way that is made anew when it stops leading there.
//!
//! A kubeconfig, a client certificate and a program's credentials are read when the way is made. So it is made again after a
//! failure that other credentials or another address could mend: whoever replaces them need not restart the daemon.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};
use tower::ServiceExt;

use super::access::{Way, bearer, make, read, unanswered};
use super::failure::Failure;
use super::pace::Budget;
use crate::config::KubernetesConfig;

/// The server must begin to answer within this time.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// A program that gives credentials is waited for so long.
const CREDENTIALS_LIMIT: Duration = Duration::from_secs(60);
/// A way is not made more often than this.
const LEAST_AGE: Duration = Duration::from_secs(1);
/// Of an error's body more is not read.
const ERROR_BYTES: usize = 64 << 10;

/// A request that was answered, or not.
#[derive(Debug)]
pub struct Observation<'a> {
    /// How.
    pub method: &'a Method,
    /// Of the answer; `None`: there was none.
    pub code: Option<u16>,
    /// The server's name or address.
    pub host: &'a str,
    /// Until the answer began.
    pub took: Duration,
}

type Observer = Box<dyn Fn(&Observation<'_>) + Send + Sync>;

/// See the head of the file. A clone is the same client.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    config: KubernetesConfig,
    way: tokio::sync::Mutex<Option<Known>>,
    /// The server, as it was last known.
    server: Mutex<String>,
    budget: Mutex<Budget>,
    observer: OnceLock<Observer>,
}

struct Known {
    way: Way,
    made: Instant,
    /// The token that was read last; its file may vanish for a moment.
    token: Option<HeaderValue>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.server()).finish()
    }
}

impl Client {
    /// Reads the configuration, and refuses what cannot be meant. Connects to nothing yet.
    pub async fn new(config: &KubernetesConfig) -> Result<Self, Failure> {
        let server = read(config).await?.cluster_url.to_string();
        Ok(Self(Arc::new(Inner {
            config: config.clone(),
            way: tokio::sync::Mutex::new(None),
            server: Mutex::new(server),
            budget: Mutex::new(Budget::new(config.qps, config.burst)),
            observer: OnceLock::new(),
        })))
    }

    /// The server's URL, for people.
    pub fn server(&self) -> String {
        self.0.server.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has every request told. The first caller wins.
    pub fn observe(&self, observer: impl Fn(&Observation<'_>) + Send + Sync + 'static) {
        _ = self.0.observer.set(Box::new(observer));
    }

    /// Sends a request for a path and gives the answer if it is a good one. The body of it is the caller's to read, and
    /// to give up.
    pub async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Incoming>, Failure> {
        let turn = self.0.budget.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now());
        sleep(turn).await;
        let begun = Instant::now();
        let outcome = self.exchange(request).await;
        if let Err(failure) = &outcome
            && failure.is_about_access()
        {
            self.distrust(begun).await;
        }
        outcome
    }

    /// Makes the way anew at the next request, unless that has happened since `begun`, or just now.
    pub async fn distrust(&self, begun: Instant) {
        let mut known = self.0.way.lock().await;
        if known.as_ref().is_some_and(|known| known.made <= begun && known.made.elapsed() >= LEAST_AGE) {
            *known = None;
        }
    }

    async fn exchange(&self, request: Request<Vec<u8>>) -> Result<Response<Incoming>, Failure> {
        let (mut parts, body) = request.into_parts();
        let (service, host, token) = {
            let mut known = self.0.way.lock().await;
            if known.is_none() {
                *known = Some(Known { way: self.make().await?, made: Instant::now(), token: None });
            }
            let Some(Known { way, token, .. }) = &mut *known else {
                return Err(Failure::Access("no way to the server".to_owned()));
            };
            if let Some(path) = &way.token_file {
                match (std::fs::read_to_string(path), &token) {
                    (Ok(text), _) => {
                        let unusable = || Failure::Access(format!("{}: not a token", path.display()));
                        *token = Some(bearer(&text).ok_or_else(unusable)?);
                    }
                    (Err(_), Some(_)) => {}
                    (Err(error), None) => {
                        return Err(Failure::Access(format!("read the token {}: {error}", path.display())));
                    }
                }
            }
            (way.service.clone(), way.server.authority().map(|at| at.to_string()).unwrap_or_default(), token.clone())
        };
        let headers = &mut parts.headers;
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("fairlead-proxy/", env!("CARGO_PKG_VERSION"))));
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("application/json"));
        if !body.is_empty() {
            headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        }
        if let Some(token) = token {
            headers.insert(AUTHORIZATION, token);
        }
        let method = parts.method.clone();
        let request = Request::from_parts(parts, Full::new(body.into()));
        let begun = Instant::now();
        let outcome = timeout(ANSWER_LIMIT, service.oneshot(request)).await;
        if let Some(observer) = self.0.observer.get() {
            let code = outcome.as_ref().ok().and_then(|answer| answer.as_ref().ok()).map(|got| got.status().as_u16());
            observer(&Observation { method: &method, code, host: &host, took: begun.elapsed() });
        }
        let response = match outcome {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(unanswered(&error)),
            Err(_) => return Err(Failure::Silence(ANSWER_LIMIT)),
        };
        if response.status().is_success() { Ok(response) } else { Err(refusal(response).await) }
    }

    /// Off the loop: a program that gives credentials may take its time.
    async fn make(&self) -> Result<Way, Failure> {
        let read = read(&self.0.config).await?;
        let made = spawn_blocking(move || make(read));
        let way = match timeout(CREDENTIALS_LIMIT, made).await {
            Ok(Ok(way)) => way?,
            Ok(Err(error)) => return Err(Failure::Access(format!("credentials: {error}"))),
            Err(_) => {
                let text = "the program that gives credentials (exec of the kubeconfig) does not end";
                return Err(Failure::Access(text.to_owned()));
            }
        };
        *self.0.server.lock().unwrap_or_else(PoisonError::into_inner) = way.server.to_string();
        Ok(way)
    }
}

async fn refusal(response: Response<Incoming>) -> Failure {
    let code = response.status().as_u16();
    let asked = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let body = Limited::new(response.into_body(), ERROR_BYTES).collect();
    let body = match timeout(ANSWER_LIMIT, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        _ => Default::default(),
    };
    Failure::refused(code, asked.map(Duration::from_secs), &body)
}
