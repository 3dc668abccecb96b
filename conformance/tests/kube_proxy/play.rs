//! Playing cases: a step of all of them is written, both proxies are waited for, everything is asked, and what was answered
//! is compared.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use anyhow::{Context, Result};
use fairlead_conformance::differential::Judgement;
use fairlead_conformance::lab::Place;
use fairlead_conformance::snapshot::Snapshot;
use fairlead_conformance::traffic::{self, Probed, Target};
use serde_json::Value;

use super::health;
use super::side::{At, CLIENTS, Side};
use super::stage::Stage;
use super::targets::{self, Asked};

/// A case: its name, and its steps as they are at one place.
pub type Case = (&'static str, fn(&At<'_>) -> Vec<Step>);

/// What is written before everything is asked again.
#[derive(Default)]
pub struct Step {
    pub name: &'static str,
    pub writes: Vec<Write>,
}

pub enum Write {
    /// Creates or replaces. A Service's `status` is written too.
    Put(Value),
    Delete(Value),
}

/// A step that writes these objects.
pub fn step<const N: usize>(name: &'static str, objects: [Value; N]) -> Step {
    Step { name, writes: objects.into_iter().map(Write::Put).collect() }
}

impl Step {
    /// The same, and then deletes this object.
    pub fn and_delete(mut self, object: &Value) -> Self {
        self.writes.push(Write::Delete(object.clone()));
        self
    }
}

/// A case on a side: index of the side's own node, index of the case.
type Key = (usize, usize);

/// What is known of the cases while they are played.
#[derive(Default)]
struct Played {
    /// What was asked so far: what was taken away is asked again.
    asked: BTreeMap<Key, BTreeSet<Asked>>,
    /// Ports of health checks.
    health: BTreeMap<Key, u16>,
}

/// Plays all cases at once, step by step, and judges them.
pub fn play(stage: &mut Stage, cases: &[Case], judgement: &mut Judgement) -> Result<()> {
    let mut played = Played::default();
    for turn in 0.. {
        // The names of this turn's steps; cases that have come to their end are missing.
        let mut names: BTreeMap<usize, &'static str> = BTreeMap::new();
        let mut writes = Vec::new();
        for side in stage.sides() {
            for (index, (_, make)) in cases.iter().enumerate() {
                let at = At { side, number: u8::try_from(index).context("that many cases")? };
                let Some(step) = make(&at).into_iter().nth(turn) else { continue };
                names.insert(index, step.name);
                played.note(&side, index, &step)?;
                writes.extend(step.writes);
            }
        }
        if names.is_empty() {
            return Ok(());
        }
        let began = Instant::now();
        stage.write(&writes)?;
        stage.settle()?;
        for member in &stage.cluster.members {
            member.forget_flows()?;
        }
        let settled = began.elapsed().as_secs_f64();
        let mut facts = played.ask(stage, &names)?;
        for index in names.keys() {
            let [reference, ours] = [0, 1].map(|own| facts.remove(&(own, *index)).unwrap_or_default());
            if std::env::var_os("FAIRLEAD_SHOW").is_some() {
                eprint!("{}\n{reference}", cases[*index].0);
            }
            judgement.add(cases[*index].0, reference.diff(&ours));
        }
        let asked = began.elapsed().as_secs_f64();
        eprintln!(
            "step {}: {} cases, {} writes: settled after {settled:.1} s, asked after {asked:.1} s",
            turn + 1,
            names.len(),
            writes.len()
        );
    }
    Ok(())
}

impl Played {
    fn note(&mut self, side: &Side<'_>, index: usize, step: &Step) -> Result<()> {
        for write in &step.writes {
            let Write::Put(object) = write else { continue };
            if object["kind"] == "Service" {
                // The last part: the name that it has on both sides.
                let name = object["metadata"]["name"].as_str().and_then(|name| name.rsplit('-').next());
                let found = targets::of(object, name.unwrap_or_default(), side);
                self.asked.entry((side.own, index)).or_default().extend(found);
                if let Some(port) = object["spec"]["healthCheckNodePort"].as_u64() {
                    self.health.insert((side.own, index), u16::try_from(port).context("a port")?);
                }
            }
        }
        Ok(())
    }

