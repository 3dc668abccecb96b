//! Objects, their versions and the log of their changes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Kind, namespace, name.
type Key = (String, String, String);

/// A change of an object.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The store's version after it.
    pub version: u64,
    /// What it was before, if it was.
    pub before: Option<Value>,
    /// What it is now; `None`: deleted.
    pub after: Option<Value>,
    /// Of which kind.
    pub kind: String,
}

/// See the head of the file.
#[derive(Clone, Debug)]
pub struct Store {
    version: u64,
    objects: BTreeMap<Key, Value>,
    log: Vec<Entry>,
    /// Changes up to this version are forgotten.
    compacted: u64,
}

impl Default for Store {
    fn default() -> Self {
        Self { version: 1000, objects: BTreeMap::new(), log: Vec::new(), compacted: 1000 }
    }
}

impl Store {
    pub fn put(&mut self, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let kind = text(&object["kind"]);
        let key = (kind.clone(), text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]));
        let before = self.objects.insert(key, object.clone());
        self.log.push(Entry { version: self.version, before, after: Some(object), kind });
    }

    pub fn delete(&mut self, kind: &str, namespace: &str, name: &str) {
        let key = (kind.to_owned(), namespace.to_owned(), name.to_owned());
        let Some(mut before) = self.objects.remove(&key) else { return };
        self.version += 1;
        // The event carries the version of the deletion.
        before["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.log.push(Entry { version: self.version, before: Some(before), after: None, kind: key.0 });
    }

    pub fn compact(&mut self) {
        self.compacted = self.version;
        self.log.clear();
    }

    pub fn advance(&mut self, versions: u64) {
        self.version += versions;
    }

    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn compacted(&self) -> u64 {
        self.compacted
    }

    pub fn names(&self, kind: &str) -> Vec<String> {
        let keys = self.objects.keys().filter(|(known, ..)| known == kind);
        keys.map(|(_, namespace, name)| format!("{namespace}/{name}")).collect()
    }

    pub fn text(&self, kind: &str, namespace: &str, name: &str) -> Option<String> {
        let key = (kind.to_owned(), namespace.to_owned(), name.to_owned());
        self.objects.get(&key).map(ToString::to_string)
    }

    /// The objects of a kind, in order.
    pub fn list(&self, kind: &str) -> Vec<Value> {
        self.objects.iter().filter(|((known, ..), _)| known == kind).map(|(_, object)| object.clone()).collect()
    }

    /// The changes of a kind behind this version.
    pub fn since(&self, kind: &str, version: u64) -> Vec<Entry> {
        self.log.iter().filter(|entry| entry.version > version && entry.kind == kind).cloned().collect()
    }
}
