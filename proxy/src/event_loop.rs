//! The daemon's loop: one owner of all state, a closed list of reasons to wake.
//!
//! Nothing is written before every file has been read once. After that each wake-up takes in a bounded number of changes,
//! recomputes what they touch, and lets the applier write the difference.

use std::collections::BTreeSet;
use std::future::pending;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use fairlead_proxy_model::{Change, Engine, Entry, Notice, Settings, Subject, Weight, entry_name, frontend_name};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};

use crate::apply::{Applier, Next};
use crate::config::{Config, SourceConfig};
use crate::maps::Maps;
use crate::notify::notify;
use crate::sources::directory::Directory;
use crate::sources::{Problem, Severity};
use crate::state::{Owner, Owners, StateDir, Status};

/// Files that are read in one go; then the maps are brought up to date before the next go.
const FILES_AT_ONCE: usize = 256;

/// Why the loop wakes.
#[derive(Debug)]
enum Wakeup {
    /// Files have changed.
    Source,
    /// The grace period is over.
    GraceOver(Result<()>),
    /// The pause after a failed write is over.
    Retry,
    /// It is time to compare the maps with what they should hold, and the directory with what was read.
    Verify,
    /// SIGHUP: the same, now.
    Reload,
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
    source: Directory,
    engine: Engine,
    applier: Applier<M>,
    state_dir: StateDir,
    status: Status,
    owners: Owners,
    problems: BTreeSet<Problem>,
    grace: Option<JoinHandle<Result<()>>>,
    retry_at: Option<Instant>,
    verify: Interval,
}

