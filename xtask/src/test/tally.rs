//! What a test binary said, counted. A test that cannot run here prints `SKIP kernel>=6.6: reason`, or `SKIP kernel>=6.6 with
//! CONFIG_X: reason`; on such a kernel or a later one that is a failure, because there it should have run.

use super::binaries::Binary;
use super::under::{Needs, Under};

/// Counts, and the names behind those that matter.
#[derive(Default)]
pub struct Tally {
    passed: usize,
    /// A line each: what failed and how to run it again.
    pub failed: Vec<String>,
    /// A line each: what was not run, and on which kernel it would be.
    pub skipped: Vec<String>,
}

impl Tally {
    /// `(passed, failed, skipped)`.
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.passed, self.failed.len(), self.skipped.len())
    }

    pub fn add(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed.extend(other.failed);
        self.skipped.extend(other.skipped);
    }

    /// One deed that is its own test.
    pub fn of_one(what: &str, rerun: &str, well: bool) -> Tally {
        let failed = if well { Vec::new() } else { vec![format!("{what}\n    again: {rerun}")] };
        Tally { passed: usize::from(well), failed, skipped: Vec::new() }
    }

    /// Something that could not be run at all.
    pub fn of_skip(line: String) -> Tally {
        Tally { skipped: vec![line], ..Tally::default() }
    }

    /// Read the output of `binary`, which ran under `kernel`.
    pub fn read(output: &str, well: bool, binary: &Binary, under: &Under) -> Tally {
        let mut tally = read(output, under, &binary.title(), |test| binary.rerun(test));
        tally.blame(well, &binary.title(), &binary.rerun(""));
        tally
    }

    /// As [`Tally::read`], for what is no binary of ours.
    pub fn read_as(title: &str, rerun: &str, output: &str, well: bool, under: &Under) -> Tally {
        let mut tally = read(output, under, title, |_| rerun.to_owned());
        tally.blame(well, title, rerun);
        tally
    }

    /// A bad exit with no failed test: it died, or hung and was killed.
    fn blame(&mut self, well: bool, title: &str, rerun: &str) {
        if !well && self.failed.is_empty() {
            self.failed.push(format!(
                "{title}: ended badly without naming a test (killed, out of time, or not built)\n    again: {rerun}"
            ));
        }
    }
}

fn read(output: &str, under: &Under, title: &str, rerun: impl Fn(&str) -> String) -> Tally {
    let mut tally = Tally::default();
    let mut returned = 0;
    for line in output.lines() {
        if let Some(counts) = line.strip_prefix("test result: ") {
            tally.passed += count(counts, "passed");
            let ignored = count(counts, "ignored");
            tally.skipped.extend((0..ignored).map(|_| format!("{title}: a test marked #[ignore]")));
        } else if let Some(test) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
            tally.failed.push(format!("{title}: {test}\n    again: {}", rerun(test)));
        } else if let Some(skip) = line.strip_prefix("SKIP ") {
            // The test returned, so libtest counted it as passed.
            returned += 1;
            match Needs::read(skip) {
                Some(needs) if !needs.are_met(under) => tally.skipped.push(format!("{title}: {skip}")),
                Some(_) => tally.failed.push(format!("{title}: skipped on a kernel that has what it needs: {skip}")),
                None => tally.failed.push(format!("{title}: a skip must name the kernel that would run it: {skip}")),
            }
        }
    }
    tally.passed = tally.passed.saturating_sub(returned);
    tally
}

/// `ok. 5 passed; 0 failed; …` and `passed` → 5.
fn count(text: &str, word: &str) -> usize {
    text.split([';', '.']).find_map(|part| part.trim().strip_suffix(word)?.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "running 4 tests\ntest a ... ok\ntest b ... FAILED\ntest c ... ok\ntest d ... ignored\n\n\
        ---- c stdout ----\nSKIP kernel>=6.6: tcx links\n\ntest result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out\n";

    fn under(major: u32, minor: u32) -> Under {
        Under { version: (major, minor), config: None }
    }

    #[test]
    fn passes_failures_and_skips_are_told_apart() {
        let tally = read(OUTPUT, &under(6, 1), "x", |test| format!("again {test}"));
        assert_eq!(tally.counts(), (1, 1, 2));
        assert!(tally.failed[0].contains("again b"));
    }

    #[test]
    fn a_skip_on_a_kernel_that_has_it_is_a_failure() {
        assert_eq!(read(OUTPUT, &under(6, 6), "x", str::to_owned).counts(), (1, 2, 1));
    }

    #[test]
    fn a_binary_that_died_is_one_failure() {
        let tally = Tally::read_as("x", "again", "running 4 tests\ntest a ... ok\n", false, &under(6, 1));
        assert_eq!(tally.counts(), (0, 1, 0));
    }
}
