//! Delegation: a plugin that hands (part of) its work to another, by the other's name on `CNI_PATH`.
//!
//! When the file found there is this very binary, the other plugin is called as a function: no process, no second
//! reading of the configuration. Any other file is executed as the specification says, so whoever drops in a plugin of
//! their own gets their own.

mod exec;
mod find;

pub use exec::{exec, run_plugin};
pub use find::find_in_path;

use std::path::PathBuf;

use crate::{CniError, CniResult, Code, Command, Plugin, Request, wire};

/// Who will do the work.
enum Delegate {
    /// A plugin of this binary.
    Ours(&'static dyn Plugin),
    /// Somebody else's file.
    Theirs(PathBuf),
}

/// ADD by the plugin of this name. On an error it has already been asked to DEL what it may have done.
/// Errors: the delegate's own; code 7 when `CNI_PATH` has no such plugin.
pub fn add(plugin: &str, request: &Request) -> Result<CniResult, CniError> {
    let delegate = resolve(plugin, request)?;
    let added = match &delegate {
        Delegate::Ours(plugin) => plugin.add(&for_command(request, Command::Add)),
        Delegate::Theirs(file) => exec(file, Command::Add, request).and_then(|text| {
            wire::decode_delegate_result(&text, request.version).map_err(|reason| {
                CniError::new(Code::Decode, format!("cannot read the result of {}: {reason}", file.display()))
            })
        }),
    };
    added.map_err(|error| match call(&delegate, Command::Del, request) {
        Ok(()) => error,
        Err(undo) => {
            let details = format!("{} and its DEL after that failed too: {undo}", error.details);
            error.with_details(details.trim_start())
        }
    })
}

/// CHECK by the plugin of this name. Errors as [`add`].
pub fn check(plugin: &str, request: &Request) -> Result<(), CniError> {
    call(&resolve(plugin, request)?, Command::Check, request)
}

/// DEL by the plugin of this name. Errors as [`add`].
pub fn del(plugin: &str, request: &Request) -> Result<(), CniError> {
    call(&resolve(plugin, request)?, Command::Del, request)
}

/// GC by the plugin of this name. Errors as [`add`].
pub fn gc(plugin: &str, request: &Request) -> Result<(), CniError> {
    call(&resolve(plugin, request)?, Command::Gc, request)
}

/// STATUS by the plugin of this name. Errors as [`add`].
pub fn status(plugin: &str, request: &Request) -> Result<(), CniError> {
    call(&resolve(plugin, request)?, Command::Status, request)
}

fn call(delegate: &Delegate, command: Command, request: &Request) -> Result<(), CniError> {
    match delegate {
        Delegate::Theirs(file) => exec(file, command, request).map(|_| ()),
        Delegate::Ours(plugin) => {
            let request = for_command(request, command);
            match command {
                Command::Add => plugin.add(&request).map(|_| ()),
                Command::Check => plugin.check(&request),
                Command::Del => plugin.del(&request),
                Command::Gc => plugin.gc(&request),
                Command::Status => plugin.status(&request),
                Command::Version => Ok(()),
            }
        }
    }
}

fn for_command(request: &Request, command: Command) -> Request {
    Request { command, ..request.clone() }
}

fn resolve(name: &str, request: &Request) -> Result<Delegate, CniError> {
    let file = find_in_path(name, &request.path)?;
    let ours = request.plugins.iter().find(|plugin| plugin.name() == name && find::is_this_binary(&file));
    Ok(ours.map_or(Delegate::Theirs(file), |plugin| Delegate::Ours(*plugin)))
}

#[cfg(test)]
mod tests;
