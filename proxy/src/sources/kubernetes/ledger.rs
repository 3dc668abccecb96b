//! Which objects of a collection are in force, and which version of each.
//!
//! Pure. An object is taken out of force by a deletion, or by the end of a complete list that does not hold it; never by a
//! list that has not ended. Versions only ever grow within a stream: one that does not is not of the history that we follow
//! (etcd restored from a backup, a server that repeats itself), and only a new list helps.

use std::collections::HashMap;

use fairlead_proxy_model::{Change, ObjectName};

use crate::convert::api::{Collection, Object};
use crate::convert::{Converted, Fault, Remark};

#[derive(Debug)]
struct Entry {
    version: Option<u64>,
    /// The list, or the stream behind it, in which it was last seen.
    list: u64,
    /// What is in force of it; shared with whoever was given the change.
    served: Option<Converted>,
}

/// What an object has to tell, beside what it says.
#[derive(Debug, PartialEq)]
pub enum Told {
    /// Not served as written.
    Remark(String),
    /// Not served at all, or as it was before.
    Fault(String),
}

/// The stream is not of the history that we follow; see the head of the file.
#[derive(Debug, PartialEq)]
pub struct Doubt;

/// See the head of the file.
#[derive(Debug)]
pub struct Ledger {
    collection: Collection,
    objects: HashMap<ObjectName, Entry>,
    /// Counts lists.
    list: u64,
    listing: bool,
    /// The highest version since the list ended.
    newest: Option<u64>,
    /// What objects have told since they were taken out: the name, and all of it.
    told: Vec<(ObjectName, Vec<Told>)>,
}

impl Ledger {
    /// Nothing is in force.
    pub fn new(collection: Collection) -> Self {
        Self { collection, objects: HashMap::new(), list: 0, listing: false, newest: None, told: Vec::new() }
    }

    /// A list begins.
    pub fn begin(&mut self) {
        self.list += 1;
        self.listing = true;
        self.newest = None;
    }

    /// The list that began last has come to its end: what it does not hold is gone.
    pub fn complete(&mut self, version: Option<u64>, changes: &mut Vec<Change>) {
        self.listing = false;
        self.newest = version;
        let gone = self.objects.extract_if(|_, entry| entry.list != self.list);
        for (name, entry) in gone {
            self.told.push((name.clone(), Vec::new()));
            changes.extend(entry.served.map(|_| self.collection.delete(name)));
        }
    }

    /// An object is there. What is in force already is no change.
    pub fn put(&mut self, object: Object, changes: &mut Vec<Change>) -> Result<(), Doubt> {
        let Object { name, version, converted, remarks } = object;
        let known = self.objects.get(&name);
        if !self.listing && version.is_some() && known.is_some_and(|known| known.version == version) {
            // Once more.
            return Ok(());
        }
        self.advance(version)?;
        let known = self.objects.remove(&name);
        let was_known = known.is_some();
        let served = known.and_then(|known| known.served);
        let mut told: Vec<Told> = remarks.into_iter().map(|Remark { text, .. }| Told::Remark(text)).collect();
        let served = match converted {
            Ok(Converted::Ignored(_)) => {
                changes.extend(served.map(|_| self.collection.delete(name.clone())));
                None
            }
            Ok(converted) => {
                if served.as_ref() != Some(&converted) {
                    changes.extend(converted.clone().put());
                }
                Some(converted)
            }
            Err(Fault { text, .. }) => {
                let follows = if served.is_some() { "keeps its last good state" } else { "is not served" };
                told.push(Told::Fault(format!("{text}. It {follows}")));
                served
            }
        };
        if was_known || !told.is_empty() {
            self.told.push((name.clone(), told));
        }
        self.objects.insert(name, Entry { version, list: self.list, served });
        Ok(())
    }

    /// An object is gone.
    pub fn delete(&mut self, name: ObjectName, version: Option<u64>, changes: &mut Vec<Change>) -> Result<(), Doubt> {
        self.advance(version)?;
        if let Some(entry) = self.objects.remove(&name) {
            self.told.push((name.clone(), Vec::new()));
            changes.extend(entry.served.map(|_| self.collection.delete(name)));
        }
        Ok(())
    }

    /// Everything up to this version has been seen.
    pub fn advance(&mut self, version: Option<u64>) -> Result<(), Doubt> {
        match (version, self.newest) {
            (Some(version), Some(newest)) if !self.listing && version < newest => Err(Doubt),
            (None, _) => Ok(()),
            (Some(version), _) if !self.listing => {
                self.newest = Some(version);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A list has begun and not ended.
    pub fn is_listing(&self) -> bool {
        self.listing
    }

    /// The highest version since the list ended.
    pub fn newest(&self) -> Option<u64> {
        self.newest
    }

    /// How many objects there are, served or not.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// What objects have told since the last call.
    pub fn take_told(&mut self) -> Vec<(ObjectName, Vec<Told>)> {
        std::mem::take(&mut self.told)
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
