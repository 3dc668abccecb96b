//! Where facts come from. One source so far: a directory of Kubernetes YAML.

mod catalog;
pub mod directory;
mod documents;
mod file;

use serde::{Deserialize, Serialize};

/// Something that an operator should know about the source or its objects. Ordered by file and line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Problem {
    /// The file's name within the directory; empty: the directory itself, or no file in particular.
    pub file: String,
    /// Counted from 1; 0: the whole file.
    pub line: u64,
    /// Counted from 1; 0: the whole line.
    pub column: u64,
    /// How bad it is.
    pub severity: Severity,
    /// The object, the field, what is wrong, and what follows from it.
    pub text: String,
}

/// How bad a [`Problem`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something written is not in force.
    Error,
    /// Something is not served as written.
    Warning,
    /// Good to know; the daemon is not degraded by it.
    Notice,
}

impl Severity {
    /// The name, as JSON has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.file.as_str(), self.line, self.column) {
            ("", ..) => {}
            (file, 0, _) => write!(f, "{file}: ")?,
            (file, line, 0) => write!(f, "{file}:{line}: ")?,
            (file, line, column) => write!(f, "{file}:{line}:{column}: ")?,
        }
        f.write_str(&self.text)
    }
}
