//! The facts as they stand, and the desired tables kept up with them: an event recomputes the services it touches, no other.

mod addresses;
mod claims;
mod recompute;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fairlead_ebpf_shared::FrontendKey;

use crate::desired::{Desired, DesiredFrontend};
use crate::facts::{Change, Family, NodeFact, ObjectName, ServiceFact, SliceFact};
use crate::notice::Notice;
use crate::policy::{HealthCheck, NoLocal, Place};
use crate::settings::Settings;
use crate::tables::Entry;

use addresses::Addresses;
use claims::Claims;

/// Facts, desired tables, and what is to be recomputed.
#[derive(Debug)]
pub struct Engine {
    settings: Settings,
    nodes: BTreeMap<Arc<str>, Arc<NodeFact>>,
    services: BTreeMap<ObjectName, Arc<ServiceFact>>,
    slices: BTreeMap<ObjectName, Arc<SliceFact>>,
    slices_of: BTreeMap<ObjectName, Vec<Arc<SliceFact>>>,
    claims: Claims,
    addresses: Addresses,
    desired: Desired,
    notices: BTreeMap<ObjectName, Vec<Notice>>,
    no_local: NoLocal,
    dirty: BTreeSet<ObjectName>,
}

/// What a recomputation has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "what is touched and not marked is never written"]
pub struct Recomputed {
    /// What may be desired otherwise than before.
    pub touched: BTreeSet<Entry>,
    /// How many services were recomputed.
    pub services: usize,
    /// Which: all whose facts or slices are others than before, whether or not anything is desired otherwise.
    pub names: BTreeSet<ObjectName>,
    /// What an operator should know, and did not before; ascending.
    pub notices_new: Vec<Notice>,
    /// What is no longer so; ascending.
    pub notices_gone: Vec<Notice>,
    /// Services whose health check is another than before, ascending; `None`: it has none any more.
    pub health_checks: Vec<(ObjectName, Option<HealthCheck>)>,
}

