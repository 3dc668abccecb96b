//! Leases that come and go. Files first, the index after them: what happens in between is seen by the directory's time.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::unix::fs::FileExt;

use fairlead_protocol::{CniError, Code};
use nix::fcntl::OFlag;

use super::super::allocate::Allocation;
use super::super::boot::Boot;
use super::super::index::{Entry, entry_of};
use super::super::lease::{Lease, Owner, text_of};
use super::{LAST_RESERVED, Store, failed};

/// What became of a try to write leases down.
#[derive(Debug)]
pub enum Reserved {
    All,
    /// Somebody who does not take the lock was faster, or the index was wrong. Nothing is written.
    Taken,
}

/// The address that a set gave out last, and the file that says it, kept open for the next.
#[derive(Debug, Default)]
pub struct Last {
    pub ip: Option<IpAddr>,
    file: Option<(File, usize)>,
}

impl Store {
    /// The address a set gave out last. What cannot be read as one is not there: round-robin begins anew.
    pub fn last_reserved(&self, set: usize) -> Last {
        let Ok(mut file) = self.directory.file(&format!("{LAST_RESERVED}{set}"), OFlag::O_RDWR) else {
            return Last::default();
        };
        // More than an address has.
        let mut text = [0; 64];
        let Ok(length) = file.read(&mut text) else { return Last::default() };
        let ip = std::str::from_utf8(&text[..length]).ok().and_then(|text| text.parse::<IpAddr>().ok());
        Last { ip: ip.map(|ip| ip.to_canonical()), file: Some((file, length)) }
    }

    /// Writes all of the allocations down, or none. `last`: of each allocation's set. Errors: code 5.
    pub fn reserve(
        &mut self,
        allocations: &[Allocation],
        last: &mut [Last],
        owner: &Owner,
    ) -> Result<Reserved, CniError> {
        let text = owner.text();
        let mut written: Vec<Lease> = Vec::with_capacity(allocations.len());
        let mut reserve = |store: &Store| {
            for allocation in allocations {
                let Some(lease) = store.write(allocation.ip, &text)? else {
                    return Ok(Reserved::Taken);
                };
                written.push(lease);
                store.write_last(allocation.set, allocation.ip, &mut last[allocation.set])?;
            }
            Ok(Reserved::All)
        };
        let reserved = reserve(self);
        if let Ok(Reserved::All) = reserved {
            self.remember(&written);
            return reserved;
        }
        let left: Vec<String> = written.iter().filter_map(|lease| self.remove(&lease.name).err()).collect();
        match &mut self.index {
            // The table is as it was; the directory's time is not.
            Some(index) if left.is_empty() => index.is_changed = true,
            _ => self.index = None,
        }
        self.settle();
        if left.is_empty() {
            return reserved;
        }
        let error = reserved.err().unwrap_or_else(|| CniError::new(Code::Io, "an address was taken meanwhile"));
        Err(error.with_details(format!("and undoing it: {}", left.join("; "))))
    }

    /// Removes the leases of an attachment; when it has none, those of the old format. Removes as many as it can.
    /// Errors: code 5, all of them in one.
    pub fn release(&mut self, owner: &Owner) -> Result<(), CniError> {
        let (exact, _) = owner.keys();
        let mut entries = self.consult(|index| index.owned(owner))?;
        if entries.iter().any(|entry| entry.key == exact) {
            entries.retain(|entry| entry.key == exact);
        }
        let has_odd_names = self.index.as_ref().is_none_or(|index| index.has_odd_names);
        let is_as_remembered = |entry: &Entry| self.says(entry, owner);
        if has_odd_names || !entries.iter().all(is_as_remembered) {
            return self.release_by_reading(owner);
        }
        let mut failures = Vec::new();
        for entry in entries {
            match self.remove(&entry.ip.to_string()) {
                Ok(()) => self.forget(&entry),
                Err(failure) => failures.push(failure),
            }
        }
        self.settle();
        in_one(&failures)
    }

    /// The same without an index.
    fn release_by_reading(&mut self, owner: &Owner) -> Result<(), CniError> {
        let survey = self.survey()?;
        let has_new = survey.leases.iter().any(|lease| lease.names(owner));
        let is_its = |lease: &&Lease| if has_new { lease.names(owner) } else { lease.names_only_the_container(owner) };
        let its: Vec<Lease> = survey.leases.iter().filter(is_its).cloned().collect();
        self.remove_all(&its)
    }

