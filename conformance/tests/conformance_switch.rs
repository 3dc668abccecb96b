//! A node switched in place: pods made by the reference are deleted by ours, with the rules of iptables and of nftables. The
//! other way round the reference leaves what it does not know, which is listed; `switch_in_place` shows that ours collect it.

use anyhow::{Result, ensure};
use fairlead_conformance::cases::{self, Options, Output};
use fairlead_conformance::{dist, peers};

fn switched(judged: Options, peer: std::path::PathBuf) -> Result<()> {
    let judged = cases::judge(&Options { peer: Some(peer), case: vec!["switch".into()], ..judged })?;
    println!("{}", judged.render(Output::Table)?);
    ensure!(judged.failures() == 0, "{} runs failed, see the table", judged.failures());
    Ok(())
}

#[test]
fn what_the_reference_made_ours_delete() -> Result<()> {
    switched(Options::on(dist::cni_bin()?), peers::cni_bin()?)
}

#[test]
fn what_ours_made_the_reference_deletes() -> Result<()> {
    switched(Options::on(peers::cni_bin()?), dist::cni_bin()?)
}
