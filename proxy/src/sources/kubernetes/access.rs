//! Where the API server is and who we are: a pod's own credentials, or a kubeconfig with a token, a client certificate or a
//! program that gives either.
//!
//! `kube` reads them. What is made by hand is the connection under them, so that a server that is gone without a word is
//! noticed in 45 s at the latest: HTTP/2 with pings where the server has it, TCP probes and a limit for unacknowledged bytes
//! in any case. And what it says about errors is passed on only where it cannot hold a secret.

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderValue, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::Config;
use kube::client::{AuthError, ConfigExt};
use kube::config::{ExecInteractiveMode, InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use tower::util::BoxCloneService;
use tower::{BoxError, Layer, ServiceExt};

use super::failure::Failure;
use crate::config::KubernetesConfig;

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// A connection that has been quiet for this long is probed …
const PROBE_AFTER: Duration = Duration::from_secs(30);
/// … and given up if this long nothing comes back. (As client-go, net/http.go of apimachinery.)
const PROBE_LIMIT: Duration = Duration::from_secs(15);

/// Takes requests for paths and sends them to the server, with credentials.
pub type Service = BoxCloneService<Request<Full<Bytes>>, Response<Incoming>, BoxError>;

/// A way to the server.
pub struct Way {
    /// See [`Service`].
    pub service: Service,
    /// The server's address.
    pub server: Uri,
    /// Where the bearer token is read before each request: whoever put it there replaces it before it expires.
    pub token_file: Option<PathBuf>,
}

/// Reads what there is to read. Runs no program.
pub async fn read(config: &KubernetesConfig) -> Result<Config, Failure> {
    match (&config.kubeconfig, &config.master) {
        (None, None) => Config::incluster_env().map_err(in_cluster),
        (None, Some(master)) => Ok(Config::new(url(master)?)),
        (Some(path), master) => {
            let about = |error| Failure::Access(format!("kubeconfig {}: {}", path.display(), told(error)));
            let mut kubeconfig = Kubeconfig::read_from(path).map_err(about)?;
            if kubeconfig.clusters.iter().flat_map(|named| &named.cluster).any(|cluster| cluster.proxy_url.is_some()) {
                let text = "proxy-url is not supported: a node's proxy speaks to its API server directly; remove it";
                return Err(Failure::Access(format!("kubeconfig {}: {text}", path.display())));
            }
            for user in kubeconfig.auth_infos.iter_mut().flat_map(|named| &mut named.auth_info) {
                if let Some(exec) = &mut user.exec {
                    // There is nobody to answer its questions.
                    exec.interactive_mode = Some(ExecInteractiveMode::Never);
                }
            }
            let options = KubeConfigOptions::default();
            let mut read = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(about)?;
            if let Some(master) = master {
                read.cluster_url = url(master)?;
            }
            Ok(read)
        }
    }
}

/// Makes the way to the server. May run a program that gives credentials, and waits for it.
pub fn make(mut config: Config) -> Result<Way, Failure> {
    // Read before each request instead: `kube` takes the token with the line's end that many files have, and prefers a
    // fixed token to it, which is the other way round in client-go (tools/clientcmd/api, AuthInfo.TokenFile).
    let token_file = config.auth_info.token_file.take().map(PathBuf::from);
    if token_file.is_some() {
        config.auth_info.token = None;
    }
    let auth = config.auth_layer().map_err(credentials)?;
    let headers = config.extra_headers_layer().map_err(credentials)?;
    let tls = config.rustls_client_config().map_err(credentials)?;

    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_LIMIT));
    tcp.set_keepalive(Some(PROBE_AFTER));
    tcp.set_keepalive_interval(Some(PROBE_LIMIT / 3));
    tcp.set_keepalive_retries(Some(3));
    tcp.set_tcp_user_timeout(Some(PROBE_AFTER + PROBE_LIMIT));
    let mut https = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    if let Some(name) = &config.tls_server_name {
        let name = name
            .clone()
            .try_into()
            .map_err(|_| Failure::Access(format!("tls-server-name: {name:?} is neither a name nor an address")))?;
        https = https.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    let client = HyperClient::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .http2_keep_alive_interval(PROBE_AFTER)
        .http2_keep_alive_timeout(PROBE_LIMIT)
        .http2_keep_alive_while_idle(true)
        .build(https.enable_all_versions().wrap_connector(tcp));
    let client = headers.layer(client).map_err(BoxError::from);
    let base = config.base_uri_layer();
    let service = match auth {
        Some(auth) => BoxCloneService::new(base.layer(auth.layer(client)).map_err(BoxError::from)),
        None => BoxCloneService::new(base.layer(client)),
    };
    Ok(Way { service, server: config.cluster_url, token_file })
}

/// The header for a token.
pub fn bearer(token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// An error of a request that was not answered.
pub fn unanswered(error: &BoxError) -> Failure {
    match error.downcast_ref::<AuthError>() {
        Some(error) => Failure::Access(about_auth(error)),
        None => Failure::connection(&**error),
    }
}

fn url(master: &str) -> Result<Uri, Failure> {
    let with_scheme = if master.contains("://") { master.to_owned() } else { format!("http://{master}") };
    let uri: Uri = with_scheme
        .parse()
        .map_err(|error| Failure::Access(format!("--master {master:?} is no URL of a server: {error}")))?;
    match uri.scheme_str() {
        Some("http" | "https") if uri.host().is_some() => Ok(uri),
        _ => Err(Failure::Access(format!("--master {master:?} is no URL of a server: write http(s)://host:port"))),
    }
}

/// Parsers quote what they do not understand, which may be a password.
fn told(error: KubeconfigError) -> String {
    match error {
        KubeconfigError::Parse(error) => match error.location() {
            Some(at) => format!("line {}, column {}: not as a kubeconfig must be", at.line(), at.column()),
            None => "not as a kubeconfig must be".to_owned(),
        },
        KubeconfigError::CurrentContextNotSet => "current-context is not set".to_owned(),
        KubeconfigError::ReadConfig(error, _) => error.to_string(),
        other => other.to_string(),
    }
}

fn in_cluster(error: InClusterError) -> Failure {
    Failure::Access(format!("the pod's credentials cannot be used: {error}; else give --kubeconfig"))
}

fn credentials(error: kube::Error) -> Failure {
    Failure::Access(match &error {
        kube::Error::Auth(error) => about_auth(error),
        kube::Error::InferKubeconfig(KubeconfigError::Parse(_)) => "not as a kubeconfig must be".to_owned(),
        error => error.to_string(),
    })
}

/// The program prints credentials, so nothing of what it prints is told.
fn about_auth(error: &AuthError) -> String {
    match error {
        AuthError::AuthExecRun { out, .. } => {
            format!("the program that gives credentials (exec of the kubeconfig) failed: {}", out.status)
        }
        AuthError::AuthExecStart(error) => {
            format!("the program that gives credentials (exec of the kubeconfig) cannot be started: {error}")
        }
        AuthError::AuthExecParse(_) | AuthError::ParseTokenKey(_) => {
            "the program that gives credentials (exec of the kubeconfig) does not print an ExecCredential".to_owned()
        }
        other => other.to_string(),
    }
}
