//! `fuzz`: what other people's bytes go through, under libFuzzer, each target for some seconds.
//!
//! No nightly and no cargo-fuzz: coverage is an LLVM pass that the stable compiler has too, and libFuzzer comes with its
//! crate. There is no address sanitizer, which would need nightly; the code that is fuzzed has no `unsafe`.

use crate::test::Tally;
use crate::{place, steps};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

/// Options of `cargo xtask fuzz`.
#[derive(Args)]
pub struct Options {
    /// Only this target (a directory of fuzz/corpus)
    target: Option<String>,
    /// How long each target runs, after its corpus
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

/// How long each runs as a part of `cargo xtask test`: long enough for the corpus, and a look around it.
const SHORT: u64 = 2;
/// A single input that takes longer is a finding.
const HANG: u64 = 10;
/// The same flags as cargo-fuzz gives, without a sanitizer.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";

/// `cargo xtask fuzz`.
pub fn run(options: &Options) -> Result<ExitCode> {
    let all = targets()?;
    let chosen: Vec<String> = match &options.target {
        None => all,
        Some(wanted) if all.contains(wanted) => vec![wanted.clone()],
        Some(wanted) => bail!("no fuzz target {wanted:?}: there are {}", all.join(", ")),
    };
    let sum = each(&chosen, options.seconds)?;
    let (passed, failed, _) = sum.counts();
    println!("{passed} targets without a finding, {failed} with one");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every target, shortly: for `cargo xtask test`.
pub fn short() -> Result<Tally> {
    each(&targets()?, SHORT)
}

fn each(targets: &[String], seconds: u64) -> Result<Tally> {
    let binary = build()?;
    let mut sum = Tally::default();
    for target in targets {
        sum.add(one(&binary, target, seconds)?);
    }
    Ok(sum)
}

/// A target is what has seeds.
fn targets() -> Result<Vec<String>> {
    let corpus = corpus();
    let entries = fs::read_dir(&corpus).with_context(|| format!("list {}", corpus.display()))?;
    let mut targets: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    targets.sort();
    Ok(targets)
}

fn corpus() -> PathBuf {
    place::workspace().join("fuzz/corpus")
}

/// What libFuzzer found worth keeping, and what it found wrong.
fn kept() -> PathBuf {
    place::target().join("fuzz")
}

fn build() -> Result<PathBuf> {
    if place::find("c++").is_none() {
        bail!("libFuzzer is C++ and there is no compiler for it: install Debian's g++ (`cargo xtask setup` does)");
    }
    let mut cargo = place::cargo();
    cargo.args(["build", "--release", "--locked", "--manifest-path", "fuzz/Cargo.toml"]);
    // With `--target` the flags are not for build scripts and proc macros.
    cargo.args(["--target", place::TARGET, "--target-dir"]).arg(kept());
    cargo.env("RUSTFLAGS", FLAGS).env_remove("CARGO_ENCODED_RUSTFLAGS");
    steps::run("build the fuzz targets", &mut cargo)?;
    Ok(kept().join(place::TARGET).join("release/fairlead-fuzz"))
}

fn one(binary: &Path, target: &str, seconds: u64) -> Result<Tally> {
    let found = kept().join("corpus").join(target);
    let artifacts = kept().join("findings");
    for directory in [&found, &artifacts] {
        fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    }
    let mut command = place::command(&binary.to_string_lossy());
    command.env("FAIRLEAD_FUZZ", target).arg(format!("-max_total_time={seconds}"));
    command.args([format!("-timeout={HANG}"), "-rss_limit_mb=1024".to_owned(), "-print_final_stats=1".to_owned()]);
    command.arg(format!("-artifact_prefix={}/{target}-", artifacts.display()));
    command.arg(&found).arg(corpus().join(target));
    // The corpus comes first and takes what it takes.
    let limit = Duration::from_secs(seconds + 300);
    let ended = steps::quietly(&format!("fuzz {target}"), &mut command, limit)?;
    let log = fs::read_to_string(&ended.log).unwrap_or_default();
    let well = ended.status.success();
    let runs = number_of(&log, "stat::number_of_executed_units:").unwrap_or(0);
    println!(
        "{} {:>7.1} s  fuzz {target}: {runs} runs",
        if well { "  ok" } else { "FAIL" },
        ended.started.elapsed().as_secs_f64()
    );
    if !well {
        explain(&command, &log);
    }
    Ok(Tally::of_one(&format!("fuzz {target}"), &format!("cargo xtask fuzz {target}"), well))
}

/// What panicked, and how to see it again.
fn explain(command: &Command, log: &str) {
    for line in log.lines().filter(|line| line.contains("panicked at") || line.contains("ERROR: libFuzzer")) {
        println!("    {line}");
    }
    if let Some(written) = log.lines().find_map(|line| line.split_once("Test unit written to ")) {
        let target = command.get_envs().find(|(name, _)| *name == "FAIRLEAD_FUZZ").and_then(|(_, value)| value);
        let target = target.unwrap_or_default().to_string_lossy();
        println!("    again: FAIRLEAD_FUZZ={target} {} {}", command.get_program().to_string_lossy(), written.1);
        println!("    mended, it belongs into fuzz/corpus/{target}");
    }
}

fn number_of(log: &str, name: &str) -> Option<u64> {
    log.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}
