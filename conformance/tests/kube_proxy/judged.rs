//! The judgements. The reference stands on the first node, ours on the second; the judge itself is judged by kube-proxy on
//! both.

use anyhow::Result;
use fairlead_conformance::differential::Judgement;
use fairlead_conformance::kubernetes::Proxy;
use fairlead_conformance::snapshot::Snapshot;

use super::play::play;
use super::stage::Stage;
use super::{cases, chance, hairpin, metrics, nodes};

const TWICE: [Proxy; 2] = [Proxy::Reference, Proxy::Reference];
const BESIDE: [Proxy; 2] = [Proxy::Reference, Proxy::Ours];

#[test]
fn kube_proxy_does_not_differ_from_itself() -> Result<()> {
    addresses("judge", TWICE, "nothing")
}

#[test]
fn every_address_of_every_service_answers_as_with_kube_proxy() -> Result<()> {
    addresses("addresses", BESIDE, "kube-proxy")
}

#[test]
fn kube_proxy_is_even_and_keeps_time() -> Result<()> {
    manners("judge-manners", TWICE, "nothing")
}

#[test]
fn spread_affinity_hairpin_zones_health_and_metrics_are_as_with_kube_proxy() -> Result<()> {
    manners("manners", BESIDE, "kube-proxy-manners")
}

fn addresses(name: &str, proxies: [Proxy; 2], group: &str) -> Result<()> {
    let mut stage = Stage::new(name, proxies)?;
    let mut judgement = Judgement::new(group)?;
    play(&mut stage, &cases::all(), &mut judgement)?;
    judgement.finish()
}

fn manners(name: &str, proxies: [Proxy; 2], group: &str) -> Result<()> {
    let mut stage = Stage::new(name, proxies)?;
    let mut judgement = Judgement::new(group)?;
    let mut judge = |case: &str, [reference, ours]: [Snapshot; 2]| {
        if std::env::var_os("FAIRLEAD_SHOW").is_some() {
            eprint!("{case}\n{reference}");
        }
        judgement.add(case, reference.diff(&ours));
    };
    chance::spread(&mut stage)?;
    judge("affinity", chance::affinity(&mut stage)?);
    judge("hairpin", hairpin::facts(&mut stage)?);
    nodes::zones(&mut stage)?;
    judge("metrics", metrics::facts(&stage));
    judge("health", nodes::eligibility(&mut stage)?);
    judgement.finish()
}
