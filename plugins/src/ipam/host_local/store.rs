//! Leases on disk, in the reference's format byte for byte, so that a node can go back and forth:
//!
//! ```text
//! <dataDir>/<network>/lock                 flock(2), exclusive
//! <dataDir>/<network>/<ip>                 0600: <container id> CR LF <ifname>, nothing after it
//! <dataDir>/<network>/last_reserved_ip.N   0600: the address that set N gave out last, nothing after it
//! <dataDir>/<network>/.fairlead-index      ours: a memory of the others, see `index`
//! ```
//!
//! **The file is the arbiter.** A lease gets its name when it is complete, by a rename that fails if the name is there:
//! whatever the index says, no address is given twice. The reference creates a lease and then fills it, so a crash leaves
//! an empty file that is never freed. An empty one is nobody's here: whoever holds the lock knows that no writer is alive.
//!
//! **Nothing is flushed to disk** (no fsync(2): several milliseconds of each ADD on ext4). A power failure takes every
//! container with it, so no lease is worth anything afterwards; what it leaves of a file (nothing, no bytes, zeros) counts
//! as free, and a lease that survives is recognised as one of an earlier boot.
//!
//! **Reboot.** A lease whose very file was seen under another boot is removed by the first call that writes. One that we
//! never saw (the reference made it and the node went down before we looked) stays until DEL, GC or `ipam release`.
//! Not for systems that a live migration carries to another kernel with their containers.

mod change;

pub use change::Reserved;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use fairlead_protocol::{CniError, Code};

use super::boot::{Boot, is_of_one_kernel};
use super::directory::{Directory, TEMPORARY};
use super::index::{self, Distrust, Index, entry_of};
use super::lease::{Lease, Owner};
use super::lock::{self, Purpose};

/// A set's index follows.
const LAST_RESERVED: &str = "last_reserved_ip.";

/// The leases of one network, locked for as long as this lives.
pub struct Store {
    directory: Directory,
    boot: Option<Boot>,
    /// `None`: there is none that can be believed.
    index: Option<Index>,
    /// Nothing may be written: neither leases nor the index.
    is_only_for_looking: bool,
    _lock: Option<File>,
}

/// Every lease, and under which boot each was seen first.
#[derive(Debug)]
pub struct Survey {
    pub leases: Vec<Lease>,
    /// The tags of the boots, in the order of the leases. `None`: seen now for the first time.
    pub boots: Vec<Option<u32>>,
    /// Names that are no addresses and none of ours.
    pub strange: Vec<String>,
}

impl Store {
    /// Opens and locks for ADD; makes the directory when it is not there. Errors: code 5, and 11 when the lock cannot be had.
    pub fn open(path: &Path) -> Result<Store, CniError> {
        let directory = Directory::create(path).map_err(|error| failed("create", path, &error))?;
        Store::locked(directory, Purpose::Lease, lock::LIMIT)
    }

