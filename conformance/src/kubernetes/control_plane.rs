//! etcd and kube-apiserver on one node of the lab, up in seconds. Nothing else of Kubernetes runs: what a controller or a
//! kubelet would write, the judge writes itself.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::{Api, Certificates};
use crate::lab::{Job, Node, Running};
use crate::limit::{patience, until};
use crate::peers;

/// Where ClusterIPs come from.
pub const SERVICE_CIDRS: &str = "10.96.0.0/16,fd00:96::/108";
const PORT: u16 = 6443;
const TOKEN: &str = "token-of-the-lab";

/// A control plane; dropped, its processes end.
#[derive(Debug)]
pub struct ControlPlane {
    node: Node,
    certificates: Certificates,
    url: String,
    api: Api,
    server: Option<Running>,
    _etcd: Running,
}

impl ControlPlane {
    /// Starts both on `node`, which has these addresses (the first is the one that is advertised), and waits until the API
    /// server says that it is ready.
    pub fn start(node: &Node, addresses: &[IpAddr]) -> Result<Self> {
        let bin = peers::kubernetes_bin()?;
        let Some(address) = addresses.first() else { bail!("an API server needs an address") };
        let certificates = Certificates::make(&node.dir().join("pki"), addresses)?;
        node.write("pki/tokens.csv", format!("{TOKEN},admin,admin,\"system:masters\"\n"))?;
        let etcd = Job::new(bin.join("etcd"))
            .arg("--data-dir")
            .arg(node.dir().join("etcd"))
            .args(["--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379"])
            .args(["--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380"])
            .args(["--initial-cluster=default=http://127.0.0.1:2380", "--unsafe-no-fsync", "--log-level=warn"]);
        let etcd = node.start(&etcd).context("start etcd")?;
        let url = format!("https://{}", std::net::SocketAddr::new(*address, PORT));
        let api = Api::new(node, &url, &certificates.authority, TOKEN)?;
        let mut plane = Self { node: node.clone(), certificates, url, api, server: None, _etcd: etcd };
        plane.write_kubeconfigs()?;
        plane.start_server()?;
        Ok(plane)
    }

    /// Starts the API server, again after [`ControlPlane::kill_server`], and waits until it is ready.
    pub fn start_server(&mut self) -> Result<()> {
        let bin = peers::kubernetes_bin()?;
        let files = &self.certificates;
        let address = self.url.trim_start_matches("https://").trim_end_matches(&format!(":{PORT}"));
        let with = |flag: &str, file: &Path| format!("--{flag}={}", file.display());
        let job = Job::new(bin.join("kube-apiserver"))
            .args(["--etcd-servers=http://127.0.0.1:2379", "--bind-address=::", "--authorization-mode=AlwaysAllow"])
            .arg(format!("--secure-port={PORT}"))
            .arg(format!("--advertise-address={}", address.trim_matches(['[', ']'])))
            .arg(format!("--service-cluster-ip-range={SERVICE_CIDRS}"))
            .arg(with("cert-dir", &self.node.dir().join("pki/own")))
            .arg(with("tls-cert-file", &files.server))
            .arg(with("tls-private-key-file", &files.server_key))
            .arg(with("client-ca-file", &files.authority))
            .arg(with("token-auth-file", &self.node.dir().join("pki/tokens.csv")))
            .arg(with("service-account-key-file", &files.token_public))
            .arg(with("service-account-signing-key-file", &files.token_key))
            .args(["--service-account-issuer=https://kubernetes.default.svc", "--enable-priority-and-fairness=false"])
            .args(["--max-requests-inflight=0", "--max-mutating-requests-inflight=0", "--profiling=false"]);
        let mut server = self.node.start(&job).context("start kube-apiserver")?;
        until("the API server to be ready", patience(60), || {
            if !server.is_alive()? {
                bail!("kube-apiserver ended:\n{}", server.stderr_text()?);
            }
            Ok(matches!(self.api.get("/readyz"), Ok((200, _))).then_some(()))
        })?;
        self.server = Some(server);
        Ok(())
    }

    /// Kills the API server; etcd and with it every object remains.
    pub fn kill_server(&mut self) -> Result<()> {
        match self.server.take() {
            Some(mut server) => server.kill(),
            None => bail!("the API server does not run"),
        }
    }

    /// The judge's own client.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// A kubeconfig with a token; every node sees it under this path.
    pub fn kubeconfig(&self) -> PathBuf {
        self.node.dir().join("pki/token.kubeconfig")
    }

    /// A kubeconfig with a client certificate.
    pub fn kubeconfig_by_certificate(&self) -> PathBuf {
        self.node.dir().join("pki/certificate.kubeconfig")
    }

    fn write_kubeconfigs(&self) -> Result<()> {
        let files = &self.certificates;
        let by_token = json!({"token": TOKEN});
        let by_certificate = json!({"client-certificate": files.client, "client-key": files.client_key});
        for (path, user) in [(self.kubeconfig(), by_token), (self.kubeconfig_by_certificate(), by_certificate)] {
            // JSON is YAML.
            let config = json!({
                "apiVersion": "v1", "kind": "Config", "current-context": "lab",
                "clusters": [{"name": "lab", "cluster": {"server": self.url, "certificate-authority": files.authority}}],
                "users": [{"name": "admin", "user": user}],
                "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "admin"}}],
            });
            fs::write(&path, config.to_string()).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(())
    }
}
