//! The judge on the reference plugins: whatever fails there is a fault that is known, with its upstream issue, or a
//! mistake of the judge.

use anyhow::{Result, ensure};
use fairlead_conformance::cases::{self, Options, Output};
use fairlead_conformance::peers;

#[test]
fn the_reference_keeps_every_rule_except_for_its_known_faults() -> Result<()> {
    let judged = cases::judge(&Options::on(peers::cni_bin()?))?;
    println!("{}", judged.render(Output::Table)?);
    ensure!(judged.failures() == 0, "{} runs failed, see the table", judged.failures());
    let idle = judged.idle_faults();
    ensure!(idle.is_empty(), "listed as faults of the reference and not met:\n{}", idle.join("\n"));
    Ok(())
}