impl<M: Maps> Daemon<M> {
    /// Takes over the maps as they are. Writes nothing to them.
    pub fn new(config: &Config, maps: M, state_dir: StateDir) -> Result<Self> {
        let SourceConfig::Directory(directory) = &config.source else {
            bail!("{}: this build serves directories only; give --source DIR", config.source);
        };
        let source = Directory::open(directory)?;
        let applier = Applier::restore(maps)?;
        let restored = applier.actual().entries().count();
        tracing::info!(frontends = restored, "took over the maps as they are");
        let mut verify = interval_at(Instant::now() + config.verify_every, config.verify_every);
        verify.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            source,
            engine: Engine::new(Settings::new(config.node.clone())),
            applier,
            state_dir,
            status: Status {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pid: std::process::id(),
                started: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
                node: config.node.clone(),
                source: config.source.to_string(),
                files: None,
                services: 0,
                slices: 0,
                ready: false,
                restored,
                held_over: Vec::new(),
                tally: Default::default(),
                last_error: None,
                problems: Vec::new(),
            },
            owners: Owners::new(),
            problems: BTreeSet::new(),
            grace: None,
            retry_at: None,
            verify,
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
                return Ok(());
            }
            self.handle(wakeup);
        }
    }

    fn handle(&mut self, wakeup: Wakeup) {
        match wakeup {
            Wakeup::Source => self.load(),
            Wakeup::GraceOver(outcome) => {
                let next = self.applier.grace_over(outcome);
                self.follow(next);
                self.sync();
            }
            Wakeup::Retry => self.sync(),
            Wakeup::Verify => self.verify(),
            Wakeup::Reload => {
                tracing::info!("SIGHUP: reading all files again and verifying the maps");
                self.verify();
            }
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
        let retry = async {
            match self.retry_at {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        };
        let wakeup = tokio::select! {
            biased;
            _ = signals.terminate.recv() => Wakeup::Terminate("SIGTERM"),
            _ = signals.interrupt.recv() => Wakeup::Terminate("SIGINT"),
            outcome = grace_over => Wakeup::GraceOver(outcome),
            () = retry => Wakeup::Retry,
            _ = signals.hangup.recv() => Wakeup::Reload,
            _ = self.verify.tick() => Wakeup::Verify,
            changed = self.source.changed() => { changed?; Wakeup::Source }
        };
        match &wakeup {
            Wakeup::GraceOver(_) => self.grace = None,
            Wakeup::Retry => self.retry_at = None,
            _ => {}
        }
        Ok(wakeup)
    }

    /// Reads every file before the first write, whatever is in it.
    fn first_load(&mut self) {
        let mut changes = Vec::new();
        while self.source.load(FILES_AT_ONCE, &mut changes) {}
        if self.source.is_partial() {
            self.applier.hold();
        }
        self.take_in(changes);
        self.applier.mark_all(self.engine.desired());
        self.sync();
    }

    fn load(&mut self) {
        let mut changes = Vec::new();
        self.source.load(FILES_AT_ONCE, &mut changes);
        self.take_in(changes);
        self.sync();
    }

    fn verify(&mut self) {
        self.source.rescan();
        self.applier.verify();
        self.load();
    }

    fn take_in(&mut self, changes: Vec<Change>) {
        for change in changes {
            self.engine.apply(change);
        }
        if !self.source.is_partial() {
            self.applier.let_go();
        }
        let touched = self.engine.recompute().touched;
        if !touched.is_empty() {
            tracing::debug!(entries = touched.len(), "recomputed");
        }
        self.applier.mark(touched);
    }

    /// Writes what is to be written, unless a pause after a failure is on, and tells how it went.
    fn sync(&mut self) {
        if self.retry_at.is_none() {
            let before = self.applier.tally().operations;
            let next = self.applier.step(self.engine.desired());
            let operations = self.applier.tally().operations - before;
            if operations > 0 && self.status.ready {
                tracing::info!(operations, "the maps are brought up to date");
            }
            self.follow(next);
            if !self.status.ready && self.applier.last_error().is_none() && self.applier.is_written() {
                self.become_ready();
            }
        }
        self.report();
    }

    fn follow(&mut self, next: Next) {
        if let Some(grace) = next.grace {
            self.grace = Some(spawn_blocking(grace));
        }
        if let Some(pause) = next.retry {
            self.retry_at = Some(Instant::now() + pause);
        }
    }

    fn become_ready(&mut self) {
        if !std::mem::replace(&mut self.status.ready, true) {
            self.report();
            let (files, services, slices) = (self.status.files.unwrap_or(0), self.status.services, self.status.slices);
            let operations = self.status.tally.operations;
            tracing::info!(files, services, slices, operations, "ready: the first state is applied");
            self.tell("READY=1\nSTATUS=serving");
        }
    }

    /// Logs problems that have come and gone, and writes what the verbs read.
    fn report(&mut self) {
        let problems = self.collect_problems();
        for problem in problems.difference(&self.problems) {
            match problem.severity {
                Severity::Error => tracing::error!("{problem}"),
                Severity::Warning => tracing::warn!("{problem}"),
                Severity::Notice => tracing::info!("{problem}"),
            }
        }
        for problem in self.problems.difference(&problems) {
            tracing::info!("no longer so: {problem}");
        }
        self.problems = problems;

        let owners = self.collect_owners();
        let (services, slices) = self.engine.counts();
        let status = Status {
            files: Some(self.source.file_count()),
            services,
            slices,
            held_over: self.applier.held_over().iter().map(entry_name).collect(),
            tally: self.applier.tally().clone(),
            last_error: self.applier.last_error().map(str::to_owned),
            problems: self.problems.iter().cloned().collect(),
            ..self.status.clone()
        };
        let told = (|| {
            if owners != self.owners {
                self.state_dir.write_owners(&owners)?;
            }
            self.state_dir.write_status(&status)
        })();
        if let Err(error) = told {
            tracing::warn!("the status verbs will show an old state: {error:#}");
        }
        self.owners = owners;
        self.status = status;
    }

    fn collect_owners(&self) -> Owners {
        let frontends = self.engine.desired().frontends.iter();
        frontends
            .map(|(key, frontend)| {
                (frontend_name(key), Owner { service: frontend.service.to_string(), port: frontend.port.to_string() })
            })
            .collect()
    }

    fn collect_problems(&self) -> BTreeSet<Problem> {
        let mut problems = self.source.problems();
        problems.extend(self.engine.notices().into_iter().map(|notice| self.explain(notice)));
        let desired = &self.engine.desired().frontends;
        problems.extend(self.applier.no_room().iter().filter_map(|(entry, no_room)| {
            let Entry::Frontend(key) = entry else { return None };
            let service = &desired.get(key)?.service;
            let text = format!(
                "Service {service}: {} is not brought up to date: {no_room}; run with larger maps after `cleanup`",
                frontend_name(key)
            );
            Some(at(self.source.service_place(service), Severity::Error, text))
        }));
        let held_over = self.applier.held_over().len();
        if held_over > 0 {
            let text = format!(
                "{held_over} frontends are kept as they were before the start: a file that may state them cannot be used"
            );
            problems.insert(at(None, Severity::Warning, text));
        }
        problems
    }

    fn explain(&self, notice: Notice) -> Problem {
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

    fn tell(&self, state: &str) {
        if let Err(error) = notify(state) {
            tracing::warn!("cannot tell the service manager ($NOTIFY_SOCKET): {error}");
        }
    }
}

fn at(place: Option<(&str, u64)>, severity: Severity, text: String) -> Problem {
    let (file, line) = place.map_or((String::new(), 0), |(file, line)| (file.to_owned(), line));
    Problem { file, line, column: 0, severity, text }
}

#[cfg(test)]
mod tests;
