//! What is to be done about each attachment. Pure.

mod known;

use std::collections::BTreeMap;

use fairlead_kernel::Mac;
use ipnet::IpNet;

use super::survey::Standing;
use crate::cnitool::{Found, PluginConfig};
use crate::owner;
use known::{Known, publishes};

/// What an attachment may have of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    Masquerade,
    SpoofCheck,
    Forwards,
    Admission,
}

impl Piece {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Piece::Masquerade => "masquerade",
            Piece::SpoofCheck => "spoof check",
            Piece::Forwards => "published ports",
            Piece::Admission => "admission",
        }
    }
}

/// How a piece comes into other hands.
#[derive(Debug, PartialEq, Eq)]
pub enum Deed {
    /// Rules for these addresses. `backend`: what the configuration says.
    Masquerade { backend: Option<String>, addresses: Vec<IpNet> },
    /// Rules for these ports of the bridge.
    SpoofCheck { ports: Vec<(String, Mac)> },
    /// ADD of the plugin of this type, with each of these configurations.
    Call { kind: &'static str, configs: Vec<Vec<u8>> },
    /// The pod is gone: nobody needs it any more.
    Drop,
    /// It stays with us: why.
    Keep(String),
}

/// An attachment of ours.
pub struct Step<'a> {
    pub found: &'a Found,
    pub mark: String,
    pub pieces: Vec<(Piece, Deed)>,
}

/// What is in the kernel and belongs to no attachment that anybody knows.
#[derive(Debug, PartialEq, Eq)]
pub struct Stray {
    /// The text that it bears.
    pub owner: String,
    /// Each thing, in words.
    pub what: Vec<String>,
}

/// Everything.
pub struct Plan<'a> {
    pub steps: Vec<Step<'a>>,
    pub strays: Vec<Stray>,
    /// The types of plugins that will be called from now on, and by how many attachments.
    pub needs: BTreeMap<String, usize>,
}

/// Decides. `is_alive` says whether there is a namespace at a path, `delegated` what `flannel` handed on for an attachment.
pub fn plan<'a>(
    attachments: &'a [Found],
    standing: &Standing,
    is_alive: &dyn Fn(&str) -> bool,
    delegated: &dyn Fn(&PluginConfig, &Found) -> Option<PluginConfig>,
) -> Plan<'a> {
    let mut plan = Plan { steps: Vec::new(), strays: strays(attachments, standing), needs: BTreeMap::new() };
    for found in attachments {
        let attachment = &found.attachment;
        let mark = owner::mark(&found.network, &attachment.container_id, &attachment.ifname);
        let there = pieces_of(found, &mark, standing);
        if there.is_empty() {
            continue;
        }
        let mut needs = Vec::new();
        let pieces = if is_alive(&attachment.netns) {
            let known = Known::read(found, delegated);
            let decide = |piece: Piece| match known.as_ref().map_err(Clone::clone).and_then(|known| {
                let deed = known.deed(piece, found, &mark, standing)?;
                needs.extend(known.needs(piece));
                Ok(deed)
            }) {
                Ok(deed) => (piece, deed),
                Err(reason) => (piece, Deed::Keep(reason)),
            };
            there.into_iter().map(decide).collect()
        } else {
            there.into_iter().map(|piece| (piece, Deed::Drop)).collect()
        };
        needs.sort();
        needs.dedup();
        needs.into_iter().for_each(|kind| *plan.needs.entry(kind).or_default() += 1);
        plan.steps.push(Step { found, mark, pieces });
    }
    plan
}

fn pieces_of(found: &Found, mark: &str, standing: &Standing) -> Vec<Piece> {
    let mine = |text: &str| owner::is_of(text, mark);
    // The first network of a container has its ports for all of them; the reference has them once for each.
    let serves = |text: &str| mine(text) || owner::is_of_container(text, &found.attachment.container_id);
    let forwards = standing.forwards.iter().any(|(owner, _)| mine(owner))
        || standing.forwards.iter().any(|(owner, _)| serves(owner)) && publishes(found);
    [
        (Piece::Masquerade, standing.masqueraded.iter().any(|one| mine(&one.owner))),
        (Piece::SpoofCheck, standing.protected.iter().any(|one| mine(&one.owner))),
        (Piece::Forwards, forwards),
        (Piece::Admission, standing.admitted.iter().any(|(owner, _)| mine(owner))),
    ]
    .into_iter()
    .filter_map(|(piece, there)| there.then_some(piece))
    .collect()
}

fn strays(attachments: &[Found], standing: &Standing) -> Vec<Stray> {
    let marks: Vec<String> = attachments
        .iter()
        .map(|found| owner::mark(&found.network, &found.attachment.container_id, &found.attachment.ifname))
        .collect();
    let mut strays: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut note = |owner, what: String| {
        if !marks.iter().any(|mark| owner::is_of(owner, mark)) {
            strays.entry(owner).or_default().push(what);
        }
    };
    standing.masqueraded.iter().for_each(|one| note(&one.owner, format!("masquerade of {}", one.address)));
    standing.forwards.iter().for_each(|(owner, forward)| note(owner, format!("published {forward}")));
    for (owner, address) in &standing.admitted {
        if let Some(address) = address {
            note(owner, format!("admission of {address}"));
        }
    }
    standing.protected.iter().for_each(|one| note(&one.owner, format!("spoof check of {}", one.port)));
    strays.into_iter().map(|(owner, what)| Stray { owner: owner.to_owned(), what }).collect()
}

#[cfg(test)]
mod tests;
