//! Which service has a frontend when several want it: the oldest, of equally old ones the first by name. A service without a
//! time counts as the youngest.
//!
//! Nearly every frontend is wanted once, so only those that are wanted more often have a list.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fairlead_ebpf_shared::FrontendKey;

use crate::desired::{Desired, DesiredFrontend};
use crate::facts::ObjectName;
use crate::notice::Notice;
use crate::policy::ServiceTable;

/// By age, the winner first.
type Rivals = BTreeSet<(i64, ObjectName)>;

/// What every service wants, and who gets it.
#[derive(Debug, Default)]
pub(super) struct Claims {
    tables: BTreeMap<ObjectName, (i64, ServiceTable)>,
    contested: BTreeMap<FrontendKey, Rivals>,
    conflicts: BTreeMap<FrontendKey, Vec<Notice>>,
}

/// What was seen while claims were given up and made.
#[derive(Debug, Default)]
pub(super) struct Settling {
    /// Frontends that may be another's or otherwise now.
    pub touched: BTreeSet<FrontendKey>,
    /// Services whose claim to a frontend was or is not the only one.
    rivals: BTreeSet<ObjectName>,
    /// What an operator should know of conflicts, before.
    pub notices_before: BTreeSet<Notice>,
    /// The same, now.
    pub notices_now: BTreeSet<Notice>,
}

impl Claims {
    /// What each service wants.
    pub fn tables(&self) -> impl Iterator<Item = (&ObjectName, &ServiceTable)> {
        self.tables.iter().map(|(name, (_, table))| (name, table))
    }

    /// All frontends that are not served for somebody who wants them.
    pub fn conflicts(&self) -> impl Iterator<Item = &Notice> {
        self.conflicts.values().flatten()
    }

    /// From now on `name` wants this, whatever it wanted before. `desired` has, of what is not contested, who claims it. The
    /// table that it had.
    pub fn replace(
        &mut self,
        name: &ObjectName,
        table: Option<(i64, ServiceTable)>,
        desired: &mut Desired,
        settling: &mut Settling,
    ) -> Option<ServiceTable> {
        let (age, wanted): (i64, BTreeSet<FrontendKey>) = match &table {
            Some((age, table)) => (*age, table.frontends.iter().map(|(key, _)| *key).collect()),
            None => (0, BTreeSet::new()),
        };
        let old = match table {
            Some(table) => self.tables.insert(name.clone(), table),
            None => self.tables.remove(name),
        };
        let mut had: BTreeSet<FrontendKey> = BTreeSet::new();
        if let Some((old_age, old)) = &old {
            for (key, _) in &old.frontends {
                settling.touched.insert(*key);
                if *old_age == age && wanted.contains(key) {
                    had.insert(*key);
                } else {
                    self.give_up(*key, *old_age, name, desired, settling);
                }
            }
        }
        for key in wanted {
            settling.touched.insert(key);
            if !had.contains(&key) {
                self.claim(key, age, name, desired, settling);
            }
        }
        old.map(|(_, table)| table)
    }

    /// Makes every touched frontend desired as the claim that wins wants it.
    pub fn settle(&mut self, desired: &mut Desired, settling: &mut Settling) {
        // Who wins or loses an address that names a group of others has to think about those too.
        for name in std::mem::take(&mut settling.rivals) {
            let table = self.tables.get(&name);
            settling.touched.extend(table.into_iter().flat_map(|(_, table)| &table.frontends).map(|(key, _)| *key));
        }
        for key in &settling.touched {
            let notices = self.notices_of(key);
            let before = match notices.is_empty() {
                true => self.conflicts.remove(key),
                false => self.conflicts.insert(*key, notices.clone()),
            };
            settling.notices_before.extend(before.into_iter().flatten());
            settling.notices_now.extend(notices);
            let winner = match self.contested.get(key).and_then(BTreeSet::first) {
                Some((_, winner)) => Some(winner),
                None => desired.frontends.get(key).map(|frontend| &frontend.service),
            };
            if let Some(frontend) = winner.and_then(|winner| self.frontend(winner, key)) {
                desired.frontends.insert(*key, frontend.clone());
            }
        }
    }

    fn frontend(&self, name: &ObjectName, key: &FrontendKey) -> Option<&Arc<DesiredFrontend>> {
        let (_, table) = self.tables.get(name)?;
        let index = table.frontends.binary_search_by_key(key, |(key, _)| *key).ok()?;
        Some(&table.frontends[index].1)
    }

    fn claim(&mut self, key: FrontendKey, age: i64, name: &ObjectName, desired: &mut Desired, settling: &mut Settling) {
        if let Some(rivals) = self.contested.get_mut(&key) {
            rivals.insert((age, name.clone()));
            settling.rivals.extend(rivals.iter().map(|(_, name)| name.clone()));
            return;
        }
        let Some(holder) = desired.frontends.get(&key).map(|frontend| frontend.service.clone()) else {
            if let Some(frontend) = self.frontend(name, &key) {
                desired.frontends.insert(key, frontend.clone());
            }
            return;
        };
        let age_of_holder = self.tables.get(&holder).map_or(i64::MAX, |(age, _)| *age);
        settling.rivals.extend([holder.clone(), name.clone()]);
        self.contested.insert(key, BTreeSet::from([(age_of_holder, holder), (age, name.clone())]));
    }

    fn give_up(
        &mut self,
        key: FrontendKey,
        age: i64,
        name: &ObjectName,
        desired: &mut Desired,
        settling: &mut Settling,
    ) {
        let Some(rivals) = self.contested.get_mut(&key) else {
            desired.frontends.remove(&key);
            return;
        };
        rivals.remove(&(age, name.clone()));
        settling.rivals.extend(rivals.iter().map(|(_, name)| name.clone()));
        if rivals.len() > 1 {
            return;
        }
        let left = self.contested.remove(&key).and_then(|mut rivals| rivals.pop_first());
        if let Some(frontend) = left.and_then(|(_, left)| self.frontend(&left, &key).cloned()) {
            desired.frontends.insert(key, frontend);
        }
    }

    fn notices_of(&self, key: &FrontendKey) -> Vec<Notice> {
        let mut names = self.contested.get(key).into_iter().flatten().map(|(_, name)| name);
        let Some(winner) = names.next() else { return Vec::new() };
        names.map(|loser| Notice::Conflict { loser: loser.clone(), winner: winner.clone(), key: *key }).collect()
    }
}
