//! What an operator should know: logged when it comes and when it goes, listed for whoever asks.
//!
//! What the engine notices comes as news, so that its cost is that of the change. The rest is short, and looked at whole.

use std::collections::{BTreeMap, BTreeSet};

use fairlead_proxy_model::{Entry, Notice, ObjectName, Recomputed, Subject, Weight, frontend_name};

use super::core::Core;
use crate::maps::Maps;
use crate::sources::{Problem, Severity};

/// What has been logged and still is so, the engine's notices apart.
#[derive(Debug, Default)]
pub struct Told {
    problems: BTreeSet<Problem>,
}

impl<M: Maps> Core<M> {
    /// Logs what the engine noticed, and what it no longer does.
    pub(super) fn log_notices(&self, news: &Recomputed) {
        for notice in &news.notices_new {
            log(&self.explain(notice));
        }
        for notice in &news.notices_gone {
            tracing::info!("no longer so: {notice}");
        }
    }

    /// Logs everything else that has come and gone. Services that have just been found not to fit into the maps.
    pub(super) fn log_problems(&mut self) -> Vec<(ObjectName, String)> {
        let mut no_room = self.no_room();
        let mut problems = self.other_problems();
        problems.extend(no_room.keys().cloned());
        for problem in problems.difference(&self.told.problems) {
            log(problem);
        }
        for problem in self.told.problems.difference(&problems) {
            tracing::info!("no longer so: {problem}");
        }
        no_room.retain(|problem, _| !self.told.problems.contains(problem));
        self.told.problems = problems;
        no_room.into_iter().map(|(problem, service)| (service, problem.text)).collect()
    }

    /// All that is so now.
    pub(super) fn problems(&self) -> BTreeSet<Problem> {
        let mut problems = self.other_problems();
        problems.extend(self.no_room().into_keys());
        problems.extend(self.engine.notices().iter().map(|notice| self.explain(notice)));
        problems
    }

    /// Of source, addresses, configuration, and of what is held over.
    fn other_problems(&self) -> BTreeSet<Problem> {
        let mut problems = self.source.problems();
        problems.extend(self.addresses.problem().map(|text| at(None, Severity::Warning, text)));
        let errors = [&self.addresses_unknown, &self.config_refused];
        problems.extend(errors.into_iter().flatten().map(|text| at(None, Severity::Error, text.clone())));
        let held_over = self.applier.held_over().len();
        if held_over > 0 {
            let text = format!(
                "{held_over} entries are kept as they were before the start: a file that may state them cannot be used"
            );
            problems.insert(at(None, Severity::Warning, text));
        }
        problems
    }

    /// What does not fit into the maps, and whose it is.
    fn no_room(&self) -> BTreeMap<Problem, ObjectName> {
        let found = self.applier.no_room().iter().filter_map(|(entry, no_room)| {
            let Entry::Frontend(key) = entry else { return None };
            let service = &self.engine.owner(key)?.service;
            let text = format!(
                "Service {service}: {} is not brought up to date: {no_room}; run with larger maps after `cleanup`",
                frontend_name(key)
            );
            Some((at(self.source.service_place(service), Severity::Error, text), service.clone()))
        });
        found.collect()
    }

    fn explain(&self, notice: &Notice) -> Problem {
        let severity = match notice.weight() {
            Weight::Error => Severity::Error,
            Weight::Warning => Severity::Warning,
            Weight::Notice => Severity::Notice,
        };
        let place = match notice.subject() {
            Subject::Service(service) => self.source.service_place(service),
            Subject::Slice(slice) => self.source.slice_place(slice),
        };
        at(place, severity, notice.to_string())
    }
}

fn log(problem: &Problem) {
    match problem.severity {
        Severity::Error => tracing::error!("{problem}"),
        Severity::Warning => tracing::warn!("{problem}"),
        Severity::Notice => tracing::info!("{problem}"),
    }
}

fn at(place: Option<(&str, u64)>, severity: Severity, text: String) -> Problem {
    let (file, line) = place.map_or((String::new(), 0), |(file, line)| (file.to_owned(), line));
    Problem { file, line, column: 0, severity, text }
}
