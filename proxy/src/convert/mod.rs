//! Kubernetes objects → facts. The only room that knows the shapes of the Kubernetes API.
//!
//! The shapes are slim: of `v1 Service`, `discovery.k8s.io/v1 EndpointSlice` and `v1 Node` only what decides something here.
//! They are read as people write them (no status, no port name where there is one port, with the defaults that an API server
//! would fill in), as `kubectl get -o yaml` prints them (null for an empty list, lists of mixed kinds), and as an API server
//! sends them; see [`form`]. The rules are the same for all.
//!
//! What an API server would have refused costs no more than itself: a port, an address, an endpoint is left out with one
//! remark, and the rest of the object is served. A [`Fault`] is what leaves nothing to serve.

mod address;
pub mod api;
pub mod event;
mod form;
mod kind;
mod names;
mod node;
mod service;
mod shapes;
mod slice;

#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::sync::Arc;

use fairlead_proxy_model::{Change, NodeFact, ObjectName, Protocol, ServiceFact, SliceFact};
use serde_saphyr::Location;

pub use form::Written;
use form::{Form, Leaf};
pub use kind::{Head, Kind};
use names::Names;
use shapes::Metadata;
pub use shapes::{Node, Service, Slice};

/// What an object turned out to be.
#[derive(Clone, Debug, PartialEq)]
pub enum Converted {
    /// A service with virtual addresses.
    Service(Arc<ServiceFact>),
    /// A slice of endpoints.
    Slice(Arc<SliceFact>),
    /// A node.
    Node(Arc<NodeFact>),
    /// Not for a service proxy; why.
    Ignored(String),
}

impl Converted {
    /// The change that puts it into force. `None`: it is ignored.
    pub fn put(self) -> Option<Change> {
        match self {
            Self::Service(fact) => Some(Change::PutService(fact)),
            Self::Slice(fact) => Some(Change::PutSlice(fact)),
            Self::Node(fact) => Some(Change::PutNode(fact)),
            Self::Ignored(_) => None,
        }
    }
}

/// An object that nothing can be served of, and where the reason stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// Where, within the text that was parsed.
    pub at: Option<Location>,
    /// Which object, which field, what is wrong.
    pub text: String,
}

/// Something that is accepted, but not served as written.
#[derive(Clone, Debug, PartialEq)]
pub struct Remark {
    /// Where, within the text that was parsed.
    pub at: Option<Location>,
    /// Which object, which field, and what is not served.
    pub text: String,
}

/// What a conversion goes by beside the object itself.
#[derive(Debug, Default)]
pub struct Rules {
    /// Only services that are labelled with this name are ours; `None`: those without such a label.
    pub proxy_name: Option<String>,
    names: Names,
}

impl Rules {
    /// For services of that `service.kubernetes.io/service-proxy-name`.
    pub fn new(proxy_name: Option<String>) -> Self {
        Self { proxy_name, names: Names::default() }
    }
}

/// Remarks on one object after the other.
#[derive(Debug, Default)]
pub struct Remarks {
    object: String,
    at: Option<Location>,
    /// All of them, the oldest first.
    pub list: Vec<Remark>,
}

impl Remarks {
    fn begin(&mut self, object: String, at: Option<Location>) {
        (self.object, self.at) = (object, at);
    }

    /// `at`: if there is no better place than the object's.
    fn add(&mut self, at: Option<Location>, text: String) {
        self.list.push(Remark { at: at.or(self.at), text: format!("{}: {text}", self.object) });
    }

    /// Takes the last one back, without the object's name.
    fn take_last(&mut self) -> Option<String> {
        let Remark { text, .. } = self.list.pop()?;
        Some(text.strip_prefix(&self.object).and_then(|text| text.strip_prefix(": ")).unwrap_or(&text).to_owned())
    }
}

impl<F: Form> Metadata<F> {
    /// The name, and where it stands. An object of a namespace that names none is in `default`.
    fn object_name(&self, namespaced: bool, rules: &mut Rules) -> (ObjectName, Option<Location>) {
        let namespace = match &self.namespace {
            _ if !namespaced => "",
            Some(namespace) if !namespace.is_empty() => namespace.as_str(),
            _ => "default",
        };
        (ObjectName::new(rules.names.text(namespace), self.name.get().as_str()), self.name.place())
    }
}

/// A protocol; else a remark.
fn protocol<L: Leaf<String>>(written: Option<&L>, field: &str, remarks: &mut Remarks) -> Option<Protocol> {
    let Some(written) = written else { return Some(Protocol::Tcp) };
    match written.get().as_str() {
        "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        "SCTP" => Some(Protocol::Sctp),
        other => {
            let text = format!("{field}.protocol: {other:?} is none of TCP, UDP and SCTP; left out");
            remarks.add(written.place(), text);
            None
        }
    }
}

/// The number of a port; else a remark.
fn number<L: Leaf<i64>>(written: &L, field: &str, remarks: &mut Remarks) -> Option<u16> {
    let number = u16::try_from(*written.get()).ok().filter(|number| *number != 0);
    if number.is_none() {
        remarks.add(written.place(), format!("{field}: {} is not between 1 and 65535; left out", written.get()));
    }
    number
}
