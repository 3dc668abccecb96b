//! The loop's state for whoever looks on.

use std::collections::BTreeMap;

use fairlead_ebpf_shared::{FrontendKey, Reason};
use fairlead_proxy_model::{Engine, Entry, Family, ObjectName, entry_name};

use super::core::Core;
use crate::maps::Maps;
use crate::metrics::Observation;
use crate::sources::Source;
use crate::state::Status;
use crate::surface::View;

impl<M: Maps> View for Core<M> {
    fn status(&self) -> Status {
        let (services, slices) = self.engine.counts();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started: self.started,
            node: self.config.node.clone(),
            source: self.config.source.to_string(),
            files: matches!(self.source, Source::Directory(_)).then(|| self.source.file_count()),
            services,
            slices,
            ready: self.ready,
            restored: self.restored,
            held_over: self.applier.held_over().iter().map(entry_name).collect(),
            tally: self.applier.tally().clone(),
            last_error: self.applier.last_error().map(str::to_owned),
            problems: self.problems().into_iter().collect(),
        }
    }

    fn observe(&self) -> Observation {
        let (services, slices) = self.engine.counts();
        let fill = self.applier.actual().fill();
        let sizes = fill.sizes;
        let used = [
            ("SETS", fill.slots, sizes.slots),
            ("BACKENDS", fill.backends, sizes.backends),
            ("ADDRESSES", fill.addresses, sizes.addresses),
            ("RANGES", fill.ranges, sizes.ranges),
        ];
        let mut problems = BTreeMap::new();
        for problem in self.problems() {
            *problems.entry(problem.severity).or_insert(0) += 1;
        }
        let no_local = self.engine.no_local();
        let by_family = |policy, counts: [usize; 2]| {
            Family::ALL.into_iter().zip(counts).map(move |(family, count)| (policy, family, count))
        };
        // Without them a scrape tells the rest.
        let counters = self.applier.counters().unwrap_or_default();
        Observation {
            ready: self.ready,
            services,
            slices,
            frontends: self.applier.actual().entries().filter(|entry| matches!(entry, Entry::Frontend(_))).count(),
            fill: used.map(|(map, used, size)| (map, u64::from(used), u64::from(size))).to_vec(),
            programs: Reason::ALL.iter().zip(counters).map(|(reason, count)| (reason.name(), count)).collect(),
            tally: self.applier.tally().clone(),
            problems: problems.into_iter().collect(),
            no_room: self.applier.no_room().len(),
            held_over: self.applier.held_over().len(),
            no_local: by_family("internal", no_local.internal)
                .chain(by_family("external", no_local.external))
                .collect(),
            watches: self.source.watches(),
        }
    }

    fn owners(&self, each: &mut dyn FnMut(&FrontendKey, &ObjectName, &str)) {
        for (key, frontend) in &self.engine.desired().frontends {
            each(key, &frontend.service, &frontend.port);
        }
    }

    fn engine(&self) -> &Engine {
        &self.engine
    }
}
