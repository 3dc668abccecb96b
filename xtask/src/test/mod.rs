//! `test`: everything that is needed is set up and built, then every test binary runs, ring by ring, and what they say
//! is added up. The binaries are run one by one, and not by `cargo test`, for three reasons: the rings have an order and
//! times of their own, a skip is judged, and the same binaries run again under other kernels.

mod binaries;
mod other_kernels;
mod tally;
mod under;

use crate::setup::{self, For};
use crate::{dist, peers, place, steps};
use anyhow::{Context, Result};
use binaries::Binary;
use clap::Args;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};
pub use tally::Tally;
use under::Under;

/// A binary that runs longer than this hangs.
const LIMIT: Duration = Duration::from_secs(900);

/// Options of `cargo xtask test`.
#[derive(Args)]
pub struct Options {
    /// Only this ring: 0 pure, 1 namespaces, 2 BPF, 3 conformance and demo, 4 container runtimes and kube-proxy, 5 other kernels; may be given several times
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=5))]
    ring: Vec<u8>,
    /// Only tests whose name contains this (the demo and the documentation's examples are then left out)
    filter: Option<String>,
}

impl Options {
    fn wants(&self, ring: u8) -> bool {
        self.ring.is_empty() || self.ring.contains(&ring)
    }
}

const RINGS: &[(u8, &str)] = &[
    (0, "pure"),
    (1, "namespaces"),
    (2, "BPF programs"),
    (3, "conformance and demo"),
    (4, "container runtimes, kube-proxy"),
    (5, "other kernels"),
];

/// `cargo xtask test`.
pub fn run(options: &Options) -> Result<ExitCode> {
    let started = Instant::now();
    setup::ensure(For::Everything)?;
    setup::machine::refuse_without_root("test")?;
    dist::build()?;
    peers::build()?;
    if options.wants(4) {
        peers::build_kubernetes()?;
    }
    let binaries = binaries::build()?;

    let mut sum = Tally::default();
    let mut times = BTreeMap::new();
    for (ring, name) in RINGS.iter().filter(|(ring, _)| options.wants(*ring)) {
        println!("ring {ring}: {name}");
        let begun = Instant::now();
        let tally = match ring {
            5 => other_kernels::run(&binaries, options.filter.as_deref())?,
            _ => run_ring(*ring, &binaries, options)?,
        };
        times.insert(ring, (name, begun.elapsed(), tally.counts()));
        sum.add(tally);
    }

    println!("\n{:<30} {:>9}  passed failed skipped", "ring", "time");
    for (ring, (name, time, (passed, failed, skipped))) in times {
        println!(
            "{:<30} {:>7.1} s  {passed:>6} {failed:>6} {skipped:>7}",
            format!("{ring} {name}"),
            time.as_secs_f64()
        );
    }
    println!("{:<30} {:>7.1} s\n", "all, with setup and build", started.elapsed().as_secs_f64());
    for skip in &sum.skipped {
        println!("skipped: {skip}");
    }
    for failure in &sum.failed {
        println!("FAILED: {failure}");
    }
    let (passed, failed, skipped) = sum.counts();
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run_ring(ring: u8, binaries: &[Binary], options: &Options) -> Result<Tally> {
    let mut sum = Tally::default();
    let under = Under::here()?;
    for binary in binaries.iter().filter(|binary| binary.ring() == ring) {
        let mut command = binary.command(options.filter.as_deref());
        let ended = steps::quietly(&format!("test {}", binary.title()), &mut command, LIMIT)?;
        let output = std::fs::read_to_string(&ended.log).with_context(|| format!("read {}", ended.log.display()))?;
        let tally = Tally::read(&output, ended.status.success(), binary, &under);
        let (passed, failed, skipped) = tally.counts();
        if passed + failed + skipped == 0 {
            continue;
        }
        report(&binary.title(), ended.started.elapsed(), &tally, &output);
        sum.add(tally);
    }
    if options.filter.is_none() {
        match ring {
            0 => {
                sum.add(documentation()?);
                sum.add(crate::fuzz::short()?);
            }
            3 => sum.add(demo()?),
            _ => {}
        }
    }
    Ok(sum)
}

/// One line a binary; all it wrote when something failed.
fn report(title: &str, took: Duration, tally: &Tally, output: &str) {
    let (passed, failed, skipped) = tally.counts();
    let mark = if failed == 0 { "  ok" } else { "FAIL" };
    let mut line = format!("{mark} {:>7.1} s  {title}: {passed} passed", took.as_secs_f64());
    for (count, word) in [(failed, "failed"), (skipped, "skipped")] {
        if count > 0 {
            line += &format!(", {count} {word}");
        }
    }
    println!("{line}");
    if failed > 0 {
        println!("{}", output.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n"));
    }
}

/// The examples in the crates' documentation.
fn documentation() -> Result<Tally> {
    let mut cargo = place::cargo();
    cargo.args(["test", "--workspace", "--doc", "--locked", "--quiet"]);
    let ended = steps::quietly("documentation examples", &mut cargo, LIMIT)?;
    let output = std::fs::read_to_string(&ended.log).with_context(|| format!("read {}", ended.log.display()))?;
    let rerun = "cargo test --workspace --doc";
    let tally = Tally::read_as("documentation examples", rerun, &output, ended.status.success(), &Under::here()?);
    report("documentation examples", ended.started.elapsed(), &tally, &output);
    Ok(tally)
}

/// The demo is a test too: it counts its own requests and compares the machine before and after.
fn demo() -> Result<Tally> {
    let mut lab = place::command(&place::dist().join("bin/fairlead-lab").to_string_lossy());
    lab.arg("demo").env("FAIRLEAD_DIST", place::dist());
    let ended = steps::quietly("demo", &mut lab, LIMIT)?;
    let output = std::fs::read_to_string(&ended.log).with_context(|| format!("read {}", ended.log.display()))?;
    let tally = Tally::of_one("the demo", "cargo xtask demo", ended.status.success());
    report("demo", ended.started.elapsed(), &tally, &output);
    Ok(tally)
}
