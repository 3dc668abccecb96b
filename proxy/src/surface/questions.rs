//! What the verbs may ask the daemon, and its answers.

use std::net::SocketAddr;

use anyhow::Result;
use fairlead_proxy_model::ObjectName;
use serde::{Deserialize, Serialize};

use super::View;
use super::explain::explain;
use crate::verbs::arguments::{Client, Transport};
use crate::verbs::endpoints;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Question {
    /// How the daemon fares: [`crate::state::Status`].
    Status,
    /// The endpoints of a Service, or of all: an [`endpoints::Page`].
    Endpoints {
        /// The only one that is wanted.
        service: Option<Name>,
        /// The last one of the page before.
        after: Option<Name>,
    },
    /// What happens to a connection: [`crate::verbs::why::Told`].
    Why {
        /// Who connects.
        client: Client,
        /// How.
        protocol: Transport,
        /// Where to.
        to: SocketAddr,
    },
}

/// A Service's namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name(pub String, pub String);

impl From<&ObjectName> for Name {
    fn from(name: &ObjectName) -> Self {
        Self(name.namespace.to_string(), name.name.to_string())
    }
}

impl From<&Name> for ObjectName {
    fn from(Name(namespace, name): &Name) -> Self {
        Self::new(namespace.as_str(), name.as_str())
    }
}

/// Answers from what is, in JSON.
pub fn answer(question: &Question, view: &dyn View) -> Result<String> {
    Ok(match question {
        Question::Status => serde_json::to_string(&view.status())?,
        Question::Endpoints { service: Some(service), .. } => {
            serde_json::to_string(&endpoints::of_service(view.engine(), &service.into()))?
        }
        Question::Endpoints { service: None, after } => {
            let after = after.as_ref().map(ObjectName::from);
            serde_json::to_string(&endpoints::page(view.engine(), after.as_ref()))?
        }
        Question::Why { client, protocol, to } => {
            let from = match client {
                Client::Addr(addr) => Some(*addr),
                Client::Host => None,
            };
            serde_json::to_string(&explain(view.engine(), from, protocol.protocol(), *to))?
        }
    })
}
