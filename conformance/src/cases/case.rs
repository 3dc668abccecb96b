//! What a case is, and what can come of it.

use std::fmt;

use anyhow::Result;
use serde::Serialize;

use super::stage::Stage;

/// Versions of the specification a case may hold for.
pub(super) const ALL: &[&str] = &["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
/// Those with a list of interfaces in the result.
pub(super) const LISTS: &[&str] = &["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
/// Those with CHECK.
pub(super) const CHECKS: &[&str] = &["0.4.0", "1.0.0", "1.1.0"];
/// Those with GC and STATUS.
pub(super) const LATEST: &[&str] = &["1.1.0"];

/// One rule, and the steps that show whether it is kept.
#[derive(Clone, Debug)]
pub struct Case {
    /// Number and variant, stable: what lists of known faults name.
    pub id: &'static str,
    /// The plugin that is judged.
    pub plugin: &'static str,
    /// The verb it is about.
    pub verb: &'static str,
    /// The rule, in one line.
    pub title: &'static str,
    /// Whence the rule comes.
    pub source: &'static str,
    /// The versions it holds for.
    pub versions: &'static [&'static str],
    pub(super) play: fn(&mut Stage) -> Result<()>,
}

impl Case {
    /// Whether it takes two directories: what the one made is deleted by the other.
    pub(super) fn is_about_a_switch(&self) -> bool {
        self.id.starts_with("switch")
    }
}

/// A row of a table of cases. `plugin` is filled in by the table it stands in.
pub(super) fn case(
    id: &'static str,
    verb: &'static str,
    versions: &'static [&'static str],
    (source, title): (&'static str, &'static str),
    play: fn(&mut Stage) -> Result<()>,
) -> Case {
    Case { id, plugin: "", verb, title, source, versions, play }
}

/// The rows of one plugin.
pub(super) fn of(plugin: &'static str, cases: Vec<Case>) -> Vec<Case> {
    cases.into_iter().map(|case| Case { plugin, ..case }).collect()
}

/// What came of one case in one version.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// The rule is kept.
    Pass,
    /// The rule is kept, and something else is not as with the peer.
    Differs {
        /// One line a fact, peer first.
        facts: Vec<String>,
    },
    /// The rule is broken.
    Fails {
        /// What was seen instead.
        why: String,
    },
    /// The rule is broken, as it is known of the reference.
    KnownFault {
        /// Where it is reported upstream, or that it is not.
        issue: &'static str,
        /// What is wrong there.
        what: &'static str,
        /// What was seen.
        why: String,
    },
    /// It could not be tried.
    Skipped {
        /// The kernel that would run it, if that is what lacks.
        kernel: Option<&'static str>,
        /// What lacks.
        why: String,
    },
}

/// A verdict with the case it is about.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// [`Case::id`].
    pub id: &'static str,
    /// [`Case::plugin`].
    pub plugin: &'static str,
    /// [`Case::verb`].
    pub verb: &'static str,
    /// [`Case::title`].
    pub title: &'static str,
    /// [`Case::source`].
    pub source: &'static str,
    /// The version of the specification it was played in.
    pub version: &'static str,
    /// What came of it.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// The error of a case that cannot be played here.
#[derive(Debug)]
pub(super) struct Skip {
    pub(super) kernel: Option<&'static str>,
    pub(super) why: String,
}

impl fmt::Display for Skip {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "cannot run here: {}", self.why)
    }
}

impl std::error::Error for Skip {}
