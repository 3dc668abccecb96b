//! The objects of all files together: who states what, and who counts when two files state the same object.
//!
//! The file whose name sorts first counts, whatever came first, so that a restart sees the same services. Moving an object
//! from one file to another, in either order of the two writes, never makes it vanish while both files state it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fairlead_proxy_model::{Change, NodeFact, ObjectName, ServiceFact, SliceFact};

use super::documents::Objects;
use super::{Problem, Severity};

/// Statements of one kind of object, by object and then by file.
type Statements<Fact> = BTreeMap<ObjectName, BTreeMap<String, (u64, Arc<Fact>)>>;

/// Names of objects.
#[derive(Debug, Default)]
struct Stated {
    services: BTreeSet<ObjectName>,
    slices: BTreeSet<ObjectName>,
    nodes: BTreeSet<ObjectName>,
}

/// See the head of the file.
#[derive(Debug, Default)]
pub struct Catalog {
    services: Statements<ServiceFact>,
    slices: Statements<SliceFact>,
    nodes: Statements<NodeFact>,
    /// Names of the objects that each file states.
    stated: BTreeMap<String, Stated>,
}

impl Catalog {
    /// Makes `objects` all that `file` states, and tells what changes by that. An empty [`Objects`]: the file is gone.
    pub fn replace(&mut self, file: &str, objects: Objects) -> Vec<Change> {
        let stated = Stated {
            services: objects.services.keys().cloned().collect(),
            slices: objects.slices.keys().cloned().collect(),
            nodes: objects.nodes.keys().cloned().collect(),
        };
        let is_empty = objects.services.is_empty() && objects.slices.is_empty() && objects.nodes.is_empty();
        let old = self.stated.insert(file.to_owned(), stated).unwrap_or_default();
        if is_empty {
            self.stated.remove(file);
        }
        let services = restate(&mut self.services, file, old.services, objects.services);
        let slices = restate(&mut self.slices, file, old.slices, objects.slices);
        let nodes = restate(&mut self.nodes, file, old.nodes, objects.nodes);
        let services =
            services.into_iter().map(|(name, fact)| fact.map_or(Change::DeleteService(name), Change::PutService));
        let slices = slices.into_iter().map(|(name, fact)| fact.map_or(Change::DeleteSlice(name), Change::PutSlice));
        let nodes = nodes.into_iter().map(|(name, fact)| fact.map_or(Change::DeleteNode(name.name), Change::PutNode));
        services.chain(slices).chain(nodes).collect()
    }

    /// The file and line of the service that counts.
    pub fn service_place(&self, name: &ObjectName) -> Option<(&str, u64)> {
        place(&self.services, name)
    }

    /// The file and line of the slice that counts.
    pub fn slice_place(&self, name: &ObjectName) -> Option<(&str, u64)> {
        place(&self.slices, name)
    }

    /// Objects that more than one file states.
    pub fn duplicates(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        second_statements("Service", &self.services, &mut problems);
        second_statements("EndpointSlice", &self.slices, &mut problems);
        second_statements("Node", &self.nodes, &mut problems);
        problems
    }
}

fn place<'a, Fact>(statements: &'a Statements<Fact>, name: &ObjectName) -> Option<(&'a str, u64)> {
    let (file, (line, _)) = statements.get(name)?.first_key_value()?;
    Some((file, *line))
}

/// Replaces what `file` states; the objects it touches, with what counts now.
fn restate<Fact>(
    statements: &mut Statements<Fact>,
    file: &str,
    old: BTreeSet<ObjectName>,
    new: BTreeMap<ObjectName, (u64, Arc<Fact>)>,
) -> Vec<(ObjectName, Option<Arc<Fact>>)> {
    let mut touched = old;
    for name in &touched {
        if let Some(by_file) = statements.get_mut(name) {
            by_file.remove(file);
        }
    }
    for (name, statement) in new {
        statements.entry(name.clone()).or_default().insert(file.to_owned(), statement);
        touched.insert(name);
    }
    let counts = touched.into_iter().map(|name| {
        let fact = statements.get(&name).and_then(BTreeMap::first_key_value).map(|(_, (_, fact))| fact.clone());
        if fact.is_none() {
            statements.remove(&name);
        }
        (name, fact)
    });
    counts.collect()
}

fn second_statements<Fact>(kind: &str, statements: &Statements<Fact>, problems: &mut Vec<Problem>) {
    for (name, by_file) in statements.iter().filter(|(_, by_file)| by_file.len() > 1) {
        let mut by_file = by_file.iter();
        let Some((first, (first_line, _))) = by_file.next() else { continue };
        problems.extend(by_file.map(|(file, (line, _))| Problem {
            file: file.clone(),
            line: *line,
            column: 0,
            severity: Severity::Error,
            text: format!(
                "{kind} {}: ignored, {first}:{first_line} states it already; delete one of them",
                title(name)
            ),
        }));
    }
}

/// A node has no namespace.
fn title(name: &ObjectName) -> String {
    if name.namespace.is_empty() { name.name.to_string() } else { name.to_string() }
}
