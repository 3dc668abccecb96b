//! How the watches stand and what objects have told, for whoever asks: one line a state, however often it is retried.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use fairlead_proxy_model::ObjectName;
use tokio::time::Instant;

use super::failure::Failure;
use super::ledger::Told;
use crate::convert::api::Collection;
use crate::sources::{Problem, Severity};

/// A reason that changes while a watch fails is told anew after so long.
const SAME_STORY: Duration = Duration::from_secs(60);
/// A watch that fails is told about when it has failed so often …
const PATIENCE: u32 = 2;

/// Is told which watch had to begin anew, and why in one word.
pub type Restarts = Box<dyn Fn(Collection, &'static str) + Send>;

/// How one watch stands.
#[derive(Debug, Default)]
struct Standing {
    /// Its first list has been complete.
    synced: bool,
    /// Why it fails, since when that is told.
    failing: Option<(String, Instant)>,
    told: BTreeMap<ObjectName, Vec<Told>>,
}

/// See the head of the file.
#[derive(Default)]
pub struct Board {
    standings: BTreeMap<Collection, Standing>,
    restarts: Option<Restarts>,
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.standings.fmt(f)
    }
}

impl Board {
    /// Has every restart told.
    pub fn observe(&mut self, restarts: Restarts) {
        self.restarts = Some(restarts);
    }

    /// A list is complete.
    pub fn listed(&mut self, collection: Collection) {
        self.standings.entry(collection).or_default().synced = true;
    }

    /// `true`: an operator should hear that it works again.
    pub fn works(&mut self, collection: Collection) -> bool {
        self.standings.entry(collection).or_default().failing.take().is_some()
    }

    /// A try failed, the `nth` in a row. `true`: an operator should hear of it.
    pub fn fails(&mut self, collection: Collection, failure: &Failure, nth: u32) -> bool {
        if let Some(restarts) = &self.restarts {
            restarts(collection, failure.kind());
        }
        let standing = self.standings.entry(collection).or_default();
        // Streams break; the first try behind a break mends nearly all of them.
        if standing.synced && nth < PATIENCE && standing.failing.is_none() {
            return false;
        }
        let reason = failure.to_string();
        match &standing.failing {
            Some((told, since)) if *told == reason || since.elapsed() < SAME_STORY => false,
            _ => {
                standing.failing = Some((reason, Instant::now()));
                true
            }
        }
    }

    /// Objects have told something. `true`: an operator should hear of it.
    pub fn told(&mut self, collection: Collection, told: Vec<(ObjectName, Vec<Told>)>) -> bool {
        let standing = self.standings.entry(collection).or_default();
        let mut news = false;
        for (name, told) in told {
            let old = if told.is_empty() {
                standing.told.remove(&name)
            } else {
                news |= standing.told.get(&name) != Some(&told);
                standing.told.insert(name, told)
            };
            news |= old.is_some();
        }
        news
    }

    /// Whether a watch has had a complete list and does not fail.
    pub fn stands(&self, collection: Collection) -> bool {
        self.standings.get(&collection).is_some_and(|standing| standing.synced && standing.failing.is_none())
    }

    /// Everything that an operator should know.
    pub fn problems(&self, server: &str) -> BTreeSet<Problem> {
        let mut problems = BTreeSet::new();
        for (reason, watches) in self.failing() {
            let names = join(watches.iter().map(|(collection, _)| collection.name()));
            let follows = if watches.iter().all(|(_, synced)| *synced) {
                "what was received last stays in force; it is tried again"
            } else {
                "nothing is changed before they have been read once; it is tried again"
            };
            problems
                .insert(problem(Severity::Error, format!("{names} cannot be read from {server}: {reason}; {follows}")));
        }
        for told in self.standings.values().flat_map(|standing| standing.told.values()).flatten() {
            problems.insert(match told {
                Told::Remark(text) => problem(Severity::Warning, text.clone()),
                Told::Fault(text) => problem(Severity::Error, text.clone()),
            });
        }
        problems
    }

    /// Which watches fail, by reason, and whether each has had a complete list.
    fn failing(&self) -> BTreeMap<&str, Vec<(Collection, bool)>> {
        let mut by_reason: BTreeMap<&str, Vec<(Collection, bool)>> = BTreeMap::new();
        for (collection, standing) in &self.standings {
            if let Some((reason, _)) = &standing.failing {
                by_reason.entry(reason).or_default().push((*collection, standing.synced));
            }
        }
        by_reason
    }
}

fn problem(severity: Severity, text: String) -> Problem {
    Problem { file: String::new(), line: 0, column: 0, severity, text }
}

/// `a`, `a and b`, `a, b and c`.
fn join<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => names.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watches_that_fail_alike_are_one_line_and_a_hiccup_is_none() {
        let mut board = Board::default();
        let away = Failure::Connection("Connection refused".to_owned());
        assert!(board.fails(Collection::Services, &away, 1), "nothing was read yet");
        assert!(!board.fails(Collection::Services, &away, 2), "told already");
        assert!(board.fails(Collection::Slices, &away, 1));
        let told: Vec<String> = board.problems("http://api").iter().map(ToString::to_string).collect();
        let expected = "Services and EndpointSlices cannot be read from http://api: Connection refused; nothing is \
                        changed before they have been read once; it is tried again";
        assert_eq!(told, [expected]);

        for collection in [Collection::Services, Collection::Slices] {
            board.listed(collection);
            assert!(board.works(collection));
            assert!(!board.works(collection));
        }
        assert!(board.problems("http://api").is_empty());
        assert!(!board.fails(Collection::Services, &away, 1), "a hiccup");
        assert!(board.fails(Collection::Services, &away, 2));
        let other = Failure::Silence(Duration::from_secs(1));
        assert!(!board.fails(Collection::Services, &other, 3), "the reason changes, the state does not");
    }

    #[test]
    fn what_objects_tell_comes_and_goes_with_them() {
        let mut board = Board::default();
        let name = ObjectName::new("default", "web");
        let told = |text: &str| vec![(name.clone(), vec![Told::Remark(text.to_owned())])];
        assert!(board.told(Collection::Services, told("odd")));
        assert!(board.told(Collection::Services, told("odder")));
        assert_eq!(board.problems("").len(), 1);
        assert!(board.told(Collection::Services, vec![(name.clone(), Vec::new())]));
        assert!(!board.told(Collection::Services, vec![(name.clone(), Vec::new())]));
        assert!(board.problems("").is_empty());
    }
}
