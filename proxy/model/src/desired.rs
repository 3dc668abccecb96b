//! What the tables should say, without slots and regions: those are `ids`' matter.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use fairlead_ebpf_shared::FrontendKey;

use crate::facts::ObjectName;

/// Every frontend with its backends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// By key.
    pub frontends: BTreeMap<FrontendKey, DesiredFrontend>,
}

/// One frontend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredFrontend {
    /// The service that it belongs to.
    pub service: ObjectName,
    /// The name of the service's port; may be empty.
    pub port: String,
    /// Ascending, each once. Empty: refuse.
    pub backends: Vec<SocketAddr>,
}
