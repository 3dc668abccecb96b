//! What the loop decides by and writes to: source, addresses, engine, applier. Knows nothing of who looks on.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use fairlead_proxy_model::{Change, Engine, Entry, Family, Recomputed};

use super::problems::Told;
use crate::addresses::OwnAddresses;
use crate::apply::{Applier, Next};
use crate::config::Config;
use crate::flows::{Clean, Flows};
use crate::maps::Maps;
use crate::sources::Source;

/// See the head of the file.
pub struct Core<M> {
    pub source: Source,
    pub addresses: OwnAddresses,
    pub engine: Engine,
    pub applier: Applier<M>,
    pub flows: Flows,
    pub config: Config,
    /// This node's addresses at which NodePorts are served.
    pub own_addresses: BTreeSet<IpAddr>,
    /// Why they are not known; `None`: they are.
    pub(super) addresses_unknown: Option<String>,
    /// Why the configuration file is not in force as it is now; `None`: it is.
    pub(super) config_refused: Option<String>,
    /// Others know what has become of the node's own object.
    pub node_told: bool,
    /// Everything that was there at the start has been taken in.
    complete: bool,
    /// The first complete state is in the maps.
    pub ready: bool,
    /// Seconds since 1970.
    pub started: u64,
    /// Frontends and addresses found in the maps at the start.
    pub restored: usize,
    pub(super) told: Told,
}

/// How many changes were news.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    pub services: usize,
    pub slices: usize,
}

impl<M: Maps> Core<M> {
    /// Takes over the maps as they are, and begins to watch.
    pub async fn open(config: &Config, maps: M, cleaner: Box<dyn Clean>) -> Result<Self> {
        let source = Source::open(&config.source, config.service_proxy_name.as_deref()).await?;
        let addresses = OwnAddresses::open(config)?;
        let applier = Applier::restore(maps)?;
        let restored = applier.actual().entries().count();
        tracing::info!(entries = restored, "took over the maps as they are");
        let inherited = applier.actual().entries().filter_map(|entry| match entry {
            Entry::Frontend(key) => Some(key),
            Entry::Address(_) => None,
        });
        let flows = Flows::new(cleaner, inherited);
        Ok(Self {
            source,
            addresses,
            engine: Engine::new(config.settings()),
            applier,
            flows,
            config: config.clone(),
            own_addresses: BTreeSet::new(),
            addresses_unknown: None,
            config_refused: None,
            node_told: false,
            complete: false,
            ready: false,
            started: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            restored,
            told: Told::default(),
        })
    }

    /// Gives the engine changes. `triggered`: when a slice that is news was changed in the cluster, nanoseconds since 1970.
    pub fn feed(&mut self, changes: Vec<Change>, mut triggered: impl FnMut(Family, i64)) -> Taken {
        let mut taken = Taken::default();
        for change in changes {
            let (counter, trigger) = match &change {
                Change::PutService(_) | Change::DeleteService(_) => (Some(&mut taken.services), None),
                Change::PutSlice(slice) => (Some(&mut taken.slices), slice.triggered.map(|at| (slice.family, at))),
                Change::DeleteSlice(_) => (Some(&mut taken.slices), None),
                Change::PutNode(_) | Change::DeleteNode(_) | Change::OwnAddresses(_) => (None, None),
            };
            if self.engine.apply(change) {
                counter.into_iter().for_each(|counter| *counter += 1);
                if let Some((family, at)) = trigger {
                    triggered(family, at);
                }
            }
        }
        taken
    }

    /// Takes up this node's addresses, if they may have changed. `true`: they have.
    pub fn load_addresses(&mut self) -> bool {
        match self.addresses.load() {
            Ok(Some(change)) => {
                if let Change::OwnAddresses(own) = &change {
                    self.own_addresses.clone_from(own);
                }
                self.engine.apply(change);
                self.addresses_unknown = None;
                true
            }
            Ok(None) => {
                self.addresses_unknown = None;
                false
            }
            Err(error) => {
                self.addresses_unknown = Some(format!("{error:#}"));
                false
            }
        }
    }

    /// Whether everything is known that was there at the start; the first time it is, all of the maps is to be compared.
    pub fn complete(&mut self) -> bool {
        if !self.complete && self.source.is_synced() {
            self.complete = true;
            if self.source.is_partial() {
                self.applier.hold();
            }
            // What is in the maps and nobody states is to go too.
            self.applier.mark(self.applier.actual().entries().collect::<Vec<_>>());
        }
        self.complete
    }

    /// Whether [`Core::complete`] has said so.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Decides what the changes touch.
    pub fn recompute(&mut self) -> Recomputed {
        if !self.source.is_partial() {
            self.applier.let_go();
        }
        let news = self.engine.recompute();
        self.flows.touched(&self.engine, &news.names);
        if !news.touched.is_empty() {
            tracing::debug!(entries = news.touched.len(), services = news.services, "recomputed");
        }
        news
    }

    /// Has what was decided written with the next step, and tells an operator what is new.
    pub fn decided(&mut self, news: Recomputed) {
        self.log_notices(&news);
        self.applier.mark(news.touched);
    }

    /// Writes what can be written without waiting.
    pub fn step(&mut self) -> Next {
        let before = self.applier.tally().operations;
        let next = self.applier.step(self.engine.desired());
        let operations = self.applier.tally().operations - before;
        if operations > 0 && self.ready {
            tracing::debug!(operations, "the maps are brought up to date");
        }
        next
    }

    /// Whether all is written that there is room for, and nothing failed.
    pub fn is_up_to_date(&self) -> bool {
        self.applier.last_error().is_none() && self.applier.is_written()
    }

    /// `true`: the first complete state has just been applied.
    pub fn become_ready(&mut self) -> bool {
        if std::mem::replace(&mut self.ready, true) {
            return false;
        }
        let (services, slices) = self.engine.counts();
        let operations = self.applier.tally().operations;
        tracing::info!(services, slices, operations, "ready: the first state is applied");
        true
    }

    /// Reads the configuration again. What of it needs a new start; `None`: it is refused, and the old one stays in force.
    pub fn reload(&mut self) -> Option<Vec<&'static str>> {
        let new = match self.config.reloaded() {
            Ok(new) => new,
            Err(error) => {
                self.config_refused = Some(format!("configuration: {error:#}; the last good one stays in force"));
                return None;
            }
        };
        self.config_refused = None;
        let restart = self.config.needs_restart(&new);
        for remark in new.remarks.iter().filter(|remark| !self.config.remarks.contains(remark)) {
            tracing::warn!("configuration: {remark}");
        }
        tracing::info!("the configuration was read again");
        // What needs a new start stays as it was started with.
        self.config = Config { source: self.config.source.clone(), node: self.config.node.clone(), ..new };
        self.engine.set_settings(self.config.settings());
        self.addresses.set_config(&self.config);
        Some(restart)
    }
}
