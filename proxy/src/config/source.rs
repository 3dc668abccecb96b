//! Where the daemon's facts come from.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Where kubelet puts a pod's credentials (client-go, rest.InClusterConfig).
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Where a pod finds the API server.
const SERVICE_HOST: &str = "KUBERNETES_SERVICE_HOST";
const SERVICE_PORT: &str = "KUBERNETES_SERVICE_PORT";

/// One source; never two.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceConfig {
    /// A directory of Kubernetes YAML. Absolute; exists.
    Directory(PathBuf),
    /// A Kubernetes API server.
    Kubernetes(KubernetesConfig),
}

/// How the API server is reached.
#[derive(Clone, Debug, PartialEq)]
pub struct KubernetesConfig {
    /// With neither this nor `master` the pod's own credentials are used.
    pub kubeconfig: Option<PathBuf>,
    /// URL that overrides the one in `kubeconfig`; alone: no credentials.
    pub master: Option<String>,
    /// Requests a second, on average. 0 or less: without limit.
    pub qps: f32,
    /// Requests that may be sent at once after a pause.
    pub burst: u32,
}

/// What the command line and the configuration file say about sources.
#[derive(Clone, Debug)]
pub struct Asked {
    /// `--source`.
    pub directory: Option<PathBuf>,
    /// `--kubeconfig`, or the file's `clientConnection.kubeconfig`, under the name it was given by.
    pub kubeconfig: Option<(&'static str, PathBuf)>,
    /// `--master`.
    pub master: Option<String>,
    /// `clientConnection.qps`.
    pub qps: f32,
    /// `clientConnection.burst`.
    pub burst: u32,
}

impl SourceConfig {
    /// Decides; refuses two at once, and none.
    pub fn decide(asked: Asked) -> Result<Self> {
        let pod = PodCredentials::look(Path::new(SERVICE_ACCOUNT), |name| std::env::var_os(name).is_some());
        decide(asked, &pod)
    }
}

impl std::fmt::Display for SourceConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "directory {}", path.display()),
            Self::Kubernetes(KubernetesConfig { kubeconfig: Some(path), master: None, .. }) => {
                write!(f, "Kubernetes by {}", path.display())
            }
            Self::Kubernetes(KubernetesConfig { master: Some(url), .. }) => write!(f, "Kubernetes at {url}"),
            Self::Kubernetes(_) => f.write_str("Kubernetes by the pod's credentials"),
        }
    }
}

/// Whether this process runs in a pod that may speak to its API server; else what is missing.
struct PodCredentials {
    missing: Vec<String>,
}

impl PodCredentials {
    fn look(service_account: &Path, is_set: impl Fn(&str) -> bool) -> Self {
        let token = service_account.join("token");
        let mut missing = Vec::new();
        if !token.exists() {
            missing.push(token.display().to_string());
        }
        missing.extend([SERVICE_HOST, SERVICE_PORT].iter().filter(|name| !is_set(name)).map(|name| format!("${name}")));
        Self { missing }
    }
}

fn decide(asked: Asked, pod: &PodCredentials) -> Result<SourceConfig> {
    let Asked { directory, kubeconfig, master, qps, burst } = asked;
    let kubernetes = kubeconfig.as_ref().map(|(name, _)| *name).or(master.as_ref().map(|_| "--master"));
    if let Some(directory) = directory {
        if let Some(kubernetes) = kubernetes {
            bail!(
                "--source {} and {kubernetes} are both given: a proxy has one source; leave one out",
                directory.display()
            );
        }
        return self::directory(&directory).map(SourceConfig::Directory);
    }
    if kubernetes.is_none() && !pod.missing.is_empty() {
        bail!(
            "no source of Services is given: --source DIR for a directory of YAML, --kubeconfig FILE for an API server \
             (this is no pod with credentials of its own: without {})",
            pod.missing.join(", ")
        );
    }
    if let Some((name, path)) = &kubeconfig
        && let Err(error) = fs::File::open(path)
    {
        bail!("{name} {}: {error}", path.display());
    }
    let kubeconfig = kubeconfig.map(|(_, path)| path);
    Ok(SourceConfig::Kubernetes(KubernetesConfig { kubeconfig, master, qps, burst }))
}

fn directory(given: &Path) -> Result<PathBuf> {
    let path = fs::canonicalize(given)
        .with_context(|| format!("--source {}: make the directory, it may be empty", given.display()))?;
    if !path.is_dir() {
        bail!("--source {}: not a directory", path.display());
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Asked {
        Asked { directory: None, kubeconfig: None, master: None, qps: 5.0, burst: 10 }
    }

    fn nowhere() -> PodCredentials {
        PodCredentials::look(Path::new("/nowhere"), |_| false)
    }

    fn in_a_pod() -> PodCredentials {
        PodCredentials { missing: Vec::new() }
    }

    #[test]
    fn one_source_is_taken_two_or_none_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("kubeconfig");
        fs::write(&file, "").unwrap();
        let from_files = Asked { directory: Some(directory.path().into()), ..asked() };
        let from_api = Asked { kubeconfig: Some(("--kubeconfig", file.clone())), ..asked() };

        let expected = SourceConfig::Directory(fs::canonicalize(directory.path()).unwrap());
        // A pod's credentials are there without being asked for: what is asked for wins.
        assert_eq!(decide(from_files.clone(), &in_a_pod()).unwrap(), expected);
        let SourceConfig::Kubernetes(kubernetes) = decide(from_api.clone(), &in_a_pod()).unwrap() else { panic!() };
        assert_eq!(kubernetes.kubeconfig, Some(file.clone()));
        let SourceConfig::Kubernetes(kubernetes) = decide(asked(), &in_a_pod()).unwrap() else { panic!() };
        assert_eq!(kubernetes.kubeconfig, None);
        let alone = Asked { master: Some("http://127.0.0.1:8080".into()), ..asked() };
        assert!(matches!(decide(alone, &nowhere()).unwrap(), SourceConfig::Kubernetes(_)));

        let both = Asked { directory: from_files.directory, ..from_api };
        let error = decide(both, &nowhere()).unwrap_err().to_string();
        assert!(error.ends_with("and --kubeconfig are both given: a proxy has one source; leave one out"), "{error}");
        let error = decide(asked(), &nowhere()).unwrap_err().to_string();
        assert_eq!(
            error,
            "no source of Services is given: --source DIR for a directory of YAML, --kubeconfig FILE for an API server \
             (this is no pod with credentials of its own: without /nowhere/token, $KUBERNETES_SERVICE_HOST, \
             $KUBERNETES_SERVICE_PORT)"
        );
        let missing = Asked { kubeconfig: Some(("clientConnection.kubeconfig", "/nowhere/at/all".into())), ..asked() };
        let error = decide(missing, &nowhere()).unwrap_err().to_string();
        assert!(error.starts_with("clientConnection.kubeconfig /nowhere/at/all: No such file"), "{error}");
    }
}
