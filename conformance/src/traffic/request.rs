//! `traffic request`: many short questions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;

use super::Target;
use super::ask::Asker;
use super::stop::{Told, pin, say_ready};
use super::tally::Tally;

/// Options of `traffic request`.
#[derive(Args)]
pub struct Options {
    /// `tcp:ADDRESS:PORT`, `udp:…` or `udp-connected:…`; several are asked in turn, request by request.
    #[arg(required = true)]
    targets: Vec<Target>,
    /// Requests to each target; without it, until told to stop (`stop` or the end of standard input, SIGTERM).
    #[arg(long)]
    count: Option<u64>,
    /// Requests begun per second, over all workers; without it, as fast as the answers come.
    #[arg(long)]
    rate: Option<u32>,
    /// Workers that ask at the same time.
    #[arg(long, default_value_t = 1)]
    concurrency: u32,
    /// Names of the backends that may answer, separated by commas; without it, every name is right.
    #[arg(long, value_delimiter = ',')]
    expect: Vec<String>,
    /// How long to wait for a connection, and for an answer.
    #[arg(long, default_value_t = 2000)]
    timeout_ms: u64,
    /// Leave nothing of one TCP request for the next to pay: close with RST (no port stays in TIME_WAIT), then yield the
    /// CPU (a server on the same one notices the end of the connection before the next begins).
    #[arg(long)]
    clean: bool,
    /// Run on this CPU only.
    #[arg(long)]
    cpu: Option<usize>,
}

pub(super) fn run(options: &Options) -> Result<()> {
    if options.concurrency == 0 || options.rate == Some(0) || options.timeout_ms == 0 {
        bail!("--concurrency, --rate and --timeout-ms must be at least 1");
    }
    pin(options.cpu)?;
    let told = Told::listen(options.count.is_none())?;
    let tallies: Vec<Mutex<Tally>> =
        options.targets.iter().map(|target| Mutex::new(Tally::new(target, &options.expect))).collect();
    let total = options.count.map(|count| count * options.targets.len() as u64);
    let next = AtomicU64::new(0);
    let start = Instant::now();
    let print = |done: bool| {
        for tally in &tallies {
            let report = tally.lock().unwrap_or_else(PoisonError::into_inner).report(done, start.elapsed());
            println!("{}", serde_json::to_string(&report).unwrap_or_default());
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..options.concurrency {
            scope.spawn(|| work(options, &told, &tallies, &next, total, start, &print));
        }
    });
    print(true);
    Ok(())
}

/// Takes numbers until there are none or it is told to stop. The number decides the target and the due time.
fn work(
    options: &Options,
    told: &Told,
    tallies: &[Mutex<Tally>],
    next: &AtomicU64,
    total: Option<u64>,
    start: Instant,
    print: &(dyn Fn(bool) + Sync),
) {
    let timeout = Duration::from_millis(options.timeout_ms);
    let mut askers: Vec<Asker> =
        options.targets.iter().map(|target| Asker::new(*target, timeout, options.clean)).collect();
    let mut reported = 0;
    while !told.to_stop() {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if total.is_some_and(|total| number >= total) {
            break;
        }
        if let Some(rate) = options.rate {
            let due = Duration::from_secs_f64(number as f64 / f64::from(rate));
            std::thread::sleep(due.saturating_sub(start.elapsed()));
        }
        let index = (number % askers.len() as u64) as usize;
        let outcome = askers[index].ask(number);
        tallies[index].lock().unwrap_or_else(PoisonError::into_inner).count(outcome);
        if number == 0 {
            say_ready();
        }
        let asked = told.reports_asked();
        if asked > reported && number.is_multiple_of(u64::from(options.concurrency)) {
            reported = asked;
            print(false);
        }
    }
}
