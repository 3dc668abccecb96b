//! Where facts come from: a directory of Kubernetes YAML, or a Kubernetes API server. One of them, never both.

mod catalog;
pub mod directory;
mod documents;
mod file;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub mod kubernetes;

use std::collections::BTreeSet;

use anyhow::Result;
use fairlead_proxy_model::{Change, ObjectName};
use serde::{Deserialize, Serialize};

use self::directory::Directory;
use self::kubernetes::Kubernetes;
use self::kubernetes::client::Client;
use crate::config::SourceConfig;

/// What the daemon is fed by.
#[derive(Debug)]
pub enum Source {
    /// A directory of files.
    Directory(Directory),
    /// An API server.
    Kubernetes(Kubernetes),
}

impl Source {
    /// Starts to watch. Nothing is there to be loaded yet. Within a runtime of tokio only. `proxy_name`: only Services that
    /// are labelled with it are ours; `None`: those without such a label.
    pub async fn open(config: &SourceConfig, proxy_name: Option<&str>) -> Result<Self> {
        Ok(match config {
            SourceConfig::Directory(path) => Self::Directory(Directory::open(path, proxy_name)?),
            SourceConfig::Kubernetes(config) => Self::Kubernetes(Kubernetes::open(config, proxy_name).await?),
        })
    }

    /// Waits until there is something to load, or a new problem. May be dropped and called again at any time.
    pub async fn changed(&mut self) -> Result<()> {
        match self {
            Self::Directory(directory) => directory.changed().await,
            Self::Kubernetes(kubernetes) => kubernetes.changed().await,
        }
    }

    /// Takes in a bounded number of changes: of up to `at_most` files, about `at_most` of an API server. `true`: there are
    /// more. Does not block.
    pub fn load(&mut self, at_most: usize, changes: &mut Vec<Change>) -> bool {
        match self {
            Self::Directory(directory) => directory.load(at_most, changes),
            Self::Kubernetes(kubernetes) => kubernetes.load(at_most, changes),
        }
    }

    /// Whether everything that was there at the start has been loaded, so that what is not there does not exist. Before that
    /// nothing may be written. Stays so.
    pub fn is_synced(&self) -> bool {
        match self {
            Self::Directory(directory) => directory.is_synced(),
            Self::Kubernetes(kubernetes) => kubernetes.is_synced(),
        }
    }

    /// Whether something that may exist is not known: before the first load is complete, and while a file that was there at
    /// the start has never been understood.
    pub fn is_partial(&self) -> bool {
        match self {
            Self::Directory(directory) => directory.is_partial(),
            Self::Kubernetes(kubernetes) => !kubernetes.is_synced(),
        }
    }

    /// Everything that an operator should know about the source and its objects.
    pub fn problems(&self) -> BTreeSet<Problem> {
        match self {
            Self::Directory(directory) => directory.problems(),
            Self::Kubernetes(kubernetes) => kubernetes.problems(),
        }
    }

    /// The file and line of a service; an API server has none.
    pub fn service_place(&self, name: &ObjectName) -> Option<(&str, u64)> {
        match self {
            Self::Directory(directory) => directory.service_place(name),
            Self::Kubernetes(_) => None,
        }
    }

    /// The file and line of a slice; an API server has none.
    pub fn slice_place(&self, name: &ObjectName) -> Option<(&str, u64)> {
        match self {
            Self::Directory(directory) => directory.slice_place(name),
            Self::Kubernetes(_) => None,
        }
    }

    /// Looks again, whatever was told: at the whole directory, or at a server that failed.
    pub fn rescan(&mut self) {
        match self {
            Self::Directory(directory) => directory.rescan(),
            Self::Kubernetes(kubernetes) => kubernetes.rescan(),
        }
    }

    /// How many files there are; an API server has none.
    pub fn file_count(&self) -> usize {
        match self {
            Self::Directory(directory) => directory.file_count(),
            Self::Kubernetes(_) => 0,
        }
    }

    /// Each watch of an API server: what it watches, and whether it stands.
    pub fn watches(&self) -> Vec<(String, bool)> {
        match self {
            Self::Directory(_) => Vec::new(),
            Self::Kubernetes(kubernetes) => kubernetes.watches(),
        }
    }

    /// Has every restart of a watch told: the name of what it watches, and why in one word.
    pub fn observe_restarts(&self, observer: impl Fn(&'static str, &'static str) + Send + 'static) {
        if let Self::Kubernetes(kubernetes) = self {
            kubernetes.observe_restarts(observer);
        }
    }

    /// The way to the API server, if there is one.
    pub fn client(&self) -> Option<Client> {
        match self {
            Self::Directory(_) => None,
            Self::Kubernetes(kubernetes) => Some(kubernetes.client().clone()),
        }
    }
}

/// Something that an operator should know about the source or its objects. Ordered by file and line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Problem {
    /// The file's name within the directory; empty: the directory itself, or no file in particular.
    pub file: String,
    /// Counted from 1; 0: the whole file.
    pub line: u64,
    /// Counted from 1; 0: the whole line.
    pub column: u64,
    /// How bad it is.
    pub severity: Severity,
    /// The object, the field, what is wrong, and what follows from it.
    pub text: String,
}

/// How bad a [`Problem`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something written is not in force.
    Error,
    /// Something is not served as written.
    Warning,
    /// Good to know; the daemon is not degraded by it.
    Notice,
}

impl Severity {
    /// The name, as JSON has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.file.as_str(), self.line, self.column) {
            ("", ..) => {}
            (file, 0, _) => write!(f, "{file}: ")?,
            (file, line, 0) => write!(f, "{file}:{line}: ")?,
            (file, line, column) => write!(f, "{file}:{line}:{column}: ")?,
        }
        f.write_str(&self.text)
    }
}
