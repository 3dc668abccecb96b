//! `cnitool`: a runtime for people. It loads a network from a directory, runs its plugins on a namespace and remembers
//! what they answered, with the words, variables and files of the reference's `cnitool` 1.3.0, so that either can
//! remove what the other made.
//!
//! Besides, `list` shows what is attached and `lint` explains a configuration. No option parser: this program is started
//! for every pod of the demo and the benchmarks, and has few words to understand.

mod cache;
mod call;
mod config;
mod exec;
mod lint;
mod list;
mod options;
mod request;
mod verbs;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use fairlead_protocol::{CniError, Version};

#[cfg(any(test, feature = "fuzz"))]
pub use cache::parse_entry;
pub use cache::{Cache, DIRECTORY, Found};
pub use config::{NetworkList, PluginConfig, parse_kept, parse_plugin};
pub use exec::run_file;
pub use list::{LEASES, data_directories};
pub use request::for_attachment;

use crate::interrupt::Interrupts;
use call::{Asked, Call, Verb};
use verbs::Runtime;

const HELP: &str = include_str!("help.txt");

/// The whole program. `arguments` without the name it was called by. Exit status: 0, or 1 with one error on stderr.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let asked = std::env::current_dir()
        .map_err(|error| CniError::internal(format!("cannot tell the current directory: {error}")))
        .and_then(|here| call::parse(arguments, &|name| std::env::var_os(name), &here));
    let outcome = asked.and_then(|asked| match asked {
        Asked::Help => print(HELP).map(|()| true),
        Asked::Version => print(&format!(
            "cnitool {} (Fairlead), CNI {} to {}\n",
            env!("CARGO_PKG_VERSION"),
            Version::ALL[0],
            Version::NEWEST
        ))
        .map(|()| true),
        Asked::Call(call) => serve(&call).map(|()| true),
        Asked::List(list, config_directory) => list::run(&list, &config_directory).map(|()| true),
        Asked::Lint(asked, path) => lint::run(&asked.files, asked.as_json, &lint::Machine::look(&path)),
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            crate::complain(error);
            ExitCode::FAILURE
        }
    }
}

/// For the fuzzer: everything `lint` does with a text.
#[cfg(any(test, feature = "fuzz"))]
pub fn lint_bytes(bytes: &[u8]) {
    lint::lint_bytes(bytes);
}

/// For the fuzzer.
#[cfg(any(test, feature = "fuzz"))]
pub use config::parse_list;

/// For the fuzzer: what a plugin is sent.
#[cfg(any(test, feature = "fuzz"))]
pub fn stdin_of(
    list: &config::NetworkList,
    plugin: &config::PluginConfig,
    prev_result: Option<serde_json::Value>,
) -> Vec<u8> {
    request::for_attachment(list, plugin, prev_result, &serde_json::Map::new())
}

fn serve(call: &Call) -> Result<(), CniError> {
    let list = config::load(&call.config_directory, &call.network)?;
    // A chain that was begun is finished, or taken back: half of one is nobody's.
    let interrupts = Interrupts::listen();
    let cache = cache::Cache::new(Path::new(cache::DIRECTORY));
    let runtime = Runtime { path: &call.path, cache, interrupted: &|| interrupts.came() };
    let attachment = || call.attachment.as_ref().ok_or_else(|| CniError::internal("this verb needs a namespace"));
    match call.verb {
        Verb::Add => runtime.add(&list, attachment()?).and_then(|result| print(&result)),
        Verb::Check => runtime.check(&list, attachment()?),
        Verb::Del => runtime.del(&list, attachment()?),
        Verb::Gc => runtime.gc(&list),
        Verb::Status => runtime.status(&list),
    }
}

fn print(text: &str) -> Result<(), CniError> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| CniError::internal(format!("cannot write to stdout: {error}")))
}
