//! The same case on the reference and on ours, and what is different.
//!
//! A case is played by one suite at a time, the reference first, in a lab of its own: two pods are added to one network,
//! checked, and deleted. Everything seen on the way becomes facts (results, errors, links, addresses, routes, neighbours,
//! sysctls, nf_tables, lease files byte for byte). A fact that differs must be listed in DIFFERENCES.md with its reason.

mod play;
mod table;
mod tool;

use anyhow::{Context, Result};

pub use play::Case;
pub use table::Judgement;
pub use tool::Session;

use crate::cni::Suite;
use crate::lab::{Job, Place};

/// Every version of the specification, oldest first.
pub const VERSIONS: [&str; 7] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// The versions that differ in more than their number: the last of each family of results.
pub const FAMILIES: [&str; 3] = ["0.2.0", "0.4.0", "1.1.0"];

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

    /// Plays one case for each of these versions; its configuration needs no `cniVersion`.
    pub fn try_versions(&mut self, versions: &[&str], case: &Case) -> Result<()> {
        versions.iter().try_for_each(|version| self.try_case(&case.in_version(version)))
    }

    /// Plays a single call that should be refused: what it says, and that it leaves nothing.
    pub fn try_call(&mut self, name: &str, call: impl Fn(&Suite, &Place) -> Job) -> Result<()> {
        let wanted = play::play_call(&self.reference, &call).with_context(|| format!("call `{name}`, reference"))?;
        let found = play::play_call(&self.ours, &call).with_context(|| format!("call `{name}`, ours"))?;
        self.judgement.add(name, wanted.diff(&found));
        Ok(())
    }

    /// Plays a session with `cnitool`, each suite with its own tool and plugins.
    pub fn try_session(&mut self, session: &Session) -> Result<()> {
        let name = &session.name;
        let wanted = session.play(&self.reference).with_context(|| format!("session `{name}`, reference"))?;
        let found = session.play(&self.ours).with_context(|| format!("session `{name}`, ours"))?;
        self.judgement.add(name, wanted.diff(&found));
        Ok(())
    }

    /// Ends the group: an error with every difference that no row explains, and every row that explains nothing.
    pub fn finish(self) -> Result<()> {
        self.judgement.finish()
    }
}