    /// As [`Store::open`], to remove or to look, but `None` when there is no directory: then there is no lease either.
    pub fn open_existing(path: &Path, purpose: Purpose) -> Result<Option<Store>, CniError> {
        match Directory::open(path) {
            Ok(directory) => Store::locked(directory, purpose, lock::LIMIT).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("open", path, &error)),
        }
    }

    fn locked(directory: Directory, purpose: Purpose, limit: Duration) -> Result<Store, CniError> {
        let lock = lock::take(&directory, purpose, limit)?;
        let boot = Boot::current();
        let index = boot.and_then(|boot| Index::open(&directory, boot).ok());
        Ok(Store { directory, boot, index, is_only_for_looking: purpose == Purpose::Look, _lock: lock })
    }

    /// Asks the index; if it turns out not to be one, the one that is made of the directory. Errors: code 5.
    pub fn consult<T>(&mut self, ask: impl Fn(&mut Index) -> Result<T, Distrust>) -> Result<T, CniError> {
        if let Some(index) = &mut self.index
            && let Ok(answer) = ask(index)
        {
            return Ok(answer);
        }
        let index = self.rebuild()?;
        ask(index).map_err(|Distrust(reason)| CniError::new(Code::Io, format!("index of leases in memory: {reason}")))
    }

    /// The same for a question that may be refused: a refusal counts only by an index that was just made of the directory.
    /// Errors: the refusal, and those of [`Store::consult`].
    pub fn consult_surely<T>(
        &mut self,
        ask: impl Fn(&mut Index) -> Result<Result<T, CniError>, Distrust>,
    ) -> Result<T, CniError> {
        match self.consult(&ask)? {
            Err(_) if self.index.as_ref().is_some_and(|index| !index.is_complete) => {
                self.rebuild()?;
                self.consult(&ask)?
            }
            answer => answer,
        }
    }

    /// Whether an attachment has a lease, by its file.
    pub fn holds(&mut self, owner: &Owner) -> Result<bool, CniError> {
        let entries = self.consult(|index| index.owned(owner))?;
        if entries.iter().any(|entry| self.says(entry, owner)) {
            return Ok(true);
        }
        // What the index does not know, or knows wrongly, or by another name.
        let is_sure = entries.is_empty() && self.index.as_ref().is_some_and(|index| index.is_complete);
        Ok(!is_sure && self.survey()?.leases.iter().any(|lease| lease.belongs_to(owner)))
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Why the index is not believed. `None`: it is.
    pub fn index_trouble(&self) -> Option<Distrust> {
        match self.boot {
            None => Some(Distrust("which boot this is cannot be told")),
            Some(boot) => Index::open(&self.directory, boot).err(),
        }
    }

    /// Whether a lease that was seen first under this boot was seen under the current one.
    pub fn is_this_boot(&self, seen: u32) -> bool {
        self.boot.is_some_and(|boot| boot.tag() == seen)
    }

    /// Reads the directory: an index in memory that [`Store::settle`] will write. Leases of an earlier boot are removed,
    /// or, when nothing may be written, left out. Errors: code 5.
    pub fn rebuild(&mut self) -> Result<&mut Index, CniError> {
        let survey = self.survey()?;
        let current = self.boot.map_or(0, Boot::tag);
        let mut left = Vec::with_capacity(survey.leases.len());
        for (lease, seen) in survey.leases.iter().zip(&survey.boots) {
            let is_stale = self.is_of_an_earlier_boot(*seen);
            // One that cannot be removed is taken, as any file is.
            if is_stale && (self.is_only_for_looking || self.directory.remove(&lease.name).is_ok()) {
                continue;
            }
            left.push((lease, seen.unwrap_or(current)));
        }
        Ok(self.index.insert(Index::of(left.iter().copied())))
    }

    /// Whether a lease that was seen first under this boot can have no container any more.
    pub fn is_of_an_earlier_boot(&self, seen: Option<u32>) -> bool {
        let current = self.boot.map(Boot::tag);
        seen.is_some() && current.is_some() && seen != current && is_of_one_kernel(&self.directory)
    }

    /// Reads every file of the directory and what is remembered of it. Errors: code 5.
    pub fn survey(&self) -> Result<Survey, CniError> {
        let path = self.directory.path();
        let known: HashMap<IpAddr, index::Entry> =
            index::remembered(&self.directory).into_iter().map(|entry| (entry.ip, entry)).collect();
        let mut survey = Survey { leases: Vec::new(), boots: Vec::new(), strange: Vec::new() };
        for entry in std::fs::read_dir(path).map_err(|error| failed("list", path, &error))? {
            let entry = entry.map_err(|error| failed("list", path, &error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == TEMPORARY && !self.is_only_for_looking {
                // Of a writer that was killed: no other can be alive. To fail here would serve nobody.
                let _ = self.directory.remove(TEMPORARY);
            } else if name.parse::<IpAddr>().is_ok() {
                let read = self.directory.read(&name);
                if read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
                    continue;
                }
                let (content, stamp) =
                    read.map_or((None, Default::default()), |(content, stamp)| (Some(content), stamp));
                let Some(lease) = Lease::new(&name, content.as_deref(), stamp) else { continue };
                let seen = known
                    .get(&lease.ip)
                    .filter(|entry| entry.stamp == stamp && **entry == entry_of(&lease, entry.boot));
                survey.boots.push(seen.map(|entry| entry.boot).filter(|boot| *boot != 0));
                survey.leases.push(lease);
            } else if ![index::INDEX, lock::LOCK].contains(&&*name) && !name.starts_with(LAST_RESERVED) {
                survey.strange.push(name);
            }
        }
        Ok(survey)
    }

    /// Makes the index believable again after a change. Whether it works is nobody's business: without an index the next
    /// call reads the directory.
    pub fn settle(&mut self) {
        let (Some(boot), Some(index)) = (self.boot, &mut self.index) else { return };
        if self.is_only_for_looking || index.settle(&self.directory, boot).is_err() {
            self.index = None;
        }
    }
}

/// An error of the operating system about something in the directory: code 5.
pub fn failed(doing: &str, path: &Path, error: &io::Error) -> CniError {
    CniError::new(Code::Io, format!("{doing} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
