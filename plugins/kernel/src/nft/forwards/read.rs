//! What is forwarded, and what the table lacks.

use std::net::SocketAddr;

use super::layout::{FORWARDS, Space, marking_chains, probe, rules_for};
use super::{Forward, Forwarded, Group, Standing};
use crate::error::{Cause, Error, Result};
use crate::nft::others::Keys;
use crate::nft::read::Chain;
use crate::nft::rule::Rule;
use crate::nft::set::{Data, Element, Part, Set};
use crate::nft::socket::Nftables;

impl Nftables {
    /// Every forward there is.
    pub fn forwards(&mut self) -> Result<Vec<Forwarded>> {
        let listed = self.forward_spaces().and_then(|spaces| {
            let mut all = Vec::new();
            for space in &spaces {
                let maps = space.maps();
                for (set, marked) in [(maps.hosts, maps.marked_hosts), (maps.ports, maps.marked_ports)] {
                    let marks = self.elements(&marked)?;
                    for element in self.elements(&set)? {
                        let mark = marks.iter().find(|mark| mark.key == element.key);
                        all.extend(forwarded(&element, mark));
                    }
                }
            }
            Ok(all)
        });
        listed.map_err(|cause| Error::new("list", FORWARDS.name, cause))
    }

    /// What of these groups is not as [`Nftables::forward`] makes it, each in one sentence. `standing` says
    /// whose forwards are right: those that yield, if they lead where these groups say, and those that serve.
    pub fn forwards_missing(&mut self, groups: &[Group], standing: impl Fn(&str) -> Standing) -> Result<Vec<String>> {
        let looked = self.rules(FORWARDS, None).and_then(|rules| {
            let mut drifts = Vec::new();
            for group in groups {
                self.compare_forwards(group, &standing, &mut drifts)?;
            }
            // Without the table every forward is missing, which says it all.
            if self.exists(FORWARDS, None)? {
                drifts.extend(lacks(groups, &rules));
            }
            Ok(drifts)
        });
        looked.map_err(|cause| Error::new("look into", FORWARDS.name, cause))
    }

    fn compare_forwards(
        &mut self,
        group: &Group,
        standing: impl Fn(&str) -> Standing,
        drifts: &mut Vec<String>,
    ) -> std::result::Result<(), Cause> {
        let space = Space::of(group);
        let marked_by = marking_chains(group).into_iter().next();
        for forward in &group.forwards {
            match self.forwarded_in(&space, forward)? {
                None => drifts.push(format!("{forward} is not forwarded")),
                Some(there) if standing(&there.owner) == Standing::Serves => {}
                Some(there) if standing(&there.owner) == Standing::Stays => {
                    drifts.push(format!("{forward} is not forwarded: that port is of {:?}", there.owner));
                }
                Some(there) if there.forward.to != forward.to => {
                    drifts.push(format!("{forward} is not forwarded: that port leads to {}", there.forward.to));
                }
                Some(there) if there.marked_by != marked_by => {
                    let shown = |chain: &Option<String>| chain.clone().unwrap_or_else(|| "nothing".to_owned());
                    let (is, wanted) = (shown(&there.marked_by), shown(&marked_by));
                    drifts.push(format!("{forward} is masqueraded by {is}, not by {wanted}"));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Whether the kernel could forward: the table is made under another name and taken away in one transaction.
    pub fn probe_forwards(&mut self) -> Result<()> {
        let probed = self.commit(&probe());
        probed.map_err(|cause| Error::new("make", "a table that translates addresses", cause))
    }

    /// Where forwards can be.
    pub(super) fn forward_spaces(&mut self) -> std::result::Result<Vec<Space>, Cause> {
        Ok(spaces_in(&self.chains(FORWARDS)?))
    }

    /// The forward of the same port of the same address.
    pub(super) fn forwarded_in(
        &mut self,
        space: &Space,
        forward: &Forward,
    ) -> std::result::Result<Option<Forwarded>, Cause> {
        let (set, marked) = maps_of(space, forward);
        let key = forward.key();
        let Some(element) = self.element(&set, &key)? else { return Ok(None) };
        let mark = self.element(&marked, &key)?;
        Ok(forwarded(&element, mark.as_ref()))
    }

    /// Where every forward of the owners is that is in these spaces.
    pub(super) fn forward_keys_of(
        &mut self,
        spaces: &[Space],
        mine: impl Fn(&str) -> bool,
    ) -> std::result::Result<Vec<Keys>, Cause> {
        let mut all = Vec::new();
        for space in spaces {
            let maps = space.maps();
            for (set, marked) in [(maps.hosts, maps.marked_hosts), (maps.ports, maps.marked_ports)] {
                let keys: Vec<Vec<Part>> =
                    self.elements(&set)?.into_iter().filter(|one| mine(&one.comment)).map(|one| one.key).collect();
                for key in keys {
                    let mark = self.element(&marked, &key)?.map(|_| (marked, key.clone()));
                    all.push([(set, key)].into_iter().chain(mark).collect());
                }
            }
        }
        Ok(all)
    }
}

/// What the table lacks of what these groups need, each in one sentence.
fn lacks(groups: &[Group], rules: &[Rule]) -> Vec<String> {
    let mut wanted: Vec<(String, usize)> = Vec::new();
    for group in groups {
        wanted.extend(rules_for(group));
    }
    wanted.sort();
    // Of two that say the same chain, the one that wants more comes first.
    wanted.reverse();
    wanted.dedup_by(|one, before| one.0 == before.0);
    wanted.retain(|(chain, count)| rules.iter().filter(|rule| rule.chain == *chain).count() < *count);
    wanted.iter().map(|(chain, _)| format!("chain {chain} of table inet {} lacks rules", FORWARDS.name)).collect()
}

/// The general spaces, and those of these chains.
pub(super) fn spaces_in(chains: &[Chain]) -> Vec<Space> {
    let mut all = vec![Space::general(true), Space::general(false)];
    all.extend(chains.iter().filter_map(|chain| Space::of_chain(&chain.name)).filter(|one| !one.suffix.is_empty()));
    all
}

/// The maps that a forward is in.
pub(super) fn maps_of(space: &Space, forward: &Forward) -> (Set, Set) {
    let maps = space.maps();
    match forward.host {
        Some(_) => (maps.hosts, maps.marked_hosts),
        None => (maps.ports, maps.marked_ports),
    }
}

/// `None` for an element that is of another form than ours.
pub(super) fn forwarded(element: &Element, mark: Option<&Element>) -> Option<Forwarded> {
    let forward = forward_of(&element.key, &element.data)?;
    let marked_by = mark.and_then(|mark| match &mark.data {
        Data::Verdict(verdict) => verdict.chain().map(str::to_owned),
        Data::Nothing | Data::Value(_) => None,
    });
    Some(Forwarded { forward, owner: element.comment.clone(), marked_by })
}

fn forward_of(key: &[Part], data: &Data) -> Option<Forward> {
    let Data::Value(to) = data else { return None };
    let [Part::Address(address), Part::Port(to_port)] = to[..] else { return None };
    let (host, protocol, port) = match key {
        [Part::Address(host), Part::Protocol(protocol), Part::Port(port)] => (Some(*host), *protocol, *port),
        [Part::Protocol(protocol), Part::Port(port)] => (None, *protocol, *port),
        _ => return None,
    };
    Some(Forward { protocol, host, port, to: SocketAddr::new(address, to_port) })
}
