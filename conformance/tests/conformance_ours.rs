//! The judge on our own plugins: no case fails, and no plugin is missing. Ring 5 runs it under other kernels.

use anyhow::{Result, ensure};
use fairlead_conformance::cases::{self, Options, Output, Verdict};
use fairlead_conformance::dist;
use fairlead_conformance::limit::patience;

/// What depends on the kernel: one case for each thing that a plugin asks of it. An emulated machine takes seconds for a
/// case; what only reads and writes texts is the same there.
const KERNEL: [&str; 22] = [
    "T42.dual",
    "T43",
    "T44",
    "T50.default",
    "T52",
    "T53",
    "T60.dual",
    "T61.up",
    "T70.files",
    "T77.given",
    "T82.again",
    "T83.check",
    "T84.default",
    "T84.v6",
    "T86.drop",
    "T86.same",
    "T86.isolated",
    "T87.link",
    "T85.both",
    "FL2",
    "gc.pods",
    "gc.rules",
];

/// Everywhere but on an emulated machine: all cases in all versions.
fn options() -> Result<Options> {
    let mut options = Options::on(dist::cni_bin()?);
    if patience(1).as_secs() > 1 {
        options.case = KERNEL.map(str::to_owned).to_vec();
        options.spec = vec!["1.1.0".into()];
    }
    Ok(options)
}

#[test]
fn ours_keep_every_rule() -> Result<()> {
    let judged = cases::judge(&options()?)?;
    println!("{}", judged.render(Output::Table)?);
    ensure!(judged.failures() == 0, "{} runs failed, see the table", judged.failures());
    let missing = judged.outcomes.iter().find_map(|outcome| match &outcome.verdict {
        Verdict::Skipped { kernel: None, why } => Some(format!("{} {}: {why}", outcome.plugin, outcome.id)),
        _ => None,
    });
    ensure!(missing.is_none(), "a case of ours was left out: {}", missing.unwrap_or_default());
    Ok(())
}
