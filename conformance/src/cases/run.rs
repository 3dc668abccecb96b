//! Playing cases, several at a time, and turning what came of them into verdicts.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};

use super::case::Skip;
use super::stage::Stage;
use super::{Case, Options, Outcome, Verdict, known};
use crate::cni::Suite;
use crate::snapshot::Snapshot;

/// Cases at once for each CPU: most of a case is waiting for the kernel's grace periods, and one of those serves all who wait.
const WAITING: usize = 3;
/// Facts told of one difference to the peer; the rest is counted.
const TOLD: usize = 12;

/// All verdicts, in the order of the tables.
#[derive(Debug)]
pub struct Judged {
    /// One for each case and version.
    pub outcomes: Vec<Outcome>,
}

impl Judged {
    /// How many failed.
    pub fn failures(&self) -> usize {
        self.outcomes.iter().filter(|outcome| matches!(outcome.verdict, Verdict::Fails { .. })).count()
    }

    /// Rows of the list of known faults that this run should have met and did not.
    pub fn idle_faults(&self) -> Vec<String> {
        known::idle(&self.outcomes)
    }
}

pub(super) fn play_all(cases: Vec<Case>, options: &Options) -> Result<Judged> {
    let suite = suite("judged", &options.bin_dir)?;
    let peer = options.peer.as_deref().map(|dir| self::suite("peer", dir)).transpose()?;
    let mut runs: Vec<(Case, &'static str)> = Vec::new();
    for case in cases {
        let asked = |version: &&&str| options.spec.is_empty() || options.spec.iter().any(|one| one == **version);
        runs.extend(case.versions.iter().filter(asked).map(|version| (case.clone(), *version)));
    }
    if runs.is_empty() {
        bail!("no case holds for version {}", options.spec.join(", "));
    }
    let next = AtomicUsize::new(0);
    let told: Mutex<Vec<(usize, Outcome)>> = Mutex::new(Vec::new());
    let processors = || std::thread::available_parallelism().map_or(1, usize::from);
    let workers = options.jobs.unwrap_or_else(|| processors() * WAITING).max(1);
    std::thread::scope(|scope| {
        for _ in 0..workers.min(runs.len()) {
            scope.spawn(|| {
                while let Some((number, (case, version))) = take(&next, &runs) {
                    let verdict = verdict(case, version, &suite, peer.as_ref());
                    let Case { id, plugin, verb, title, source, .. } = *case;
                    let outcome = Outcome { id, plugin, verb, title, source, version, verdict };
                    told.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((number, outcome));
                }
            });
        }
    });
    let mut told = told.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    told.sort_by_key(|(number, _)| *number);
    Ok(Judged { outcomes: told.into_iter().map(|(_, outcome)| outcome).collect() })
}

fn take<'a>(next: &AtomicUsize, runs: &'a [(Case, &'static str)]) -> Option<(usize, &'a (Case, &'static str))> {
    let number = next.fetch_add(1, Ordering::Relaxed);
    Some((number, runs.get(number)?))
}

fn suite(name: &'static str, dir: &Path) -> Result<Suite> {
    let bin = dir.canonicalize().with_context(|| format!("find the plugins in {}", dir.display()))?;
    if !bin.is_dir() {
        bail!("{} is no directory: say where the plugins' binaries are", bin.display());
    }
    Ok(Suite { name, bin })
}

fn verdict(case: &Case, version: &'static str, suite: &Suite, peer: Option<&Suite>) -> Verdict {
    if !suite.binary(case.plugin).is_file() {
        let why = format!("there is no {} in {}", case.plugin, suite.bin.display());
        return Verdict::Skipped { kernel: None, why };
    }
    let (seen, played) = play(case, version, suite, peer);
    match played {
        Ok(()) => match peer {
            Some(peer) if peer.binary(case.plugin).is_file() => compare(case, version, peer, suite, &seen),
            _ => Verdict::Pass,
        },
        Err(error) => match error.downcast_ref::<Skip>() {
            Some(skip) => Verdict::Skipped { kernel: skip.kernel, why: skip.why.clone() },
            None => {
                let why = format!("{error:#}");
                match known::fault_of(case, version).filter(|_| known::is_reference(&suite.binary(case.plugin))) {
                    Some(fault) => Verdict::KnownFault { issue: fault.issue, what: fault.what, why },
                    None => Verdict::Fails { why },
                }
            }
        },
    }
}

/// What was seen on the way stays worth knowing when the case failed.
fn play(case: &Case, version: &'static str, suite: &Suite, peer: Option<&Suite>) -> (Snapshot, Result<()>) {
    match Stage::new(case.plugin, version, suite, peer) {
        Ok(mut stage) => {
            let played = (case.play)(&mut stage);
            (stage.seen(), played)
        }
        Err(error) => (Snapshot::default(), Err(error)),
    }
}

/// The same on the peer. A peer that breaks the rule is nothing to compare with.
fn compare(case: &Case, version: &'static str, peer: &Suite, suite: &Suite, ours: &Snapshot) -> Verdict {
    let (theirs, Ok(())) = play(case, version, peer, Some(suite)) else { return Verdict::Pass };
    let changes = theirs.diff(ours);
    if changes.is_empty() {
        return Verdict::Pass;
    }
    let mut facts: Vec<String> = changes.iter().take(TOLD).map(ToString::to_string).collect();
    if changes.len() > TOLD {
        facts.push(format!("and {} more", changes.len() - TOLD));
    }
    Verdict::Differs { facts }
}
