//! The facts as they stand, and the desired tables kept up with them: an event recomputes the services it touches, no other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use fairlead_ebpf_shared::FrontendKey;

use crate::desired::{Desired, DesiredFrontend};
use crate::facts::{Change, NodeFact, ObjectName, ServiceFact, SliceFact};
use crate::policy::{self, Notice, ServiceTable};
use crate::settings::Settings;
use crate::tables::Entry;

/// Claims to one frontend, the winner first: the oldest service, of equally old ones the first by name. A service without
/// a time counts as the youngest.
type Claims = BTreeSet<(i64, ObjectName)>;

/// What a recomputation has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recomputed {
    /// What may be desired otherwise than before.
    pub touched: BTreeSet<Entry>,
}

/// Facts, desired tables, and what is to be recomputed.
#[derive(Debug)]
pub struct Engine {
    settings: Settings,
    nodes: BTreeMap<Arc<str>, Arc<NodeFact>>,
    own_addresses: BTreeSet<IpAddr>,
    services: BTreeMap<ObjectName, Arc<ServiceFact>>,
    slices: BTreeMap<ObjectName, Arc<SliceFact>>,
    slices_of: BTreeMap<ObjectName, BTreeSet<ObjectName>>,
    tables: BTreeMap<ObjectName, (i64, ServiceTable)>,
    claims: BTreeMap<FrontendKey, Claims>,
    desired: Desired,
    dirty: BTreeSet<ObjectName>,
}

impl Engine {
    /// An engine without facts.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            nodes: BTreeMap::new(),
            own_addresses: BTreeSet::new(),
            services: BTreeMap::new(),
            slices: BTreeMap::new(),
            slices_of: BTreeMap::new(),
            tables: BTreeMap::new(),
            claims: BTreeMap::new(),
            desired: Desired::default(),
            dirty: BTreeSet::new(),
        }
    }

    /// Takes in a change. `false`: it says nothing new, and nothing is to be recomputed.
    pub fn apply(&mut self, change: Change) -> bool {
        match change {
            Change::PutService(fact) => {
                let known = self.services.insert(fact.name.clone(), fact.clone());
                let news = known.is_none_or(|known| known != fact);
                if news {
                    self.dirty.insert(fact.name.clone());
                }
                news
            }
            Change::DeleteService(name) => {
                let news = self.services.remove(&name).is_some();
                if news {
                    self.dirty.insert(name);
                }
                news
            }
            Change::PutSlice(fact) => {
                let known = self.slices.insert(fact.name.clone(), fact.clone());
                if known.as_ref().is_some_and(|known| known.serves_as(&fact)) {
                    return false;
                }
                if let Some(known) = known {
                    self.unlink(&known);
                }
                let service = fact.service_name();
                self.slices_of.entry(service.clone()).or_default().insert(fact.name.clone());
                self.dirty.insert(service);
                true
            }
            Change::DeleteSlice(name) => match self.slices.remove(&name) {
                Some(known) => {
                    self.unlink(&known);
                    true
                }
                None => false,
            },
            Change::PutNode(fact) => {
                let known = self.nodes.insert(fact.name.clone(), fact.clone());
                known.is_none_or(|known| known != fact)
            }
            Change::DeleteNode(name) => self.nodes.remove(&name).is_some(),
            Change::OwnAddresses(addresses) => {
                let news = self.own_addresses != addresses;
                self.own_addresses = addresses;
                news
            }
        }
    }

    /// Recomputes what changed. The frontends whose desired backends or owner may be other than before.
    pub fn recompute(&mut self) -> Recomputed {
        let mut touched = BTreeSet::new();
        for name in std::mem::take(&mut self.dirty) {
            let table = self.services.get(&name).map(|fact| (fact.created.unwrap_or(i64::MAX), self.expand(fact)));
            if let Some((age, old)) = self.tables.remove(&name) {
                for key in old.frontends.keys() {
                    if let Some(claims) = self.claims.get_mut(key) {
                        claims.remove(&(age, name.clone()));
                    }
                    touched.insert(*key);
                }
            }
            if let Some((age, table)) = table {
                for key in table.frontends.keys() {
                    self.claims.entry(*key).or_default().insert((age, name.clone()));
                    touched.insert(*key);
                }
                self.tables.insert(name, (age, table));
            }
        }
        for key in &touched {
            self.settle(key);
        }
        Recomputed { touched: touched.into_iter().map(Entry::Frontend).collect() }
    }

    /// The desired tables as of the last [`Engine::recompute`].
    #[must_use]
    pub fn desired(&self) -> &Desired {
        &self.desired
    }

    /// What an operator should know about the services, ascending.
    #[must_use]
    pub fn notices(&self) -> BTreeSet<Notice> {
        let conflicts = self.claims.iter().flat_map(|(key, claims)| {
            let mut names = claims.iter().map(|(_, name)| name);
            let winner = names.next();
            names.filter_map(move |loser| {
                Some(Notice::Conflict { loser: loser.clone(), winner: winner?.clone(), key: *key })
            })
        });
        self.tables.values().flat_map(|(_, table)| table.notices.iter().cloned()).chain(conflicts).collect()
    }

    /// Slices whose service is not there, ascending. They wait; that is no error.
    pub fn orphans(&self) -> impl Iterator<Item = &SliceFact> {
        self.slices.values().filter(|slice| !self.services.contains_key(&slice.service_name())).map(|slice| &**slice)
    }

    /// How many services and slices there are.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.services.len(), self.slices.len())
    }

    fn expand(&self, fact: &ServiceFact) -> ServiceTable {
        let slices = self.slices_of.get(&fact.name).into_iter().flatten().filter_map(|name| self.slices.get(name));
        policy::expand(fact, slices.map(|slice| &**slice), &self.settings.node)
    }

    fn unlink(&mut self, slice: &SliceFact) {
        let service = slice.service_name();
        if let Some(names) = self.slices_of.get_mut(&service) {
            names.remove(&slice.name);
            if names.is_empty() {
                self.slices_of.remove(&service);
            }
        }
        self.dirty.insert(service);
    }

    /// Makes the desired frontend that of the claim that wins.
    fn settle(&mut self, key: &FrontendKey) {
        let Some((_, owner)) = self.claims.get(key).and_then(BTreeSet::first) else {
            self.claims.remove(key);
            self.desired.frontends.remove(key);
            return;
        };
        if let Some(table) = self.tables.get(owner).and_then(|(_, table)| table.frontends.get(key)) {
            let frontend =
                DesiredFrontend { service: owner.clone(), port: table.port.clone(), backends: table.backends.clone() };
            self.desired.frontends.insert(*key, frontend);
        }
    }
}
