//! Ring 5: the binaries of rings 1 and 2, and one line through the whole house, under other kernels. They are the same
//! binaries: the guest sees this machine's files.

use super::binaries::Binary;
use super::tally::Tally;
use super::under::Under;
use crate::vm::{self, Guest, Kernel, Outcome};
use crate::{place, steps};
use anyhow::Result;
use std::path::Path;
use std::time::{Duration, Instant};

/// Boot and run of one kernel. Code runs 10–20 times slower there.
const LIMIT: Duration = Duration::from_secs(2400);
/// By how much the tests' own limits are stretched.
const PATIENCE: &str = "20";
/// Tests of a binary at once: they wait for grace periods there as here, and longer.
const THREADS: &str = "6";
/// Line before the output of a binary, with its number; and after it, with its exit status.
const BEGIN: &str = "=== fairlead begin";
const END: &str = "=== fairlead end";
/// The crates that talk to the kernel, and what their tests are told (nothing: all of them run).
const PACKAGES: &[(&str, &[&str])] =
    &[("fairlead-kernel", &[]), ("fairlead-ebpf-object", &[]), ("fairlead-proxy", &["attach", "maps", "flows"])];
/// Of the conformance tests those that judge our own programs on the lab. The storm measures how often a race is met: an
/// emulated machine is too slow to meet it. The steps of an agent that is killed are the same under every kernel, and so is
/// what a proxy reads, shows and takes over from one that was killed.
const ON_THE_LAB: &[(&str, &[&str])] = &[
    ("attachments", &["vlan"]),
    ("conformance_ours", &[]),
    ("one_true_line", &[]),
    ("verbs", &[]),
    ("overlay", &["--skip", "killed_at_any_step"]),
    ("proxy", &["kinds", "restart", "--skip", "killed"]),
];

/// Run them under every kernel there is.
pub fn run(binaries: &[Binary], filter: Option<&str>) -> Result<Tally> {
    let chosen: Vec<(&Binary, Vec<&str>)> = binaries
        .iter()
        .filter_map(|binary| {
            let arguments = of_interest(binary)?;
            Some((binary, filter.map_or_else(|| arguments.to_vec(), |filter| vec![filter])))
        })
        .collect();
    let command = ["sh".to_owned(), "-c".to_owned(), script(&chosen)];
    // All at once: a test in a guest keeps hardly more than one processor busy.
    let guests = std::thread::scope(|scope| {
        let command = &command;
        let started: Vec<_> =
            Kernel::ALL.into_iter().map(|kernel| (kernel, scope.spawn(move || boot(kernel, command)))).collect();
        let end = |guest: std::thread::ScopedJoinHandle<'_, _>| {
            guest.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        started.into_iter().map(|(kernel, guest)| (kernel, end(guest))).collect::<Vec<_>>()
    });
    let mut sum = Tally::default();
    for (kernel, guest) in guests {
        match guest? {
            Some(outcome) => sum.add(judge(kernel, outcome, &chosen)?),
            None => {
                let line =
                    format!("ring 5 under {kernel}: this distribution does not package that kernel (Debian 12 does)");
                println!("  -- {line}");
                sum.add(Tally::of_skip(line));
            }
        }
    }
    Ok(sum)
}

/// What a binary is told that runs here.
fn of_interest(binary: &Binary) -> Option<&'static [&'static str]> {
    let (rows, name) = match &binary.package[..] {
        "fairlead-conformance" => (ON_THE_LAB, &binary.target),
        _ => (PACKAGES, &binary.package),
    };
    rows.iter().find(|(wanted, _)| wanted == name).map(|(_, arguments)| *arguments)
}

/// Everything in a guest with this kernel. `None`: there is no such kernel here.
fn boot(kernel: Kernel, command: &[String]) -> Result<Option<Outcome>> {
    if !vm::is_prepared(kernel) {
        return Ok(None);
    }
    let started = Instant::now();
    println!("  .. {:>9}  under Linux {kernel}", "");
    let guest = Guest {
        memory_mib: 3072,
        limit: LIMIT,
        environment: vec![
            ("FAIRLEAD_PATIENCE".to_owned(), PATIENCE.to_owned()),
            ("FAIRLEAD_DIST".to_owned(), place::dist().display().to_string()),
            ("RUST_TEST_THREADS".to_owned(), THREADS.to_owned()),
        ],
    };
    let outcome = guest.run(&vm::prepare(kernel)?, command, false)?;
    steps::done(&format!("Linux {kernel}, with its boot"), started);
    Ok(Some(outcome))
}

/// What the tests said in there.
fn judge(kernel: Kernel, outcome: Outcome, chosen: &[(&Binary, Vec<&str>)]) -> Result<Tally> {
    let (output, lost) = match outcome {
        Outcome::Ended { output, .. } => (output, None),
        Outcome::Lost { output, console } => (output, Some(console)),
    };
    let ran_under = Under::guest(kernel)?;
    let mut sum = Tally::default();
    for (number, (binary, _)) in chosen.iter().enumerate() {
        let Part { said, well, took } = part(&output, number);
        let mut tally = Tally::read(said, well, binary, &ran_under);
        for failure in &mut tally.failed {
            *failure = format!("under Linux {kernel}: {failure}\n    there: cargo xtask test --ring 5 NAME");
        }
        let (passed, failed, skipped) = tally.counts();
        if passed + failed + skipped > 0 {
            super::report(&format!("{} under {kernel}", binary.title()), took, &tally, said);
        }
        sum.add(tally);
    }
    if let Some(console) = lost {
        println!("the guest never ended; its console's last lines:\n{console}");
    }
    Ok(sum)
}

/// Every binary in turn, each between two lines that tell its output from the others'.
fn script(chosen: &[(&Binary, Vec<&str>)]) -> String {
    let mut script = String::new();
    for (number, (binary, told)) in chosen.iter().enumerate() {
        let arguments = binary.arguments(told).join(" ");
        let (room, executable) = (quoted(&binary.room), quoted(&binary.executable));
        script += &format!(
            "echo '{BEGIN} {number}'; s=$(date +%s); cd {room} && \
             CARGO_MANIFEST_DIR={room} timeout 900 {executable} {arguments} 2>&1; echo \"{END} $? $(($(date +%s) - s))\"\n"
        );
    }
    script
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

/// What binary `number` wrote.
struct Part<'a> {
    said: &'a str,
    well: bool,
    /// By the guest's clock.
    took: Duration,
}

/// Cut it out of the guest's output. A guest that died leaves the last one without an end.
fn part(output: &str, number: usize) -> Part<'_> {
    let (_, rest) = output.split_once(&format!("{BEGIN} {number}\n")).unwrap_or_default();
    let (said, end) = rest.split_once(END).unwrap_or((rest, ""));
    let mut numbers = end.lines().next().unwrap_or("").split_whitespace().map(|word| word.parse::<u64>().ok());
    let well = numbers.next().flatten() == Some(0);
    Part { said, well, took: Duration::from_secs(numbers.next().flatten().unwrap_or(0)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guests_output_is_cut_at_its_lines() {
        let output = format!("{BEGIN} 0\nfirst\n{END} 0 7\n{BEGIN} 1\nsecond\n{END} 101 1\n{BEGIN} 2\nthird\n");
        let cut = |number| {
            let part = part(&output, number);
            (part.said, part.well, part.took.as_secs())
        };
        assert_eq!(cut(0), ("first\n", true, 7));
        assert_eq!(cut(1), ("second\n", false, 1));
        assert_eq!(cut(2), ("third\n", false, 0));
        assert_eq!(cut(3), ("", false, 0));
    }
}
