//! `traffic probe`: not how often, but who. Each target is asked until it is improbable that another answer would come.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::Target;
use super::ask::Asker;
use super::tally::Outcome;

/// Options of `traffic probe`. The targets are read from standard input, one a line.
#[derive(Args)]
pub struct Options {
    /// How long to wait for a connection, and for an answer. A SYN is sent again after a second.
    #[arg(long, default_value_t = 1300)]
    timeout_ms: u64,
    /// Ask exactly this often.
    #[arg(long)]
    tries: Option<u64>,
    /// Time between two questions to one target.
    #[arg(long, default_value_t = 0)]
    every_ms: u64,
    /// Ask until each has been answered once, for so long at most.
    #[arg(long)]
    until_answered_ms: Option<u64>,
}

/// What came of one target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probed {
    /// Whom it asked.
    pub target: String,
    /// Answers by the name of the backend.
    pub answered: BTreeMap<String, u64>,
    /// The addresses that the backends saw as the client's, where they tell.
    pub clients: BTreeSet<String>,
    /// Connections refused.
    pub refused: u64,
    /// Requests without an answer in time.
    pub lost: u64,
    /// Other errors, in words.
    pub failed: BTreeMap<String, u64>,
}

/// Targets that are asked at the same time: what is lost waits without using anything.
const AT_ONCE: usize = 16;
/// Tries for each answer that is known. With k backends known of k + 1, the last one stays unseen in one of a million.
const TRIES: u64 = 20;
/// Tries where there is nothing but silence.
const SILENCES: u64 = 2;
/// Silences that are waited for where there are answers too.
const PATIENCE: u64 = 5;

pub(super) fn run(options: &Options) -> Result<()> {
    if options.timeout_ms == 0 {
        bail!("--timeout-ms must be at least 1");
    }
    let mut text = String::new();
    std::io::stdin().lock().read_to_string(&mut text).context("read the targets")?;
    let targets = text.lines().map(|line| line.parse().map_err(|error| anyhow::anyhow!("{line}: {error}")));
    let targets = targets.collect::<Result<Vec<Target>>>()?;
    let waiting = Mutex::new(targets.into_iter());
    let next = || waiting.lock().ok().and_then(|mut waiting| waiting.next());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(target) = next() {
                    println!("{}", serde_json::to_string(&probe(target, options)).unwrap_or_default());
                }
            });
        }
    });
    Ok(())
}

fn probe(target: Target, options: &Options) -> Probed {
    let mut probed = Probed { target: target.to_string(), ..Probed::default() };
    let timeout = Duration::from_millis(options.timeout_ms);
    let start = Instant::now();
    for number in 0u64.. {
        // A new one each time: an unconnected UDP socket that is used again belongs to the flow of before.
        probed.count(Asker::new(target, timeout, true).ask(number));
        let done = match (options.until_answered_ms, options.tries) {
            (Some(limit), _) => !probed.answered.is_empty() || start.elapsed() >= Duration::from_millis(limit),
            (None, Some(tries)) => number + 1 >= tries,
            (None, None) => probed.is_known(number + 1),
        };
        if done {
            break;
        }
        let refused_at_once = options.until_answered_ms.map_or(0, |_| 1);
        std::thread::sleep(Duration::from_millis(options.every_ms.max(refused_at_once)));
    }
    probed
}

impl Probed {
    fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Answered { backend, .. } => {
                let (name, client) = backend.split_once('@').unwrap_or((&backend, ""));
                *self.answered.entry(name.to_owned()).or_default() += 1;
                if !client.is_empty() {
                    self.clients.insert(client.to_owned());
                }
            }
            Outcome::Refused => self.refused += 1,
            Outcome::Lost => self.lost += 1,
            Outcome::Failed(words) => *self.failed.entry(words).or_default() += 1,
        }
    }

    fn is_known(&self, tries: u64) -> bool {
        let kinds =
            self.answered.len() + self.failed.len() + usize::from(self.refused > 0) + usize::from(self.lost > 0);
        let enough = match (self.answered.is_empty(), kinds) {
            (true, 1) if self.lost > 0 => SILENCES,
            // Nothing but refusals may be one backend of several, too.
            _ => TRIES * kinds as u64,
        };
        tries >= enough || self.lost >= PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(outcomes: &[&str]) -> Probed {
        let mut probed = Probed::default();
        for outcome in outcomes {
            probed.count(match *outcome {
                "refused" => Outcome::Refused,
                "lost" => Outcome::Lost,
                name => Outcome::Answered { backend: name.to_owned(), took: Duration::ZERO },
            });
        }
        probed
    }

    #[test]
    fn it_asks_until_another_answer_is_improbable() {
        let known = |outcomes: &[&str]| after(outcomes).is_known(outcomes.len() as u64);
        assert!(!known(&["a"; 19]) && known(&["a"; 20]));
        assert!(!known(&[["a"; 19].as_slice(), &["b"; 20]].concat()) && known(&["a", "b"].repeat(20)));
        assert!(!known(&["refused"; 19]) && known(&["refused"; 20]) && known(&["lost"; 2]));
        assert!(!known(&["refused", "a", "refused", "a"]) && known(&["a", "lost", "lost", "lost", "lost", "lost"]));
    }

    #[test]
    fn what_the_backend_saw_is_told_apart_from_its_name() {
        let probed = after(&["a@10.0.0.1", "a@10.0.0.2"]);
        assert_eq!((probed.answered["a"], probed.clients.len()), (2, 2));
    }
}