    /// Asks everything, from a pod and from a process of each side's node, at the same time.
    fn ask(&self, stage: &Stage, names: &BTreeMap<usize, &'static str>) -> Result<BTreeMap<Key, Snapshot>> {
        let mut facts: BTreeMap<Key, Snapshot> = BTreeMap::new();
        let askers = stage.sides().into_iter().flat_map(|side| [(side, true), (side, false)]);
        let found = std::thread::scope(|scope| {
            let begun: Vec<_> =
                askers.map(|(side, pod)| scope.spawn(move || self.ask_from(&side, pod, names))).collect();
            begun
                .into_iter()
                .map(|one| one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect::<Vec<_>>()
        });
        for (key, fact, value) in found.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten() {
            facts.entry(key).or_default().add(fact, value);
        }
        for side in stage.sides() {
            for (index, name) in names {
                if let Some(port) = self.health.get(&(side.own, *index)) {
                    let snapshot = facts.entry((side.own, *index)).or_default();
                    health::of_service(snapshot, &format!("{name}: health"), &side, *port);
                }
            }
        }
        Ok(facts)
    }

    fn ask_from(
        &self,
        side: &Side<'_>,
        pod: bool,
        names: &BTreeMap<usize, &'static str>,
    ) -> Result<Vec<(Key, String, String)>> {
        let member = side.member();
        let (from, place, asker): (_, &Place, _) = match pod {
            true => ("pod", member.pod(CLIENTS[side.own]), Some(member.pod_addresses(CLIENTS[side.own]))),
            false => ("host", &member.node, None),
        };
        let of_case = |index: &usize| self.asked.get(&(side.own, *index)).into_iter().flatten();
        let wanted: Vec<(usize, &Asked)> = names
            .keys()
            .flat_map(|index| of_case(index).map(move |one| (*index, one)))
            .filter(|(_, one)| !(pod && one.host_only))
            .collect();
        let targets: BTreeSet<&str> = wanted.iter().map(|(_, one)| one.target.as_str()).collect();
        let targets = targets.into_iter().map(|text| text.parse::<Target>().map_err(anyhow::Error::msg));
        let results = traffic::probed(place.output(&traffic::probe(&targets.collect::<Result<Vec<_>>>()?)?)?)?;
        let results: BTreeMap<String, Probed> =
            results.into_iter().map(|probed| (probed.target.clone(), probed)).collect();
        let mut facts = Vec::new();
        for (index, one) in wanted {
            let probed = results.get(&one.target).with_context(|| format!("nothing was said of {}", one.target))?;
            let key = format!("{}: {from} {}", names[&index], one.label);
            facts.extend(
                told(&key, probed, side, asker).into_iter().map(|(fact, value)| ((side.own, index), fact, value)),
            );
        }
        Ok(facts)
    }
}

/// Who answered, and whom they saw.
pub fn told(key: &str, probed: &Probed, side: &Side<'_>, asker: Option<[IpAddr; 2]>) -> Vec<(String, String)> {
    let mut words: BTreeSet<String> = probed.answered.keys().map(|pod| side.role_of(pod)).collect();
    words.extend((probed.refused > 0).then(|| "refused".to_owned()));
    words.extend((probed.lost > 0).then(|| "lost".to_owned()));
    words.extend(probed.failed.keys().cloned());
    let mut facts = vec![(key.to_owned(), words.into_iter().collect::<Vec<_>>().join(", "))];
    if !probed.clients.is_empty() {
        let seen: BTreeSet<String> = probed.clients.iter().map(|client| side.client_of(client, asker)).collect();
        facts.push((format!("{key}, client seen"), seen.into_iter().collect::<Vec<_>>().join(", ")));
    }
    facts
}
