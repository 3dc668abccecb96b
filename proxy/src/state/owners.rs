//! Whose the frontends are, for verbs that look while no daemon runs: a journal, so that a change costs a line and not a file.
//!
//! A line is `frontend<TAB>namespace/name<TAB>port` or, for one that is gone, `-frontend`; the last one counts. When most lines
//! are old ones the file is replaced by rename. A line that a crash cut short is passed over: the frontend is shown without
//! a name until the next daemon has written the file anew.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fairlead_proxy_model::frontend_name;

use crate::surface::View;

/// The journal's name in the state directory, and its successor's while that is written.
pub const NAMES: [&str; 2] = ["owners", ".owners.new"];
/// Lines that may be old before the file is written anew, beside as many as there are frontends.
const SLACK: usize = 4096;

/// Whose a frontend is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// `namespace/name` of the service.
    pub service: String,
    /// The port's name; may be empty.
    pub port: String,
}

/// Owners by `address:port/PROTOCOL`.
pub type Owners = BTreeMap<String, Owner>;

/// The writer.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    fresh: PathBuf,
    /// `None`: to be written anew.
    file: Option<File>,
    lines: usize,
    /// How many there were at the last rewriting.
    live: usize,
    pending: String,
}

impl Journal {
    /// Replaces, with the first [`Journal::flush`], what a predecessor left.
    pub fn new(state_dir: &Path) -> Self {
        let [path, fresh] = NAMES.map(|name| state_dir.join(name));
        Self { path, fresh, file: None, lines: 0, live: 0, pending: String::new() }
    }

    /// From now on `frontend` is `owner`'s.
    pub fn put(&mut self, frontend: &str, owner: &Owner) {
        write_line(&mut self.pending, frontend, &owner.service, &owner.port);
        self.lines += 1;
    }

    /// From now on nothing is at `frontend`.
    pub fn delete(&mut self, frontend: &str) {
        self.pending.push('-');
        self.pending.push_str(frontend);
        self.pending.push('\n');
        self.lines += 1;
    }

    /// Writes what has been put since the last time; all of what `view` says where that is due.
    pub fn flush(&mut self, view: &dyn View) -> Result<()> {
        let crowded = self.lines > 2 * self.live + SLACK;
        if self.file.is_none() || crowded {
            return self.rewrite(view).with_context(|| format!("write {}", self.path.display()));
        }
        let pending = std::mem::take(&mut self.pending);
        let Some(file) = self.file.as_mut().filter(|_| !pending.is_empty()) else { return Ok(()) };
        let written = file.write_all(pending.as_bytes());
        if written.is_err() {
            self.file = None;
        }
        written.with_context(|| format!("append to {}", self.path.display()))
    }

    fn rewrite(&mut self, view: &dyn View) -> io::Result<()> {
        self.file = None;
        self.pending.clear();
        let mut text = String::new();
        let mut live = 0;
        view.owners(&mut |key, service, port| {
            write_line(&mut text, &frontend_name(key), &service.to_string(), port);
            live += 1;
        });
        File::create(&self.fresh)?.write_all(text.as_bytes())?;
        fs::rename(&self.fresh, &self.path)?;
        self.file = Some(OpenOptions::new().append(true).open(&self.path)?);
        (self.live, self.lines) = (live, live);
        Ok(())
    }
}

fn write_line(text: &mut String, frontend: &str, service: &str, port: &str) {
    // A file may hold any port name; a tab in it must not become a column.
    let port = port.replace(char::is_control, " ");
    for part in [frontend, "\t", service, "\t", &port, "\n"] {
        text.push_str(part);
    }
}

/// What the last daemon wrote; `None`: none ever did.
pub fn read(state_dir: &Path) -> Result<Option<Owners>> {
    let path = state_dir.join(NAMES[0]);
    let text = match fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    let mut owners = Owners::new();
    for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
        if let Some(frontend) = line.strip_prefix('-') {
            owners.remove(frontend);
        } else if let [frontend, service, port] = line.split('\t').collect::<Vec<_>>()[..] {
            owners.insert(frontend.to_owned(), Owner { service: service.to_owned(), port: port.to_owned() });
        }
    }
    Ok(Some(owners))
}

#[cfg(test)]
mod tests;
