//! `traffic first`: when a target answers for the first time, on the clock that every process of the machine shares.

use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::Target;
use super::ask::Asker;
use super::stop::say_ready;
use super::tally::Outcome;

/// Options of `traffic first`. Each line of standard input is a target, with the word `refused` behind it or without; each is
/// answered by two lines.
#[derive(Args)]
pub struct Options {
    /// Pause between two questions, in microseconds.
    #[arg(long, default_value_t = 200)]
    every_us: u64,
    /// How long to wait for a connection, and for an answer. Short: what is dropped silently is to be asked again soon.
    #[arg(long, default_value_t = 20)]
    timeout_ms: u64,
    /// Give up after this many seconds.
    #[arg(long, default_value_t = 120)]
    within_s: u64,
}

/// What is said of a target: first that it has been asked once (or has refused once, if that was wanted), then when it
/// answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct First {
    /// Whom it asks.
    pub target: String,
    /// When its first answer had come, in ns of CLOCK_MONOTONIC; 0: it has not answered yet.
    pub at_ns: u64,
}

/// Now, in ns of CLOCK_MONOTONIC.
pub fn now_ns() -> Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).context("read CLOCK_MONOTONIC")?;
    let (seconds, nanos) = (u64::try_from(now.tv_sec())?, u64::try_from(now.tv_nsec())?);
    Ok(seconds * 1_000_000_000 + nanos)
}

pub(super) fn run(options: &Options) -> Result<()> {
    let say = |target: &Target, at_ns: u64| -> Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", serde_json::to_string(&First { target: target.to_string(), at_ns })?)?;
        out.flush().context("say when")
    };
    say_ready();
    for line in std::io::stdin().lock().lines() {
        let line = line.context("read a target")?;
        let (text, refused) = match line.trim().strip_suffix(" refused") {
            Some(text) => (text, true),
            None => (line.trim(), false),
        };
        let target: Target = text.parse().map_err(|error| anyhow::anyhow!("{line}: {error}"))?;
        let (begun, mut begun_is_said) = (Instant::now(), false);
        for number in 0u64.. {
            let outcome = Asker::new(target, Duration::from_millis(options.timeout_ms.max(1)), true).ask(number);
            if matches!(outcome, Outcome::Answered { .. }) {
                say(&target, now_ns()?)?;
                break;
            }
            if !begun_is_said && (!refused || matches!(outcome, Outcome::Refused)) {
                say(&target, 0)?;
                begun_is_said = true;
            }
            if begun.elapsed() > Duration::from_secs(options.within_s) {
                bail!("{target} has not answered within {} s", options.within_s);
            }
            std::thread::sleep(Duration::from_micros(options.every_us));
        }
    }
    Ok(())
}
