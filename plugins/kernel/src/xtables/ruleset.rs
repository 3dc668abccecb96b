//! A table as the kernel takes it: entries one after the other, that lead to each other by their offsets. Here they lead by
//! their numbers, so that entries can come and go; offsets are worked out when it is written.

use super::entry::{Entry, Family, HEADER, Leads, VERDICT, short};

/// The one table that is looked at.
pub(super) const TABLE: &str = "filter";

/// `NF_INET_FORWARD`.
pub(super) const FORWARD: usize = 2;
/// `NF_INET_NUMHOOKS`.
pub(super) const HOOKS: usize = 5;

/// A whole table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ruleset {
    pub(super) family: Family,
    pub(super) valid_hooks: u32,
    pub(super) entries: Vec<Entry>,
    /// Number of the first entry of each hook's chain.
    pub(super) hooks: [usize; HOOKS],
    /// Number of its policy, the last entry.
    pub(super) policies: [usize; HOOKS],
}

/// The offsets that the kernel names beside the entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offsets {
    pub(super) hooks: [u32; HOOKS],
    pub(super) policies: [u32; HOOKS],
}

impl Ruleset {
    /// Reads what the kernel gave. `None`: it is not what the kernel gives.
    pub(super) fn parse(family: Family, valid_hooks: u32, offsets: &Offsets, bytes: &[u8]) -> Option<Ruleset> {
        let (mut at, mut places, mut entries) = (0, Vec::new(), Vec::new());
        while at < bytes.len() {
            let length = short(bytes.get(at..)?, family.target_offset() + 2)?;
            if length < family.entry() + HEADER {
                return None;
            }
            let origin = Some(entries.len());
            places.push(at);
            entries.push(Entry { bytes: bytes.get(at..at + length)?.to_vec(), leads: Leads::Nowhere, origin });
            at += length;
        }
        // The entry that closes every table; new chains go before it.
        (entries.last()?.head_of(family)? == "ERROR").then_some(())?;
        let number_of = |offset: usize| places.binary_search(&offset).ok();
        for (number, entry) in entries.iter_mut().enumerate() {
            // Behind the entry's own fields, or a verdict would be written over them.
            let target_at = short(&entry.bytes, family.target_offset()).filter(|at| *at >= family.entry())?;
            let target = entry.bytes.get(target_at..).filter(|target| target.len() >= HEADER)?;
            if target.get(2) != Some(&0) {
                continue;
            }
            let verdict = i32::from_ne_bytes(target.get(VERDICT..VERDICT + 4)?.try_into().ok()?);
            if let Ok(offset) = usize::try_from(verdict) {
                let to = number_of(offset)?;
                entry.leads = if to == number + 1 { Leads::On } else { Leads::To(to) };
            }
        }
        let mut rules = Ruleset { family, valid_hooks, entries, hooks: [0; HOOKS], policies: [0; HOOKS] };
        for hook in (0..HOOKS).filter(|hook| valid_hooks >> hook & 1 == 1) {
            rules.hooks[hook] = number_of(offsets.hooks[hook] as usize)?;
            rules.policies[hook] = number_of(offsets.policies[hook] as usize)?;
        }
        Some(rules)
    }

    /// The bytes for the kernel, and the offsets in them.
    pub(super) fn write(&self) -> (Vec<u8>, Offsets) {
        let mut places = Vec::with_capacity(self.entries.len() + 1);
        let mut end = 0;
        for entry in &self.entries {
            places.push(end);
            end += entry.bytes.len();
        }
        places.push(end);
        let mut bytes = Vec::with_capacity(end);
        for (number, entry) in self.entries.iter().enumerate() {
            let start = bytes.len();
            bytes.extend(&entry.bytes);
            let to = match entry.leads {
                Leads::Nowhere => continue,
                Leads::On => places[number + 1],
                Leads::To(to) => places[to],
            };
            let at = start + entry.bytes.len() - entry.target(self.family).len() + VERDICT;
            bytes[at..at + 4].copy_from_slice(&(to as i32).to_ne_bytes());
        }
        let offset = |number: usize| places[number] as u32;
        (bytes, Offsets { hooks: self.hooks.map(offset), policies: self.policies.map(offset) })
    }

