//! The judgements.

use anyhow::Result;
use fairlead_conformance::differential::Judgement;
use fairlead_conformance::kubernetes::Proxy;

use super::cases;
use super::play::play;
use super::stage::Stage;

/// The judge judged: what it tells of kube-proxy does not depend on which side kube-proxy stands.
#[test]
fn kube_proxy_does_not_differ_from_itself() -> Result<()> {
    let mut stage = Stage::new("kube-proxy-twice", [Proxy::Reference, Proxy::Reference])?;
    let mut judgement = Judgement::new("nothing")?;
    play(&mut stage, &cases::all(), &mut judgement)?;
    judgement.finish()
}

#[test]
fn every_address_of_every_service_answers_as_with_kube_proxy() -> Result<()> {
    let mut stage = Stage::new("kube-proxy", [Proxy::Reference, Proxy::Ours])?;
    let mut judgement = Judgement::new("kube-proxy")?;
    play(&mut stage, &cases::all(), &mut judgement)?;
    judgement.finish()
}
