//! Functions of bytes for the fuzzer: whatever a file or a server holds, it is read, refused or passed over.

use super::documents::parse;
use crate::convert::Rules;
use crate::convert::api::Collection;
use crate::fuzz::Target;

/// Name and deed of each target of this room.
pub const TARGETS: &[Target] = &[("manifests", manifests), ("slices", slices)];

/// A file of a source directory.
fn manifests(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut rules = Rules::default();
    match parse("fuzz.yaml", text, &mut rules) {
        Ok(objects) => {
            let lines = text.lines().count() as u64 + 1;
            let places = objects.services.values().map(|(line, _)| line);
            let places = places.chain(objects.slices.values().map(|(line, _)| line));
            assert!(places.into_iter().all(|line| *line <= lines), "a place outside of the file");
        }
        Err(problem) => assert!(!problem.text.is_empty() && problem.line > 0, "{problem:?}"),
    }
}

/// A line of a watch or a page of a list; the first byte says of what.
fn slices(data: &[u8]) {
    let Some((first, json)) = data.split_first() else { return };
    let collection = [Collection::Slices, Collection::Services, Collection::Nodes][usize::from(first % 3)];
    let mut rules = Rules::default();
    _ = collection.event(json, &mut rules);
    _ = collection.page(json, &mut rules);
}
