//! The judge on our own plugins, with the reference beside them where it is built: no case fails, no plugin is missing, and
//! what one made the other deletes.

use anyhow::{Result, ensure};
use fairlead_conformance::cases::{self, Options, Output, Verdict};
use fairlead_conformance::limit::patience;
use fairlead_conformance::{differential, dist};

/// On an emulated machine one version of each family of results; everywhere else all of them.
fn versions() -> Vec<String> {
    let told: &[&str] = if patience(1).as_secs() > 1 { &differential::FAMILIES } else { &differential::VERSIONS };
    told.iter().map(|version| (*version).to_owned()).collect()
}

#[test]
fn ours_keep_every_rule() -> Result<()> {
    let judged = cases::judge(&Options { spec: versions(), ..Options::on(dist::cni_bin()?) })?;
    println!("{}", judged.render(Output::Table)?);
    ensure!(judged.failures() == 0, "{} runs failed, see the table", judged.failures());
    let missing = judged.outcomes.iter().find_map(|outcome| match &outcome.verdict {
        Verdict::Skipped { kernel: None, why } => Some(format!("{} {}: {why}", outcome.plugin, outcome.id)),
        _ => None,
    });
    ensure!(missing.is_none(), "a case of ours was left out: {}", missing.unwrap_or_default());
    Ok(())
}
