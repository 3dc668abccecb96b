//! The same case on the reference and on ours, and what is different.
//!
//! A case is played by one suite at a time, the reference first, in a lab of its own: two pods are added to one network,
//! checked, and deleted. Everything seen on the way becomes facts (results, errors, links, addresses, routes, neighbours,
//! sysctls, nf_tables, lease files byte for byte). A fact that differs must be listed in DIFFERENCES.md with its reason.

mod play;
mod table;

use anyhow::Result;
use serde_json::Value;

pub use play::Case;
pub use table::Judgement;

use crate::cni::Suite;

/// Every version of the specification, oldest first.
pub const VERSIONS: [&str; 7] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// A judgement over `group`, by the rows of DIFFERENCES.md for that group.
pub fn judge(group: &str) -> Result<Judge> {
    Ok(Judge { reference: Suite::reference()?, ours: Suite::ours()?, judgement: Judgement::new(group)? })
}

/// Plays cases on both suites and collects what differs.
#[derive(Debug)]
pub struct Judge {
    reference: Suite,
    ours: Suite,
    judgement: Judgement,
}

impl Judge {
    /// Plays one case on the reference, then on ours.
    pub fn try_case(&mut self, case: &Case) -> Result<()> {
        let wanted = case.play(&self.reference)?;
        let found = case.play(&self.ours)?;
        self.judgement.add(&case.name, wanted.diff(&found));
        Ok(())
    }

    /// Plays one case for each of the seven versions; `config` needs no `cniVersion`.
    pub fn try_versions(&mut self, name: &str, plugin: &str, config: &Value) -> Result<()> {
        for version in VERSIONS {
            let mut config = config.clone();
            config["cniVersion"] = version.into();
            self.try_case(&Case::new(&format!("{name} {version}"), plugin, config))?;
        }
        Ok(())
    }

    /// Ends the group: an error with every difference that no row explains, and every row that explains nothing.
    pub fn finish(self) -> Result<()> {
        self.judgement.finish()
    }
}
