//! What is due, and which flows and sockets are stale. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use fairlead_proxy_model::Family;

use super::table::{Front, Serving, Shift, Table};

/// What has to be looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// These fronts.
    pub fronts: BTreeSet<Front>,
    /// Some front has lost an endpoint: sockets may be led to it.
    pub lost: bool,
    /// Every front; `true`: and there are no others than those that are known.
    pub all: Option<bool>,
}

impl Due {
    /// Flows may be stale when a front loses an endpoint or is gone, and, since the kernel remembers that it translated nothing,
    /// when it gets its first. One more endpoint makes none.
    pub fn add(&mut self, shift: &Shift) {
        let Shift { front, before, after } = shift;
        let has = |serving: &Option<Serving>, addr: &SocketAddr| {
            serving.as_ref().is_some_and(|serving| serving.contains(addr))
        };
        let is_empty = |serving: &Option<Serving>| serving.as_ref().is_none_or(|serving| serving.is_empty());
        let lost = before.iter().flat_map(|serving| serving.iter()).any(|addr| !has(after, addr));
        self.lost |= lost;
        if lost || after.is_none() || is_empty(before) && !is_empty(after) {
            self.fronts.insert(*front);
        }
    }

    /// What was not done is due again.
    pub fn restore(&mut self, Due { fronts, lost, all }: Due) {
        self.fronts.extend(fronts);
        self.lost |= lost;
        self.all = match (self.all, all) {
            (Some(known), Some(again)) => Some(known || again),
            (known, again) => known.or(again),
        };
    }

    pub fn is_nothing(&self) -> bool {
        self.fronts.is_empty() && self.all.is_none()
    }

    /// What to do about it, by the endpoints as they are now.
    pub fn order(&self, table: &Table) -> Order {
        let mut fronts: BTreeMap<Front, Option<Serving>> =
            self.fronts.iter().map(|front| (*front, table.serving(front))).collect();
        match self.all {
            Some(_) => fronts.extend(table.all()),
            None => {
                // A socket knows what was asked and not whether that is a node's address: a service's own address comes
                // before a node port of the same number.
                let ports: BTreeSet<u16> = self.fronts.iter().filter_map(|front| node_port(*front)).collect();
                let same = |front: &Front| matches!(front, Front::At(addr) if ports.contains(&addr.port()));
                if !ports.is_empty() {
                    fronts.extend(table.all().filter(|(front, _)| same(front)));
                }
            }
        }
        Order { fronts, sockets: self.lost || self.all.is_some(), unknown_is_gone: self.all == Some(true) }
    }
}

fn node_port(front: Front) -> Option<u16> {
    match front {
        Front::At(_) => None,
        Front::NodePort(_, port) => Some(port),
    }
}

/// What is to be ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Who may answer at a front; `None`: it is gone.
    pub fronts: BTreeMap<Front, Option<Serving>>,
    /// Whether sockets may be stale.
    pub sockets: bool,
    /// What is no front was one that is gone.
    pub unknown_is_gone: bool,
}

impl Order {
    /// The families in which flows may be stale, and the port if they were all sent to one.
    pub fn flows(&self) -> Vec<(Family, Option<u16>)> {
        let of = |family| {
            let ports: BTreeSet<u16> =
                self.fronts.keys().filter(|front| front.family() == family).map(|front| front.port()).collect();
            let only = ports.first().copied().filter(|_| ports.len() == 1);
            (!ports.is_empty()).then_some((family, only))
        };
        Family::ALL.into_iter().filter_map(of).collect()
    }

    /// Whether the node's own addresses matter.
    pub fn has_node_ports(&self) -> bool {
        self.fronts.keys().any(|front| node_port(*front).is_some())
    }

    /// Whether to forget a flow that was sent to `asked` and is answered by `answered`. `own`: the node's addresses;
    /// those of the loopback network need not be among them.
    ///
    /// At a node port that leads nowhere, and at what was a front once, only what was translated is ours: the rest goes to
    /// somebody who was always meant. kube-proxy looks at no node port that leads nowhere, and at all addresses for the others.
    pub fn is_stale_flow(&self, asked: SocketAddr, answered: SocketAddr, own: &BTreeSet<IpAddr>) -> bool {
        let is_translated = asked != answered;
        match self.fronts.get(&Front::At(asked)) {
            Some(Some(serving)) => return !serving.contains(&answered),
            Some(None) => return is_translated,
            None => {}
        }
        if !asked.ip().is_loopback() && !own.contains(&asked.ip()) {
            return false;
        }
        match self.fronts.get(&Front::NodePort(Family::of(asked.ip()), asked.port())) {
            Some(Some(serving)) if !serving.is_empty() => !serving.contains(&answered),
            Some(_) => is_translated,
            None => false,
        }
    }

    /// Whether to end a connected socket that asked for `asked` and was led to `backend`.
    pub fn is_stale_socket(&self, asked: SocketAddr, backend: SocketAddr) -> bool {
        let node_port = Front::NodePort(Family::of(asked.ip()), asked.port());
        match self.fronts.get(&Front::At(asked)).or_else(|| self.fronts.get(&node_port)) {
            Some(serving) => serving.as_ref().is_none_or(|serving| !serving.contains(&backend)),
            None => self.unknown_is_gone,
        }
    }
}
