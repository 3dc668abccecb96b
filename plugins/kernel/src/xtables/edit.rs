//! What we want of a table: `FORWARD` leads to `CNI-FORWARD`, which asks the administrator's chain and then accepts what bears
//! our mark; and none of it when nobody needs it.

use super::entry::{ACCEPT, Entry, HEADER, Leads, RETURN};
use super::ruleset::{FORWARD, Ruleset};
use crate::nft::admission::{ACCEPTANCE, ADMIN, ADMITTED, JUMP, MASK, PODS_CHAIN};

impl Ruleset {
    /// Whether `FORWARD` may drop anything: another policy than accept, or a rule.
    pub(super) fn drops(&self) -> bool {
        let policy = self.entries.get(self.policies[FORWARD]).and_then(|entry| entry.verdict(self.family));
        policy != Some(ACCEPT) || self.hooks[FORWARD] != self.policies[FORWARD]
    }

    /// Whether our acceptance is there.
    pub(super) fn is_ours(&self) -> bool {
        self.entries.iter().any(|entry| self.accepts(entry))
    }

    /// Makes what is missing; whether anything was.
    pub(super) fn ensure(&mut self, admin: &str) -> bool {
        let before = self.entries.len();
        for chain in [PODS_CHAIN, admin] {
            if self.chain(chain).is_none() {
                // The very last entry closes the table.
                let end = self.entries.len() - 1;
                self.insert(end, Entry::rule(self.family, &[], Leads::Nowhere, RETURN));
                self.insert(end, Entry::head(self.family, chain));
            }
        }
        self.ensure_rules(admin);
        self.entries.len() > before
    }

    /// Both chains are there. Numbers are looked up again after every insertion.
    fn ensure_rules(&mut self, admin: &str) {
        let number = |rules: &Ruleset, chain: &str| rules.chain(chain).unwrap_or_default();
        let (first, last) = number(self, PODS_CHAIN);
        if !(first..last).any(|one| self.accepts(&self.entries[one])) {
            let matches = [mark(), comment(ACCEPTANCE)].concat();
            self.insert(last, Entry::rule(self.family, &matches, Leads::Nowhere, ACCEPT));
        }
        let ((first, last), (asked, _)) = (number(self, PODS_CHAIN), number(self, admin));
        if !(first..last).any(|one| self.is_jump(&self.entries[one], asked)) {
            self.insert_jump(first, ADMIN, asked);
        }
        let (start, end) = (self.hooks[FORWARD], self.policies[FORWARD]);
        let (first, _) = number(self, PODS_CHAIN);
        if !(start..end).any(|one| self.is_jump(&self.entries[one], first)) {
            self.insert_jump(start, JUMP, first);
        }
    }

    /// A jump to the chain whose first entry has this number now, before it moves.
    fn insert_jump(&mut self, before: usize, text: &str, first: usize) {
        let to = Leads::To(first + usize::from(first > before));
        self.insert(before, Entry::rule(self.family, &comment(text), to, 0));
    }

    /// Takes away our acceptance, and the chains that hold nobody else's rule; whether anything was there.
    pub(super) fn remove(&mut self) -> bool {
        let before = self.entries.len();
        self.remove_rules(|rules, entry| rules.accepts(entry));
        let Some((first, last)) = self.chain(PODS_CHAIN) else { return self.entries.len() < before };
        let asked: Vec<String> = (first..last).filter_map(|number| self.admin_of(&self.entries[number])).collect();
        let jumps = self.leading_to(first);
        let from_forward = (self.hooks[FORWARD]..self.policies[FORWARD])
            .filter(|number| self.is_jump(&self.entries[*number], first))
            .count();
        if asked.len() == last - first && jumps == from_forward {
            self.remove_rules(|rules, entry| rules.is_jump_to(entry, PODS_CHAIN) || rules.admin_of(entry).is_some());
            self.remove_chain(PODS_CHAIN);
            for admin in asked {
                self.remove_chain(&admin);
            }
        }
        self.entries.len() < before
    }

    /// An empty chain to which nothing leads.
    fn remove_chain(&mut self, name: &str) {
        if let Some((first, last)) = self.chain(name)
            && first == last
            && self.leading_to(first) == 0
        {
            self.remove_entry(last);
            self.remove_entry(first - 1);
        }
    }

    fn remove_rules(&mut self, unwanted: impl Fn(&Ruleset, &Entry) -> bool) {
        for number in (0..self.entries.len()).rev() {
            if unwanted(self, &self.entries[number]) {
                self.remove_entry(number);
            }
        }
    }

    fn leading_to(&self, first: usize) -> usize {
        self.entries.iter().filter(|entry| entry.leads == Leads::To(first)).count()
    }

    /// A rule that leads there, whatever the packet.
    fn is_jump(&self, entry: &Entry, first: usize) -> bool {
        let asks_nothing = entry.matches(self.family).iter().all(|(name, _)| name == "comment");
        entry.leads == Leads::To(first) && entry.is_for_all(self.family) && asks_nothing
    }

    fn is_jump_to(&self, entry: &Entry, chain: &str) -> bool {
        self.chain(chain).is_some_and(|(first, _)| self.is_jump(entry, first))
    }

    /// The administrator's chain that a rule asks.
    fn admin_of(&self, entry: &Entry) -> Option<String> {
        let Leads::To(first) = entry.leads else { return None };
        (self.is_jump(entry, first) && self.says(entry, ADMIN))
            .then(|| self.entries.get(first.checked_sub(1)?)?.head_of(self.family))?
    }

    fn accepts(&self, entry: &Entry) -> bool {
        entry.verdict(self.family) == Some(ACCEPT) && self.says(entry, ACCEPTANCE)
    }

    fn says(&self, entry: &Entry, text: &str) -> bool {
        let is_comment = |(name, data): &(String, &[u8])| {
            name == "comment" && data.strip_prefix(text.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
        };
        entry.matches(self.family).iter().any(is_comment)
    }
}

/// `-m mark`: `struct xt_mark_mtinfo1`.
fn mark() -> Vec<u8> {
    let info = [&ADMITTED.to_ne_bytes()[..], &MASK.to_ne_bytes(), &[0; 4]].concat();
    matching("mark", 1, &info)
}

/// `-m comment`: `struct xt_comment_info`.
fn comment(text: &str) -> Vec<u8> {
    let mut info = vec![0; 256];
    info[..text.len()].copy_from_slice(text.as_bytes());
    matching("comment", 0, &info)
}

fn matching(name: &str, revision: u8, info: &[u8]) -> Vec<u8> {
    let length = (HEADER + info.len()).next_multiple_of(8);
    let mut bytes = vec![0; length];
    bytes[..2].copy_from_slice(&(length as u16).to_ne_bytes());
    bytes[2..2 + name.len()].copy_from_slice(name.as_bytes());
    bytes[HEADER - 1] = revision;
    bytes[HEADER..HEADER + info.len()].copy_from_slice(info);
    bytes
}
