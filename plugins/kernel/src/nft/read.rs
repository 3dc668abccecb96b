//! Questions: what is there, element by element, rule by rule.

use std::collections::HashSet;

use super::attributes::{Attributes, number_of, text_of};
use super::rule::Rule;
use super::set::{Element, Part, Set, key_of};
use super::socket::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, Nftables, body, generation_in, message, no_generation, operation_of,
};
use super::table::{Family, Hook, Policy, Table};
use super::transaction::kind;
use crate::error::{Cause, Errno};
use crate::netlink::{Answers, DUMP_ATTEMPTS, Frame, NLMSG_DONE, NLMSG_ERROR, Reply, attributes_of, frames};

/// A chain of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// Hook and priority of a base chain.
    pub base: Option<(u32, i32)>,
    /// What a base chain does with packets that no rule decides about.
    pub policy: Option<Policy>,
    /// How many rules it has, and how many rules and elements lead to it.
    pub uses: u32,
}

impl Chain {
    /// Whether it is called at this hook with this priority.
    pub fn is_at(&self, hook: Hook, priority: i32) -> bool {
        self.base == Some((hook as u32, priority))
    }
}

impl Nftables {
    /// Whether the table is there, or the chain in it.
    pub fn exists(&mut self, table: Table, chain: Option<&str>) -> Result<bool, Cause> {
        let question = Attributes::default().text(1, table.name);
        let (operation, question) = match chain {
            None => (kind::GET_TABLE, question),
            Some(chain) => (kind::GET_CHAIN, question.text(3, chain)),
        };
        match self.ask((operation, table.family), NLM_F_ACK, Answers::Acknowledged, &question.0, |_| Ok(())) {
            Ok(_) => Ok(true),
            Err(cause) if cause.is_not_found() => Ok(false),
            Err(cause) => Err(cause),
        }
    }

    /// Whether each of these tables, or chains in them, is there. One message, however many they are; a kernel without
    /// nf_tables has none of them.
    pub fn exist<const N: usize>(&mut self, all: [(Table, Option<&str>); N]) -> Result<[bool; N], Cause> {
        let there = self.exist_each(&all)?;
        Ok(std::array::from_fn(|index| there[index]))
    }

    /// [`Nftables::exist`] of a number that is not known before: as many answers.
    pub fn exist_each(&mut self, all: &[(Table, Option<&str>)]) -> Result<Vec<bool>, Cause> {
        let question = |(table, chain): &(Table, Option<&str>)| {
            let question = Attributes::default().text(1, table.name);
            match chain {
                None => (kind::GET_TABLE, table.family, question),
                Some(chain) => (kind::GET_CHAIN, table.family, question.text(3, chain)),
            }
        };
        let questions: Vec<_> = all.iter().map(question).collect();
        let mut there = vec![false; all.len()];
        self.ask_each(&questions, |index, _| there[index] = true)?;
        Ok(there)
    }

    /// The element of each of these keys, and the generation of the ruleset just before: one message, so that a transaction can
    /// follow before anybody commits anything.
    pub(super) fn elements_now(&mut self, keys: &[(Set, Vec<Part>)]) -> Result<(u32, Vec<Option<Element>>), Cause> {
        let elements = keys.iter().map(|(set, key)| (kind::GET_ELEMENT, set.table.family, set.with(&[key_of(key)])));
        let generation = (kind::GET_GENERATION, Family::Inet, Attributes::default());
        let questions: Vec<_> = [generation].into_iter().chain(elements).collect();
        let (mut generation, mut there) = (None, vec![None; keys.len()]);
        self.ask_each(&questions, |index, frame| match index {
            0 => generation = generation_in(frame),
            _ => there[index - 1] = elements_in(&keys[index - 1].0, frame).pop(),
        })?;
        Ok((generation.ok_or_else(no_generation)?, there))
    }

