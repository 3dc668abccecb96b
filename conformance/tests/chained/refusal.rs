//! The answer of a plugin that says no.

use anyhow::Result;
use fairlead_conformance::lab::Finished;

/// What a call that has to fail says: `msg`, and `details` behind it.
pub fn refusal(finished: &Finished) -> Result<(u64, String)> {
    anyhow::ensure!(finished.status.code() == Some(1), "{}: ended with {}", finished.line, finished.status);
    let error = finished.json()?;
    let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
    Ok((error["code"].as_u64().unwrap_or_default(), format!("{} {}", text("msg"), text("details")).trim().to_owned()))
}
