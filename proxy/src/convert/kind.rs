//! Which object it is, and where an API server keeps it.

use serde::Deserialize;

/// What an object is, before it is read in full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `v1 Service`.
    Service,
    /// `discovery.k8s.io/v1 EndpointSlice`.
    Slice,
    /// `v1 Node`.
    Node,
    /// `v1 List`: the items say what they are.
    List,
    /// `v1 ServiceList`: the items need not say.
    ServiceList,
    /// `discovery.k8s.io/v1 EndpointSliceList`: the items need not say.
    SliceList,
    /// `v1 NodeList`: the items need not say.
    NodeList,
    /// Anything else.
    Other,
}

/// The two fields that tell the kind of an object; every other field is passed over.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    /// `apiVersion`.
    #[serde(default)]
    pub api_version: Option<String>,
    /// `kind`.
    #[serde(default)]
    pub kind: Option<String>,
}

impl Head {
    /// Which kind it is.
    pub fn kind(&self) -> Kind {
        match (self.api_version.as_deref().unwrap_or(""), self.kind.as_deref().unwrap_or("")) {
            ("v1", "Service") => Kind::Service,
            ("v1", "Node") => Kind::Node,
            ("v1", "List") => Kind::List,
            ("v1", "ServiceList") => Kind::ServiceList,
            ("v1", "NodeList") => Kind::NodeList,
            ("discovery.k8s.io/v1", "EndpointSlice") => Kind::Slice,
            ("discovery.k8s.io/v1", "EndpointSliceList") => Kind::SliceList,
            _ => Kind::Other,
        }
    }

    /// Which kind it is as an item of a list of that kind.
    pub fn kind_within(&self, list: Kind) -> Kind {
        match (list, self.kind()) {
            (Kind::ServiceList, Kind::Other) if self.kind.is_none() => Kind::Service,
            (Kind::SliceList, Kind::Other) if self.kind.is_none() => Kind::Slice,
            (Kind::NodeList, Kind::Other) if self.kind.is_none() => Kind::Node,
            (_, kind) => kind,
        }
    }
}