impl Engine {
    /// An engine without facts.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            nodes: BTreeMap::new(),
            services: BTreeMap::new(),
            slices: BTreeMap::new(),
            slices_of: BTreeMap::new(),
            claims: Claims::default(),
            addresses: Addresses::default(),
            desired: Desired::default(),
            notices: BTreeMap::new(),
            no_local: NoLocal::default(),
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
            Change::PutSlice(fact) => self.put_slice(fact),
            Change::DeleteSlice(name) => match self.slices.remove(&name) {
                Some(known) => {
                    self.unlink(&known);
                    true
                }
                None => false,
            },
            Change::PutNode(fact) => {
                let name = fact.name.clone();
                let known = self.nodes.insert(name.clone(), fact);
                self.node_changed(&name, known)
            }
            Change::DeleteNode(name) => {
                let known = self.nodes.remove(&name);
                known.is_some() && self.node_changed(&name, known)
            }
            Change::OwnAddresses(addresses) => self.addresses.set_own(addresses),
        }
    }

    /// Other decisions of the operator from now on.
    pub fn set_settings(&mut self, settings: Settings) {
        let known = std::mem::replace(&mut self.settings, settings);
        let Settings { node, scopes, serve_other_nodes, localhost_node_ports: _, masquerade_all, detect_local } =
            &known;
        let now = &self.settings;
        if *node != now.node {
            for fact in self.nodes.values() {
                let is = |own: &Arc<str>| usize::from(fact.name == *own);
                match (is(node), is(&now.node)) {
                    (0, 1) => self.addresses.remove_others(&fact.addresses),
                    (1, 0) => self.addresses.add_others(&fact.addresses),
                    _ => {}
                }
            }
        }
        if *serve_other_nodes != now.serve_other_nodes {
            self.addresses.reconsider_others();
        }
        let policy = (node, scopes, masquerade_all, detect_local);
        if policy != (&now.node, &now.scopes, &now.masquerade_all, &now.detect_local) {
            self.dirty.extend(self.services.keys().cloned());
        }
    }

    /// The desired tables as of the last [`Engine::recompute`].
    #[must_use]
    pub fn desired(&self) -> &Desired {
        &self.desired
    }

    /// Whose a frontend is, and what it is.
    #[must_use]
    pub fn owner(&self, key: &FrontendKey) -> Option<&DesiredFrontend> {
        self.desired.frontends.get(key).map(|frontend| &**frontend)
    }

    /// What an operator should know about the services, ascending. [`Recomputed`] has what is new and what is gone.
    #[must_use]
    pub fn notices(&self) -> BTreeSet<Notice> {
        self.notices.values().flatten().chain(self.claims.conflicts()).cloned().collect()
    }

    /// Service ports with endpoints, but none here, although their policy is Local.
    #[must_use]
    pub fn no_local(&self) -> NoLocal {
        self.no_local
    }

    /// How many services and slices there are.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.services.len(), self.slices.len())
    }

    /// The decisions of the operator.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The node that this is; `None`: no source has told yet.
    #[must_use]
    pub fn own_node(&self) -> Option<&Arc<NodeFact>> {
        self.nodes.get(&self.settings.node)
    }

    /// A service.
    #[must_use]
    pub fn service(&self, name: &ObjectName) -> Option<&Arc<ServiceFact>> {
        self.services.get(name)
    }

    /// All services, ascending by name.
    pub fn services(&self) -> impl Iterator<Item = &Arc<ServiceFact>> {
        self.services.values()
    }

    /// The slices of a service, ascending by name.
    #[must_use]
    pub fn slices_of(&self, service: &ObjectName) -> &[Arc<SliceFact>] {
        self.slices_of.get(service).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn place(&self) -> Place<'_> {
        let node = self.own_node();
        let first = |family| {
            let mut addresses = node?.addresses.iter();
            addresses.find(|addr| Family::of(**addr) == family).copied()
        };
        Place {
            settings: &self.settings,
            zone: node.and_then(|node| node.zone.as_deref()),
            node_ips: Family::ALL.map(first),
        }
    }

    fn put_slice(&mut self, fact: Arc<SliceFact>) -> bool {
        let known = self.slices.insert(fact.name.clone(), fact.clone());
        let service = fact.service_name();
        match known {
            Some(known) if known.serves_as(&fact) => {
                let slices = self.slices_of.entry(service).or_default();
                slices.iter_mut().filter(|slice| slice.name == fact.name).for_each(|slice| *slice = fact.clone());
                return false;
            }
            Some(known) => self.unlink(&known),
            None => {}
        }
        let slices = self.slices_of.entry(service.clone()).or_default();
        let index = slices.partition_point(|known| known.name < fact.name);
        slices.insert(index, fact);
        self.dirty.insert(service);
        true
    }

    fn unlink(&mut self, slice: &SliceFact) {
        let service = slice.service_name();
        if let Some(slices) = self.slices_of.get_mut(&service) {
            slices.retain(|known| known.name != slice.name);
            if slices.is_empty() {
                self.slices_of.remove(&service);
            }
        }
        self.dirty.insert(service);
    }

    /// `known`: what the node was before, if it was.
    fn node_changed(&mut self, name: &Arc<str>, known: Option<Arc<NodeFact>>) -> bool {
        let now = self.nodes.get(name);
        if known.as_ref() == now {
            return false;
        }
        let addresses = |node: Option<&Arc<NodeFact>>| node.map_or_else(Vec::new, |node| node.addresses.clone());
        let (before, after) = (addresses(known.as_ref()), addresses(now));
        if *name != self.settings.node {
            self.addresses.add_others(&after);
            self.addresses.remove_others(&before);
            return true;
        }
        let zone = |node: Option<&Arc<NodeFact>>| node.and_then(|node| node.zone.clone());
        let has_moved = zone(known.as_ref()) != zone(now);
        let is_renumbered = before != after;
        let touched = self
            .claims
            .tables()
            .filter(|(_, table)| (has_moved && table.depends_on_zone) || (is_renumbered && table.depends_on_node_ip));
        self.dirty.extend(touched.map(|(name, _)| name.clone()));
        true
    }
}