    /// Puts an entry before the one of this number. What led to that one leads to it from now on: it is the first of its
    /// chain, or nothing led there.
    pub(super) fn insert(&mut self, before: usize, entry: Entry) {
        for one in &mut self.entries {
            if let Leads::To(to) = &mut one.leads
                && *to > before
            {
                *to += 1;
            }
        }
        for hook in 0..HOOKS {
            self.hooks[hook] += usize::from(self.hooks[hook] > before);
            self.policies[hook] += usize::from(self.policies[hook] >= before);
        }
        self.entries.insert(before, entry);
    }

    /// Takes an entry away. What led to it leads to the next: it was the first of its chain, or nothing led there.
    pub(super) fn remove_entry(&mut self, number: usize) {
        self.entries.remove(number);
        for one in &mut self.entries {
            if let Leads::To(to) = &mut one.leads
                && *to > number
            {
                *to -= 1;
            }
        }
        for hook in 0..HOOKS {
            self.hooks[hook] -= usize::from(self.hooks[hook] > number);
            self.policies[hook] -= usize::from(self.policies[hook] > number);
        }
    }

    /// First rule and closing policy of a user's chain.
    pub(super) fn chain(&self, name: &str) -> Option<(usize, usize)> {
        let head = self.entries.iter().position(|entry| entry.head_of(self.family).as_deref() == Some(name))?;
        let rest = self.entries.iter().skip(head + 1);
        let length = rest.take_while(|entry| entry.head_of(self.family).is_none()).count();
        (length > 0).then_some((head + 1, head + length))
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::{ACCEPT, RETURN};
    use super::*;

    /// INPUT, FORWARD with one rule that leads to a chain, OUTPUT.
    fn table(family: Family) -> Ruleset {
        let policy = || Entry::rule(family, &[], Leads::Nowhere, ACCEPT);
        let mut entries = vec![
            policy(),
            Entry::rule(family, &[], Leads::To(6), 0),
            Entry::rule(family, &[], Leads::On, 0),
            policy(),
            policy(),
            Entry::head(family, "THEIRS"),
            Entry::rule(family, &[], Leads::Nowhere, RETURN),
            Entry::head(family, "ERROR"),
        ];
        for (number, entry) in entries.iter_mut().enumerate() {
            entry.origin = Some(number);
        }
        Ruleset { family, valid_hooks: 0b1110, entries, hooks: [0, 0, 1, 4, 0], policies: [0, 0, 3, 4, 0] }
    }

    #[test]
    fn a_table_reads_back_as_it_was_written() {
        for family in [Family::V4, Family::V6] {
            let (bytes, offsets) = table(family).write();
            let again = Ruleset::parse(family, 0b1110, &offsets, &bytes).unwrap();
            // Where an entry leads to is in its bytes too, once it is written.
            assert_eq!(again.write(), (bytes, offsets));
            let leads = |rules: &Ruleset| rules.entries.iter().map(|entry| entry.leads).collect::<Vec<_>>();
            assert_eq!((leads(&again), again.hooks), (leads(&table(family)), table(family).hooks));
            assert_eq!(again.chain("THEIRS"), Some((6, 6)));
        }
    }

    #[test]
    fn what_is_made_and_taken_away_again_leaves_the_table_as_it_was() {
        for family in [Family::V4, Family::V6] {
            let mut rules = table(family);
            assert!(rules.drops() && !rules.is_ours() && !rules.remove());
            assert!(rules.ensure("CNI-ADMIN") && rules.is_ours());
            assert!(!rules.ensure("CNI-ADMIN"), "once is enough");
            assert!(rules.ensure("OTHER") && !rules.ensure("CNI-ADMIN"));
            assert!(rules.remove());
            assert_eq!(rules, table(family));
        }
    }

    #[test]
    fn what_the_kernel_does_not_give_is_none() {
        let (bytes, offsets) = table(Family::V4).write();
        for end in 1..bytes.len() {
            let cut = Ruleset::parse(Family::V4, 0b1110, &offsets, &bytes[..end]);
            assert_eq!(cut, None, "cut at {end}");
        }
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] = 0xff;
            // Whatever it is taken for, it can be looked at.
            if let Some(mut rules) = Ruleset::parse(Family::V4, 0b1110, &offsets, &other) {
                rules.ensure("CNI-ADMIN");
                rules.remove();
            }
        }
    }
}
