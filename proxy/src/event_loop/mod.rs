//! The daemon's loop: one owner of all state, a closed list of reasons to wake.
//!
//! Nothing is written before everything that was there at the start has been taken in. After that each wake-up takes in a
//! bounded number of changes, recomputes what they touch, and lets the applier write the difference. What an operator is
//! told comes last, and never costs more than what changed.

mod core;
mod problems;
mod view;

use std::future::pending;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use fairlead_proxy_model::{Change, NodeFact};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};

use self::core::Core;
use crate::apply::Next;
use crate::config::Config;
use crate::config::file::Watched;
use crate::events::Event;
use crate::flows::{Clean, Cleaned};
use crate::health::services::Addresses;
use crate::kernel_settings;
use crate::maps::{Host, Maps};
use crate::notify::notify;
use crate::state::StateDir;
use crate::surface::{Attention, Options, Surface};

/// Files that are read, or changes of an API server that are taken, in one go; then the maps are brought up to date before
/// the next go.
const AT_ONCE: usize = 256;

/// Why the loop wakes.
#[derive(Debug)]
enum Wakeup {
    /// The source has changes.
    Source,
    /// This node's addresses may be others.
    Addresses,
    /// The configuration file has another content.
    Config,
    /// The grace period is over.
    GraceOver(Result<()>),
    /// The pause after a failed write is over.
    Retry,
    /// Flows and sockets of endpoints that are gone were ended.
    Flows(Cleaned),
    /// It is time to look for clients of services with source ranges.
    Clients,
    /// It is time to compare the maps with what they should hold, and the source with what was read.
    Verify,
    /// SIGHUP: the same, now, and the configuration.
    Reload,
    /// Somebody wants to know something.
    Attention(Attention),
    /// SIGTERM or SIGINT.
    Terminate(&'static str),
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

/// All state of the daemon.
pub struct Daemon<M> {
    core: Core<M>,
    surface: Surface,
    config_file: Option<Watched>,
    /// The node's own object, as it was last told on.
    own_node: Option<Arc<NodeFact>>,
    grace: Option<JoinHandle<Result<()>>>,
    retry_at: Option<Instant>,
    clients_at: Option<Instant>,
    verify: Interval,
    /// Everything is compared in this round, not only what changed.
    full: bool,
}

impl<M: Maps> Daemon<M> {
    /// Takes over the maps as they are, and begins to watch. Writes nothing to them. Within the runtime.
    pub async fn open(config: &Config, maps: M, cleaner: Box<dyn Clean>, state_dir: StateDir) -> Result<Self> {
        let config_file = config.run.config.as_deref().map(Watched::open).transpose()?;
        let core = Core::open(config, maps, cleaner).await?;
        let mut surface = Surface::start(Options::new(config), state_dir)?;
        if let Some(client) = core.source.client() {
            let metrics = surface.metrics.clone();
            core.source.observe_restarts(move |watch, why| metrics.watch_restarted(watch, why));
            let metrics = surface.metrics.clone();
            // As client-go counts them: a request without an answer has a code of its own.
            client.observe(move |seen| {
                metrics.request(seen.method.as_str(), seen.code.unwrap_or_default(), seen.host, seen.took);
            });
            surface.send_events(move |request| {
                let client = client.clone();
                async move { Ok(client.send(request).await?.status()) }
            });
        }
        surface.events.send(Event::starting());
        Ok(Self {
            core,
            surface,
            config_file,
            own_node: None,
            grace: None,
            retry_at: None,
            clients_at: None,
            verify: every(config),
            full: true,
        })
    }

    /// Runs until a signal ends it. What is in the kernel stays there.
    pub async fn run(mut self) -> Result<()> {
        let mut signals = Signals {
            hangup: signal(SignalKind::hangup()).context("listen for SIGHUP")?,
            terminate: signal(SignalKind::terminate()).context("listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("listen for SIGINT")?,
        };
        self.first_load();
        loop {
            let wakeup = self.next(&mut signals).await?;
            if let Wakeup::Terminate(signal) = wakeup {
                tracing::info!("{signal}: stopping; services stay served by what is in the kernel");
                self.tell(&format!("STOPPING=1\nSTATUS=stopped by {signal}"));
                self.surface.finish(&self.core);
                return Ok(());
            }
            self.handle(wakeup);
        }
    }

    fn handle(&mut self, wakeup: Wakeup) {
        match wakeup {
            Wakeup::Source => self.load(),
            Wakeup::Addresses => {
                self.take_in(Vec::new());
                self.sync();
            }
            Wakeup::Config => {
                self.reload();
                self.sync();
            }
            Wakeup::GraceOver(outcome) => {
                let next = self.core.applier.grace_over(outcome);
                self.follow(next);
                self.sync();
            }
            Wakeup::Retry | Wakeup::Clients => self.sync(),
            Wakeup::Verify => self.verify(),
            Wakeup::Reload => {
                tracing::info!("SIGHUP: reading everything again and verifying the maps");
                self.reload();
                self.verify();
            }
            Wakeup::Flows(cleaned) => cleaned.count(&self.surface.metrics),
            Wakeup::Attention(attention) => self.surface.attend(attention, &self.core),
            // The loop ends by it, and needs nobody's help.
            Wakeup::Terminate(_) => {}
        }
    }

    async fn next(&mut self, signals: &mut Signals) -> Result<Wakeup> {
        let grace_over = async {
            match &mut self.grace {
                Some(task) => task.await.unwrap_or_else(|error| Err(anyhow!("the grace period's thread: {error}"))),
                None => pending().await,
            }
        };
        let config = async {
            match &mut self.config_file {
                Some(file) => file.changed().await,
                None => pending().await,
            }
        };
        let wakeup = tokio::select! {
            biased;
            _ = signals.terminate.recv() => Wakeup::Terminate("SIGTERM"),
            _ = signals.interrupt.recv() => Wakeup::Terminate("SIGINT"),
            outcome = grace_over => Wakeup::GraceOver(outcome),
            () = at(self.retry_at) => Wakeup::Retry,
            _ = signals.hangup.recv() => Wakeup::Reload,
            _ = self.verify.tick() => Wakeup::Verify,
            () = at(self.clients_at) => Wakeup::Clients,
            changed = config => { changed?; Wakeup::Config }
            changed = self.core.addresses.changed() => { changed?; Wakeup::Addresses }
            attention = self.surface.next() => Wakeup::Attention(attention?),
            cleaned = self.core.flows.finished() => Wakeup::Flows(cleaned),
            changed = self.core.source.changed() => { changed?; Wakeup::Source }
        };
        match &wakeup {
            Wakeup::GraceOver(_) => self.grace = None,
            Wakeup::Retry => self.retry_at = None,
            Wakeup::Clients => self.clients_at = None,
            _ => {}
        }
        Ok(wakeup)
    }

    /// Takes in all that is there, and writes it if that is everything. An API server's lists come later, in pieces.
    fn first_load(&mut self) {
        let mut changes = Vec::new();
        while self.core.source.load(AT_ONCE, &mut changes) {}
        self.take_in(changes);
        self.sync();
    }

    fn load(&mut self) {
        let mut changes = Vec::new();
        self.core.source.load(AT_ONCE, &mut changes);
        self.take_in(changes);
        self.sync();
    }

    fn verify(&mut self) {
        self.core.source.rescan();
        self.core.addresses.rescan();
        self.core.applier.verify();
        self.full = true;
        self.load();
    }

    /// Takes in changes; recomputes what they touch as soon as everything is known that was there at the start.
    fn take_in(&mut self, changes: Vec<Change>) {
        let taken = self.core.feed(changes, |family, at| self.surface.triggered(family, at));
        self.surface.queued(taken.services, taken.slices);
        self.follow_node();
        if !self.core.complete() {
            return;
        }
        let news = self.core.recompute();
        self.surface.recomputed(&news, &self.core.engine);
        self.core.decided(news);
    }

    /// The node's own object and addresses decide where NodePorts are, and whether load balancers may come.
    fn follow_node(&mut self) {
        let own = self.core.engine.own_node().cloned();
        let is_news = self.own_node != own || !self.core.node_told;
        if is_news {
            self.surface.node(own.as_deref());
            self.core.addresses.set_node(own.as_deref());
            self.own_node = own;
            self.core.node_told = true;
        }
        let has_moved = self.core.load_addresses();
        if has_moved || is_news {
            let settings = self.core.engine.settings();
            let node = self.own_node.iter().flat_map(|node| node.addresses.iter().copied());
            let addresses = node.chain(self.core.own_addresses.iter().copied());
            self.core.applier.set_host(Host::new(settings.localhost_node_ports, addresses));
            self.surface.addresses(match self.core.config.node_ports.is_all() {
                true => Addresses::All,
                false => Addresses::These(self.core.own_addresses.clone()),
            });
        }
    }

    /// Takes up the configuration file as it is now, as far as that is possible without a new start.
    fn reload(&mut self) {
        if self.core.config.run.config.is_none() {
            return;
        }
        let Some(restart) = self.core.reload() else { return };
        if !restart.is_empty() {
            let fields = restart.join(", ");
            tracing::warn!("configuration: {fields}: changed, and in force only after a new start");
        }
        self.verify = every(&self.core.config);
        self.surface.configured(&self.core.config.effective);
        for failed in kernel_settings::apply(&self.core.config) {
            tracing::warn!("{failed}");
        }
        self.core.node_told = false;
        self.take_in(Vec::new());
    }

    /// Writes what is to be written, unless a pause after a failure is on, and tells how it went.
    fn sync(&mut self) {
        if self.core.is_complete() && self.retry_at.is_none() {
            let next = self.core.step();
            self.follow(next);
            if self.core.is_up_to_date() {
                let full = std::mem::take(&mut self.full);
                self.surface.synced(full);
                if full {
                    self.core.flows.review(!self.core.source.is_partial());
                }
                self.core.flows.start();
                if self.core.become_ready() {
                    self.tell("READY=1\nSTATUS=serving");
                }
            }
            self.clients_at = self.core.applier.meet_clients().map(|pause| Instant::now() + pause);
        }
        for (service, text) in self.core.log_problems() {
            self.surface.no_room(&service, &text);
        }
        self.surface.report(&self.core);
    }

    fn follow(&mut self, next: Next) {
        if let Some(grace) = next.grace {
            self.grace = Some(spawn_blocking(grace));
        }
        if let Some(pause) = next.retry {
            self.full = true;
            self.retry_at = Some(Instant::now() + pause);
        }
    }

    fn tell(&self, state: &str) {
        if let Err(error) = notify(state) {
            tracing::warn!("cannot tell the service manager ($NOTIFY_SOCKET): {error}");
        }
    }
}

/// When the maps are verified.
fn every(config: &Config) -> Interval {
    let mut verify = interval_at(Instant::now() + config.verify_every, config.verify_every);
    verify.set_missed_tick_behavior(MissedTickBehavior::Delay);
    verify
}

/// Waits until then; without a time, for ever.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests;
