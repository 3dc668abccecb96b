//! `bench`: builds what ships and the peers, then lets the lab measure.

use crate::setup::{self, For};
use crate::{dist, exit_code, peers, place};
use anyhow::{Context, Result};
use std::process::ExitCode;

/// `cargo xtask bench [NAME] [options of fairlead-lab bench]`.
pub fn run(rest: &[String]) -> Result<ExitCode> {
    setup::ensure(For::Everything)?;
    setup::machine::refuse_without_root("bench")?;
    dist::build()?;
    peers::build()?;
    if needs_kubernetes(rest) {
        peers::build_kubernetes()?;
    }
    let lab = place::dist().join("bin/fairlead-lab");
    let mut bench = place::command(&lab.to_string_lossy());
    bench.arg("bench").args(rest).env("FAIRLEAD_DIST", place::dist());
    exit_code(bench.status().with_context(|| format!("start {}", lab.display()))?)
}

/// Whether `proxy` is among the names; without any name, all are run.
fn needs_kubernetes(rest: &[String]) -> bool {
    let mut words = rest.iter();
    let mut named = false;
    while let Some(word) = words.next() {
        match word.as_str() {
            "proxy" => return true,
            "-o" | "--output" | "--rounds" => drop(words.next()),
            word if word.starts_with('-') => {}
            _ => named = true,
        }
    }
    !named
}

#[cfg(test)]
mod tests {
    use super::needs_kubernetes;

    #[test]
    fn kubernetes_is_built_for_what_compares_with_it() {
        let needs = |line: &str| needs_kubernetes(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        assert!(needs("proxy --quick") && needs("") && needs("--rounds 3") && needs("-o json vip proxy"));
        assert!(!needs("vip") && !needs("--rounds 3 cni-add"));
    }
}
