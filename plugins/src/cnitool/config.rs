//! A directory of network configurations → the one that is asked for, by libcni's rules (libcni/conf.go, v1.3.0):
//! `*.conflist` in the order of their names, then `*.conf` and `*.json` as chains of one. A file that cannot be read
//! and sorts before the wanted one is an error: it might be the wanted one.

mod list;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use fairlead_protocol::{CniError, Code, is_valid_name};

#[cfg(any(test, feature = "fuzz"))]
pub use list::parse_list;
pub use list::{NetworkList, PluginConfig, parse_kept, parse_plugin};

/// Loads the network of this name. Errors name the file and, where there is one, the line or the key; an unknown name is
/// answered with the names that are there.
pub fn load(directory: &Path, name: &str) -> Result<NetworkList, CniError> {
    if !is_valid_name(name) {
        return Err(CniError::config("invalid characters found in network name").with_details(name));
    }
    let files = files(directory)?;
    let mut others = Vec::new();
    for file in with_extension(&files, &["conflist"]) {
        let mut list = list::parse_list(&read(file)?).map_err(|error| error.context(file.display()))?;
        if list.name == name {
            if !list.only_inlined {
                append_plugins(&mut list, &directory.join(name))?;
            }
            if list.plugins.is_empty() {
                let text = format!("{}: no plugin configs found", file.display());
                return Err(CniError::config(text)
                    .with_details(format!("add \"plugins\", or *.conf files in {}", directory.join(name).display())));
            }
            return Ok(list);
        }
        others.push((list.name, file));
    }
    for file in with_extension(&files, &["conf", "json"]) {
        let plugin = list::parse_plugin(&read(file)?).map_err(|error| error.context(file.display()))?;
        if plugin.name == name {
            return Ok(list::of_one(plugin));
        }
        others.push((plugin.name, file));
    }
    Err(not_found(directory, name, &others))
}

/// Plugins that others chain themselves onto this network with, without editing its file.
fn append_plugins(list: &mut NetworkList, directory: &Path) -> Result<(), CniError> {
    for file in with_extension(&files(directory)?, &["conf"]) {
        list.plugins.push(list::parse_plugin(&read(file)?).map_err(|error| error.context(file.display()))?);
    }
    Ok(())
}

/// The configurations of a directory, lists first, in the order in which they are looked through.
/// Errors: the directory cannot be listed.
pub fn configurations(directory: &Path) -> Result<Vec<PathBuf>, CniError> {
    let files = files(directory)?;
    let kinds: [&[&str]; 2] = [&["conflist"], &["conf", "json"]];
    Ok(kinds.into_iter().flat_map(|kind| with_extension(&files, kind)).cloned().collect())
}

/// Everything in a directory but directories, sorted; a missing directory is an empty one.
fn files(directory: &Path) -> Result<Vec<PathBuf>, CniError> {
    let failed = |error: std::io::Error| {
        CniError::new(Code::Io, format!("cannot list the network configurations in {}: {error}", directory.display()))
    };
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if !entry.file_type().map_err(failed)?.is_dir() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

fn with_extension<'a>(files: &'a [PathBuf], wanted: &'a [&str]) -> impl Iterator<Item = &'a PathBuf> {
    // Go's filepath.Ext takes `.conf` for a file without a name, Path::extension for one without an extension.
    files.iter().filter(|file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        name.rsplit_once('.').is_some_and(|(_, extension)| wanted.contains(&extension))
    })
}

fn read(file: &Path) -> Result<Vec<u8>, CniError> {
    std::fs::read(file).map_err(|error| CniError::new(Code::Io, format!("error reading {}: {error}", file.display())))
}

fn not_found(directory: &Path, name: &str, others: &[(String, &PathBuf)]) -> CniError {
    if others.is_empty() {
        let text = format!("no net configurations found in {}", directory.display());
        let hint = if directory.exists() { "it has no *.conflist, *.conf or *.json" } else { "it does not exist" };
        return CniError::config(text).with_details(format!("{hint}; NETCONFPATH names the directory to look in"));
    }
    let there: Vec<String> = others
        .iter()
        .map(|(name, file)| format!("{name:?} ({})", file.file_name().unwrap_or_default().to_string_lossy()))
        .collect();
    CniError::config(format!("no net configuration with name {name:?} in {}", directory.display()))
        .with_details(format!("there: {}", there.join(", ")))
}

#[cfg(test)]
mod tests;
