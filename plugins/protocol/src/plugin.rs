//! What a plugin is, and the way from a process's environment to its exit status.

mod dispatch;
mod stdin;

use std::io::{Read, Write};

pub use dispatch::{install_panic_hook, run};
pub use stdin::STDIN_LIMIT;

use crate::{CniError, CniResult, Request, Version};

/// One plugin. It answers; printing is not its business.
///
/// Every verb is required: a plugin without GC or STATUS says so by an explicit `Ok(())`.
pub trait Plugin: Sync {
    /// The name it is called by: the last part of `argv[0]`, and `type` in a configuration.
    fn name(&self) -> &'static str;

    /// One line for somebody who starts it without a command.
    fn about(&self) -> String {
        format!("Fairlead CNI {} plugin v{}", self.name(), env!("CARGO_PKG_VERSION"))
    }

    /// The versions it serves, oldest first.
    fn versions(&self) -> &'static [Version] {
        &Version::ALL
    }

    /// Makes the attachment. Fails whole: on an error nothing is left behind.
    fn add(&self, request: &Request) -> Result<CniResult, CniError>;

    /// Says whether the attachment is as ADD left it.
    fn check(&self, request: &Request) -> Result<(), CniError>;

    /// Removes the attachment. What is not there is done; never stops at the first error.
    fn del(&self, request: &Request) -> Result<(), CniError>;

    /// Removes everything of this network that is not in [`Request::valid_attachments`]; without a list, nothing.
    fn gc(&self, request: &Request) -> Result<(), CniError>;

    /// Could an ADD be served now? Errors: [`crate::Code::Unavailable`] or [`crate::Code::Limited`].
    fn status(&self, request: &Request) -> Result<(), CniError>;
}

/// The process around a plugin, injected for tests.
pub struct Io<'a> {
    /// A variable of the environment.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// The configuration; not touched for VERSION and without a command.
    pub stdin: &'a mut dyn Read,
    /// Results and errors.
    pub stdout: &'a mut dyn Write,
    /// For people.
    pub stderr: &'a mut dyn Write,
}