    /// Asks for single things, all in one message; those that are there are told. A kernel without nf_tables has none of them.
    fn ask_each(
        &mut self,
        questions: &[(u16, Family, Attributes)],
        mut take: impl FnMut(usize, &Frame<'_>),
    ) -> Result<(), Cause> {
        let (mut bytes, mut sequences) = (Vec::new(), Vec::with_capacity(questions.len()));
        for (operation, family, question) in questions {
            let sequence = self.transport.next_sequence();
            // Unacknowledged: what is there is the answer.
            message(&mut bytes, operation_of(*operation), NLM_F_REQUEST, sequence, (*family as u8, 0), &question.0);
            sequences.push(sequence);
        }
        self.transport.send(&bytes)?;
        let mut open = sequences.len();
        while open > 0 {
            for frame in frames(self.transport.receive(true)?) {
                let frame = frame?;
                let Some(index) = sequences.iter().position(|sequence| *sequence == frame.sequence) else { continue };
                open = open.saturating_sub(1);
                match frame.kind {
                    NLMSG_ERROR => match frame.acknowledgement() {
                        // EINVAL is nfnetlink's word for a subsystem that it does not have.
                        Err(cause) if cause.is_not_found() || cause.errno() == Some(Errno::EINVAL) => {}
                        Err(cause) => return Err(cause),
                        Ok(()) => take(index, &frame),
                    },
                    _ => take(index, &frame),
                }
            }
        }
        Ok(())
    }

    /// How many chains, sets, maps and other objects the table has; `None`: it is not there.
    pub fn table_uses(&mut self, table: Table) -> Result<Option<u32>, Cause> {
        let question = Attributes::default().text(1, table.name);
        let (about, mut uses) = ((kind::GET_TABLE, table.family), None);
        let asked = self.ask(about, NLM_F_ACK, Answers::Acknowledged, &question.0, |frame| {
            let found = attributes_of(body(&frame)).find(|(kind, _)| *kind == 3);
            uses = found.and_then(|(_, uses)| number_of(uses)).or(uses);
            Ok(())
        });
        match asked {
            Ok(_) => Ok(uses),
            Err(cause) if cause.is_not_found() => Ok(None),
            Err(cause) => Err(cause),
        }
    }

    /// Whether the set is there.
    pub fn set_exists(&mut self, set: &Set) -> Result<bool, Cause> {
        let question = (kind::GET_SET, set.table.family);
        match self.ask(question, NLM_F_ACK, Answers::Acknowledged, &set.named().0, |_| Ok(())) {
            Ok(_) => Ok(true),
            Err(cause) if cause.is_not_found() => Ok(false),
            Err(cause) => Err(cause),
        }
    }

    /// The element with this key; `None` if there is no such element, set or table.
    pub fn element(&mut self, set: &Set, key: &[Part]) -> Result<Option<Element>, Cause> {
        let question = set.with(&[key_of(key)]);
        let mut found = Vec::new();
        let about = (kind::GET_ELEMENT, set.table.family);
        let asked = self.ask(about, NLM_F_ACK, Answers::Acknowledged, &question.0, |frame| {
            found.extend(elements_in(set, &frame));
            Ok(())
        });
        match asked {
            Ok(_) => Ok(found.pop()),
            Err(cause) if cause.is_not_found() => Ok(None),
            Err(cause) => Err(cause),
        }
    }

    /// Every element; none if there is no such set or table.
    pub fn elements(&mut self, set: &Set) -> Result<Vec<Element>, Cause> {
        let about = (kind::GET_ELEMENT, set.table.family);
        let mut all = self.dump(about, &set.named(), |frame, found| found.extend(elements_in(set, frame)))?;
        // A hash table that is being resized is walked from its beginning again (rhashtable_walk_next, lib/rhashtable.c).
        let mut seen = HashSet::new();
        all.retain(|element| seen.insert(element.key.clone()));
        Ok(all)
    }

    /// Whether an element is `wanted`. Reads no further than to the first one, so that the cost does not grow with the set;
    /// no such set: no. The next list asked for over this socket has to read the rest.
    pub fn any_element(&mut self, set: &Set, wanted: impl Fn(&Element) -> bool) -> Result<bool, Cause> {
        self.finish_dump()?;
        let sequence = self.request((kind::GET_ELEMENT, set.table.family), NLM_F_DUMP, &set.named().0)?;
        loop {
            for frame in frames(self.transport.receive(true)?) {
                let frame = frame?;
                if frame.sequence != sequence {
                    continue;
                }
                match frame.kind {
                    NLMSG_ERROR => {
                        let answer = frame.acknowledgement();
                        return answer.map_or_else(
                            |cause| if cause.is_not_found() { Ok(false) } else { Err(cause) },
                            |()| Ok(false),
                        );
                    }
                    NLMSG_DONE => return Ok(false),
                    _ if elements_in(set, &frame).iter().any(&wanted) => {
                        self.unread = true;
                        return Ok(true);
                    }
                    _ => {}
                }
            }
        }
    }

    /// The rules of a table in their order, or those of one chain; none if it is not there.
    pub fn rules(&mut self, table: Table, chain: Option<&str>) -> Result<Vec<Rule>, Cause> {
        let question = Attributes::default().text(1, table.name);
        let question = if let Some(chain) = chain { question.text(2, chain) } else { question };
        self.dump((kind::GET_RULE, table.family), &question, |frame, found| {
            // Kernels that do not know the filter send everybody's.
            found.extend(Rule::read(body(frame), table.name).filter(|rule| chain.is_none_or(|one| one == rule.chain)));
        })
    }

    /// One chain of a table; `None`: it is not there.
    pub fn chain(&mut self, table: Table, name: &str) -> Result<Option<Chain>, Cause> {
        let question = Attributes::default().text(1, table.name).text(3, name);
        let (about, mut found) = ((kind::GET_CHAIN, table.family), None);
        let asked = self.ask(about, NLM_F_ACK, Answers::Acknowledged, &question.0, |frame| {
            found = chain_in(body(&frame), table.name).or(found.take());
            Ok(())
        });
        match asked {
            Ok(_) => Ok(found),
            Err(cause) if cause.is_not_found() => Ok(None),
            Err(cause) => Err(cause),
        }
    }

    /// The chains of a table; none if it is not there.
    pub fn chains(&mut self, table: Table) -> Result<Vec<Chain>, Cause> {
        self.dump((kind::GET_CHAIN, table.family), &Attributes::default(), |frame, found| {
            found.extend(chain_in(body(frame), table.name));
        })
    }

    /// A whole list: an interrupted dump is asked for again. A commit of anybody interrupts it, whatever it changed, so one
    /// that says the same twice in a row is taken for whole: beside busy others none ends undisturbed.
    fn dump<T: PartialEq>(
        &mut self,
        about: (u16, Family),
        question: &Attributes,
        take: impl Fn(&Frame<'_>, &mut Vec<T>),
    ) -> Result<Vec<T>, Cause> {
        let mut before = None;
        for _ in 0..DUMP_ATTEMPTS {
            let mut found = Vec::new();
            let reply = self.ask(about, NLM_F_DUMP, Answers::Dumped, &question.0, |frame| {
                take(&frame, &mut found);
                Ok(())
            });
            match reply {
                Ok(Reply::Complete) => return Ok(found),
                Ok(Reply::Interrupted) if before.as_ref() == Some(&found) => return Ok(found),
                Ok(Reply::Interrupted) => before = Some(found),
                Err(cause) if cause.is_not_found() => return Ok(Vec::new()),
                Err(cause) => return Err(cause),
            }
        }
        Err(Cause::DumpInterrupted { attempts: DUMP_ATTEMPTS })
    }
}

/// The elements in an `NFT_MSG_NEWSETELEM`.
pub(super) fn elements_in(set: &Set, frame: &Frame<'_>) -> Vec<Element> {
    let list = attributes_of(body(frame)).find(|(kind, _)| *kind == 3).map(|(_, list)| list).unwrap_or_default();
    attributes_of(list).filter_map(|(_, element)| Element::read(set, element)).collect()
}

/// The chain in an `NFT_MSG_NEWCHAIN`, if it is the table's.
pub(super) fn chain_in(attributes: &[u8], table: &str) -> Option<Chain> {
    let (mut chain, mut mine) = (Chain { name: String::new(), base: None, policy: None, uses: 0 }, false);
    for (kind, value) in attributes_of(attributes) {
        match kind {
            1 => mine = text_of(value) == table,
            3 => chain.name = text_of(value),
            4 => {
                let find = |wanted: u16| attributes_of(value).find(|(kind, _)| *kind == wanted);
                let hook = find(1).and_then(|(_, hook)| number_of(hook));
                let priority = find(2).and_then(|(_, priority)| number_of(priority));
                chain.base = hook.zip(priority.map(u32::cast_signed));
            }
            5 => {
                chain.policy = match number_of(value) {
                    Some(0) => Some(Policy::Drop),
                    Some(1) => Some(Policy::Accept),
                    _ => None,
                }
            }
            6 => chain.uses = number_of(value).unwrap_or_default(),
            _ => {}
        }
    }
    mine.then_some(chain)
}
