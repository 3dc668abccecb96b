//! One copy of each name.
//!
//! A hundred thousand endpoints are on a few thousand nodes in a few zones; each name is held once and shared.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use fairlead_proxy_model::Hints;

/// See the head of the file.
#[derive(Debug, Default)]
pub struct Names {
    texts: Pool<str>,
    hints: Pool<Hints>,
}

impl Names {
    /// The copy of `text` that all share.
    pub fn text(&mut self, text: &str) -> Arc<str> {
        match self.texts.shared.get(text) {
            Some(known) => known.clone(),
            None => self.texts.add(Arc::from(text)),
        }
    }

    /// The copy of `hints` that all share; `None`: there are no hints in it.
    pub fn hints(&mut self, hints: Hints) -> Option<Arc<Hints>> {
        if hints.zones.is_empty() && hints.nodes.is_empty() {
            return None;
        }
        Some(match self.hints.shared.get(&hints) {
            Some(known) => known.clone(),
            None => self.hints.add(Arc::new(hints)),
        })
    }
}

/// Values that somebody holds, and some that nobody holds any more: they are dropped when the pool has doubled.
#[derive(Debug)]
struct Pool<T: ?Sized> {
    shared: HashSet<Arc<T>>,
    sweep_at: usize,
}

impl<T: ?Sized> Default for Pool<T> {
    fn default() -> Self {
        Self { shared: HashSet::new(), sweep_at: 1024 }
    }
}

impl<T: Hash + Eq + ?Sized> Pool<T> {
    fn add(&mut self, value: Arc<T>) -> Arc<T> {
        if self.shared.len() >= self.sweep_at {
            self.shared.retain(|value| Arc::strong_count(value) > 1);
            self.sweep_at = (2 * self.shared.len()).max(1024);
        }
        self.shared.insert(value.clone());
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_names_are_one_and_unused_ones_go() {
        let mut names = Names::default();
        let held = names.text("node-0");
        assert!(Arc::ptr_eq(&held, &names.text("node-0")));
        for number in 0..10_000 {
            names.text(&format!("gone-{number}"));
        }
        assert!(names.texts.shared.len() <= 1025, "{}", names.texts.shared.len());
        assert!(Arc::ptr_eq(&held, &names.text("node-0")));

        let zone = |names: &mut Names, zone| Hints { zones: vec![names.text(zone)], nodes: Vec::new() };
        let (first, second) = (zone(&mut names, "a"), zone(&mut names, "a"));
        let first = names.hints(first).unwrap();
        assert!(Arc::ptr_eq(&first, &names.hints(second).unwrap()));
        assert_eq!(names.hints(Hints::default()), None);
    }
}
