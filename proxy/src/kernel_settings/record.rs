//! What stood in the kernel's settings before: `settings.json` in the state directory, replaced by rename before each write.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

const NAME: &str = "settings.json";

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Change {
    was: String,
    set: String,
}

/// The settings that were changed, by path.
#[derive(Debug)]
pub struct Record {
    file: PathBuf,
    changes: BTreeMap<String, Change>,
}

impl Record {
    /// What was recorded in this state directory; nothing, if nothing was.
    pub fn read(state_dir: &Path) -> Result<Self> {
        let file = state_dir.join(NAME);
        let changes = match fs::read(&file) {
            Ok(content) => serde_json::from_slice(&content).with_context(|| format!("read {}", file.display()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error).with_context(|| format!("read {}", file.display())),
        };
        Ok(Self { file, changes })
    }

    /// Records a change that is about to be made. What stood there first stays what it was.
    pub fn note(&mut self, path: &str, now: &str, set: &str) -> Result<()> {
        let change =
            self.changes.entry(path.to_owned()).or_insert_with(|| Change { was: now.to_owned(), set: String::new() });
        // Somebody else has set it since: it was theirs before this.
        if now != change.set && !change.set.is_empty() {
            change.was = now.to_owned();
        }
        change.set = set.to_owned();
        self.write()
    }

    /// Takes back a note of what could not be done.
    pub fn forget(&mut self, path: &str) {
        self.changes.remove(path);
        // An entry too many is harmless: the value is not the recorded one.
        let _ = self.write();
    }

    fn write(&self) -> Result<()> {
        let fresh = self.file.with_extension("json.new");
        let write = || -> io::Result<()> {
            fs::write(&fresh, serde_json::to_vec_pretty(&self.changes)?)?;
            fs::rename(&fresh, &self.file)
        };
        write().with_context(|| format!("write {}", self.file.display()))
    }
}

/// Gives settings their old values, unless somebody else has set them since, and removes the record. One line for each.
pub fn restore(state_dir: &Path) -> Result<Vec<String>> {
    let record = Record::read(state_dir)?;
    let mut told = Vec::new();
    for (path, Change { was, set }) in &record.changes {
        let now = match fs::read_to_string(path) {
            Ok(text) => text.trim().to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| format!("read {path}")),
        };
        if now == *set {
            fs::write(path, was).with_context(|| format!("set {path} back to {was}"))?;
            told.push(format!("set {path} back to {was}"));
        } else if now != *was {
            told.push(format!("{path} stays {now}: somebody else has set it since"));
        }
    }
    for file in [record.file.with_extension("json.new"), record.file] {
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("remove {}", file.display()));
            }
            _ => {}
        }
    }
    Ok(told)
}
