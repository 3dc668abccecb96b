//! What the tables should say, without slots and regions: those are `ids`' matter.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use fairlead_ebpf_shared::FrontendKey;

use crate::facts::ObjectName;
use crate::tables::Entry;

/// Every frontend with its backends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// By key.
    pub frontends: BTreeMap<FrontendKey, DesiredFrontend>,
}

impl Desired {
    /// Everything that is desired.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        self.frontends.keys().copied().map(Entry::Frontend)
    }

    /// Whether an entry is desired and, a frontend, has backends.
    #[must_use]
    pub fn leads_somewhere(&self, entry: &Entry) -> bool {
        match entry {
            Entry::Frontend(key) => self.frontends.get(key).is_some_and(|frontend| !frontend.backends.is_empty()),
            Entry::Address(_) => false,
        }
    }
}

/// One frontend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredFrontend {
    /// The service that it belongs to.
    pub service: ObjectName,
    /// The name of the service's port; may be empty.
    pub port: Arc<str>,
    /// Ascending, each once. Empty: refuse.
    pub backends: Vec<SocketAddr>,
}
