//! What ADD was told and what it answered, kept for CHECK, DEL and GC: one file an attachment, in libcni's format
//! (`cniCacheV1`, libcni/api.go, v1.3.0), so that other runtimes' tools read ours and we read theirs.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fairlead_protocol::{CniError, CniResult, Code, Version, gojson};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::call::Attachment;
use super::config::NetworkList;

/// Where libcni keeps its files.
pub const DIRECTORY: &str = "/var/lib/cni/results";

const KIND: &str = "cniCacheV1";

/// A directory of kept attachments.
pub struct Cache<'a> {
    directory: &'a Path,
}

/// The file. Keys, their case and their order are libcni's; what is empty is left out where libcni leaves it out.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Entry {
    kind: String,
    container_id: String,
    /// The network configuration list, base64.
    config: String,
    if_name: String,
    network_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    netns: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cni_args: Vec<[String; 2]>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    capability_args: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Value>,
}

impl<'a> Cache<'a> {
    pub fn new(directory: &'a Path) -> Self {
        Cache { directory }
    }

    /// The file of an attachment.
    pub fn file(&self, network: &str, attachment: &Attachment) -> PathBuf {
        self.directory.join(format!("{network}-{}-{}", attachment.container_id, attachment.ifname))
    }

    /// Makes the directory: what cannot be kept is better known before the work than after it.
    pub fn prepare(&self) -> Result<(), CniError> {
        DirBuilder::new().recursive(true).mode(0o700).create(self.directory).map_err(|error| {
            CniError::new(Code::Io, format!("cannot make the directory {}: {error}", self.directory.display()))
        })
    }

    /// Keeps an attachment and its result. The file is whole or not there: it is written beside its place and renamed.
    /// It is not synced to the disk: after a loss of power the namespaces are gone, and a file that cannot be read is
    /// treated as none.
    pub fn keep(&self, list: &NetworkList, attachment: &Attachment, result: Value) -> Result<(), CniError> {
        let Attachment { container_id, netns, ifname, args, capabilities } = attachment.clone();
        let entry = Entry {
            kind: KIND.into(),
            container_id,
            config: STANDARD.encode(&list.bytes),
            if_name: ifname,
            network_name: list.name.clone(),
            netns,
            cni_args: args,
            capability_args: capabilities,
            result: Some(result),
        };
        let file = self.file(&list.name, attachment);
        let failed = |reason: String| {
            let text = format!("failed to set network {:?} cached result: {}: {reason}", list.name, file.display());
            CniError::new(Code::Io, text)
        };
        let text = serde_json::to_vec(&entry).map_err(|error| failed(error.to_string()))?;
        // No network's name begins with a dot, so nobody takes a leftover of this for an attachment of theirs.
        let beside = self.directory.join(format!(".{}-{}", std::process::id(), container_file_name(&file)));
        write_new(&beside, &text).and_then(|()| std::fs::rename(&beside, &file)).map_err(|error| {
            // It may never have been made; the reason that counts is the one above.
            let _ = std::fs::remove_file(&beside);
            failed(error.to_string())
        })
    }

    /// The result that was kept, in the version of the configuration as it is now. `None`: nothing was kept.
    /// Errors: what was kept cannot be used.
    pub fn result(&self, list: &NetworkList, attachment: &Attachment) -> Result<Option<Value>, CniError> {
        let file = self.file(&list.name, attachment);
        let unusable = |reason: String| {
            let text = format!("failed to get network {:?} cached result: {}: {reason}", list.name, file.display());
            CniError::new(Code::Decode, text)
        };
        let text = match std::fs::read(&file) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|error| unusable(error.to_string()))?,
        };
        let value = gojson::parse(&text).map_err(unusable)?;
        let result = match gojson::decode::<Entry>(&value) {
            Ok(entry) if entry.kind == KIND => entry.result.unwrap_or(Value::Null),
            // Before there were entries, libcni kept the bare result.
            _ => value,
        };
        let version = Version::from_text(&list.version)
            .ok_or_else(|| unusable(format!("cniVersion {:?} of the configuration is not known", list.version)))?;
        let (result, _) = CniResult::from_value(&result, "").map_err(unusable)?;
        result.to_value(version).map(Some).map_err(|error| unusable(error.to_string()))
    }

    /// Forgets an attachment, if it is known.
    pub fn forget(&self, network: &str, attachment: &Attachment) -> Result<(), CniError> {
        let file = self.file(network, attachment);
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(CniError::new(Code::Io, format!("cannot remove {}: {error}", file.display())))
            }
            _ => Ok(()),
        }
    }

    /// Every attachment of a network, in the order of the files' names. Names of files are ambiguous (`-` may be in
    /// all three parts), so their contents decide; those that are no entries are left alone.
    pub fn attachments(&self, network: &str) -> Result<Vec<Attachment>, CniError> {
        let (entries, _) = self.entries()?;
        Ok(entries.into_iter().filter(|entry| entry.network == network).map(|entry| entry.attachment).collect())
    }

    /// Everything that is kept, in the order of the files' names, and a line for each file that cannot be read.
    pub fn entries(&self) -> Result<(Vec<Found>, Vec<String>), CniError> {
        let failed = |error: std::io::Error| {
            CniError::new(Code::Io, format!("cannot list the attachments in {}: {error}", self.directory.display()))
        };
        let entries = match std::fs::read_dir(self.directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Default::default()),
            entries => entries.map_err(failed)?,
        };
        let mut files = Vec::new();
        for entry in entries {
            files.push(entry.map_err(failed)?.path());
        }
        files.sort();
        let (mut found, mut troubles) = (Vec::new(), Vec::new());
        // What begins with a dot is being written.
        for file in files.iter().filter(|file| !container_file_name(file).starts_with('.')) {
            match read_entry(file) {
                Ok(entry) => found.extend(entry),
                Err(reason) => troubles.push(format!("{}: {reason}", file.display())),
            }
        }
        Ok((found, troubles))
    }
}

/// An attachment that is kept.
pub struct Found {
    pub network: String,
    pub attachment: Attachment,
    /// The network configuration list of its ADD.
    pub config: Vec<u8>,
    pub result: Option<Value>,
}

/// Reads one file. `None`: it is something else than an entry.
fn read_entry(file: &Path) -> Result<Option<Found>, String> {
    parse_entry(&std::fs::read(file).map_err(|error| error.to_string())?)
}

/// Reads the text of a file, as [`Cache::entries`] does.
pub fn parse_entry(text: &[u8]) -> Result<Option<Found>, String> {
    let value = gojson::parse(text)?;
    let Ok(mut entry) = gojson::decode::<Entry>(&value) else { return Ok(None) };
    if entry.kind != KIND || entry.if_name.is_empty() {
        return Ok(None);
    }
    let config = STANDARD.decode(&entry.config).unwrap_or_default();
    let (network, result) = (std::mem::take(&mut entry.network_name), entry.result.take());
    Ok(Some(Found { network, attachment: entry.into_attachment(), config, result }))
}

impl Entry {
    fn into_attachment(self) -> Attachment {
        Attachment {
            container_id: self.container_id,
            netns: self.netns,
            ifname: self.if_name,
            args: self.cni_args,
            capabilities: self.capability_args,
        }
    }
}

fn container_file_name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn write_new(file: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut open: File = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file)?;
    open.write_all(text)
}

#[cfg(test)]
mod tests;