    /// Removes every lease that belongs to none of the attachments, and what is nobody's. Returns what is there and is no
    /// lease, or cannot be read. Errors: as [`Store::release`].
    pub fn retain(&mut self, valid: &[Owner]) -> Result<Vec<String>, CniError> {
        let survey = self.survey()?;
        let valid: HashSet<String> =
            valid.iter().flat_map(|owner| [owner.text(), owner.container_id.clone()]).collect();
        let is_dead = |lease: &Lease| lease.text.as_ref().is_some_and(|text| !valid.contains(text));
        let (dead, alive): (Vec<Lease>, Vec<Lease>) = survey.leases.into_iter().partition(is_dead);
        self.remove_all(&dead)?;
        let unreadable = alive.into_iter().filter(|lease| lease.text.is_none()).map(|lease| lease.name);
        Ok(survey.strange.into_iter().chain(unreadable).collect())
    }

    /// Removes these, as many as it can. Errors: code 5, all of them in one.
    pub fn remove_all(&mut self, leases: &[Lease]) -> Result<(), CniError> {
        let failures: Vec<String> = leases.iter().filter_map(|lease| self.remove(&lease.name).err()).collect();
        // It is needed by nobody but the next call, which can do this too.
        let _ = self.rebuild();
        self.settle();
        in_one(&failures)
    }

    /// A lease under its name. `None`: the name is taken, by somebody.
    fn write(&self, ip: IpAddr, text: &str) -> Result<Option<Lease>, CniError> {
        let name = ip.to_string();
        let written = self.directory.prepare(text.as_bytes()).and_then(|file| {
            if !self.directory.name_prepared(&name)? {
                let is_nobodys = self.directory.read(&name).is_ok_and(|(content, _)| text_of(&content).is_empty());
                if !is_nobodys {
                    return Ok(None);
                }
                // What a crash of the reference left, or a power failure.
                return self.directory.prepare(text.as_bytes()).and_then(|file| {
                    self.directory.replace_by_prepared(&name)?;
                    Ok(Some(file))
                });
            }
            Ok(Some(file))
        });
        let file = written.map_err(|error| failed("write", &self.directory.path().join(&name), &error))?;
        // Without a stamp it could never be told from another file: then it is one that was never seen.
        let stamp_of = |file: File| file.metadata().map(|found| (&found).into()).unwrap_or_default();
        Ok(file.map(|file| Lease { ip, name, text: Some(text.to_owned()), stamp: stamp_of(file) }))
    }

    /// In place, which leaves the directory as it is. It is a hint: half of it is as good as none.
    fn write_last(&self, set: usize, ip: IpAddr, last: &mut Last) -> Result<(), CniError> {
        let (name, text) = (format!("{LAST_RESERVED}{set}"), ip.to_string());
        let mut write = || -> io::Result<()> {
            let (file, length) = match last.file.take() {
                Some(open) => open,
                None => (self.directory.file(&name, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC)?, 0),
            };
            if length > text.len() {
                file.set_len(text.len() as u64)?;
            }
            file.write_all_at(text.as_bytes(), 0)
        };
        write().map_err(|error| failed("write", &self.directory.path().join(&name), &error))
    }

    /// Whether the file of an entry still says what the entry says.
    pub(super) fn says(&self, entry: &Entry, owner: &Owner) -> bool {
        let expected = if entry.is_old_format { owner.container_id.clone() } else { owner.text() };
        self.directory.read(&entry.ip.to_string()).is_ok_and(|(content, _)| text_of(&content) == expected)
    }

    fn remove(&self, name: &str) -> Result<(), String> {
        self.directory.remove(name).map_err(|error| failed("remove", &self.directory.path().join(name), &error).msg)
    }

    fn remember(&mut self, leases: &[Lease]) {
        let boot = self.boot.map_or(0, Boot::tag);
        if let Some(index) = &mut self.index
            && leases.iter().any(|lease| index.insert(&entry_of(lease, boot)).is_err())
        {
            self.index = None;
        }
        self.settle();
    }

    fn forget(&mut self, entry: &Entry) {
        if let Some(index) = &mut self.index
            && index.remove(entry).is_err()
        {
            self.index = None;
        }
    }
}

fn in_one(failures: &[String]) -> Result<(), CniError> {
    if failures.is_empty() { Ok(()) } else { Err(CniError::new(Code::Io, failures.join("; "))) }
}
