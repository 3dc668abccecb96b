//! What the verbs may ask the daemon, and its answers.

use std::net::SocketAddr;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

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
    /// The endpoints of a Service, or of all: a list of [`endpoints::Row`].
    Endpoints {
        /// `namespace/name`.
        service: Option<String>,
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

/// Answers from what is.
pub fn answer(question: &Question, view: &dyn View) -> Result<Value> {
    Ok(match question {
        Question::Status => serde_json::to_value(view.status())?,
        Question::Endpoints { service } => serde_json::to_value(endpoints::rows(view.engine(), service.as_deref()))?,
        Question::Why { client, protocol, to } => {
            let from = match client {
                Client::Addr(addr) => Some(*addr),
                Client::Host => None,
            };
            serde_json::to_value(explain(view.engine(), from, protocol.protocol(), *to))?
        }
    })
}
