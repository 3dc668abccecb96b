//! What the verbs may ask the daemon, and its answers.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::View;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Question {
    /// How the daemon fares: [`crate::state::Status`].
    Status,
}

/// Answers from what is.
pub fn answer(question: &Question, view: &dyn View) -> Result<Value> {
    Ok(match question {
        Question::Status => serde_json::to_value(view.status())?,
    })
}
