//! What the addresses are: cluster IPs, this node's, other nodes'.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use fairlead_ebpf_shared::AddressClass;

/// Every address with the roles it has, and those whose class may have changed.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    roles: BTreeMap<IpAddr, Roles>,
    own: BTreeSet<IpAddr>,
    dirty: BTreeSet<IpAddr>,
}

/// How many state it.
#[derive(Clone, Copy, Debug, Default)]
struct Roles {
    services: u32,
    other_nodes: u32,
}

impl Addresses {
    /// This node's. `false`: as before.
    pub fn set_own(&mut self, own: BTreeSet<IpAddr>) -> bool {
        if own == self.own {
            return false;
        }
        self.dirty.extend(own.symmetric_difference(&self.own));
        self.own = own;
        true
    }

    pub fn add_others(&mut self, addrs: &[IpAddr]) {
        self.change(addrs, |roles| roles.other_nodes += 1);
    }

    pub fn remove_others(&mut self, addrs: &[IpAddr]) {
        self.change(addrs, |roles| roles.other_nodes -= 1);
    }

    pub fn add_cluster_ips(&mut self, addrs: &[IpAddr]) {
        self.change(addrs, |roles| roles.services += 1);
    }

    pub fn remove_cluster_ips(&mut self, addrs: &[IpAddr]) {
        self.change(addrs, |roles| roles.services -= 1);
    }

    /// It is decided anew whether other nodes' addresses are served.
    pub fn reconsider_others(&mut self) {
        self.dirty.extend(self.roles.iter().filter(|(_, roles)| roles.other_nodes > 0).map(|(addr, _)| *addr));
    }

    /// Those whose class may have changed since the last call.
    pub fn take_dirty(&mut self) -> BTreeSet<IpAddr> {
        std::mem::take(&mut self.dirty)
    }

    /// The class; this node's own comes first, since it must never be cut off from itself.
    pub fn class(&self, addr: IpAddr, serve_other_nodes: bool) -> Option<AddressClass> {
        if self.own.contains(&addr) {
            return Some(AddressClass::OwnNode);
        }
        let roles = self.roles.get(&addr)?;
        match roles {
            Roles { other_nodes: 1.., .. } if serve_other_nodes => Some(AddressClass::OtherNode),
            Roles { other_nodes: 0, services: 1.. } => Some(AddressClass::ClusterIp),
            _ => None,
        }
    }

    fn change(&mut self, addrs: &[IpAddr], by: impl Fn(&mut Roles)) {
        for addr in addrs {
            let roles = self.roles.entry(*addr).or_default();
            by(roles);
            if roles.services == 0 && roles.other_nodes == 0 {
                self.roles.remove(addr);
            }
            self.dirty.insert(*addr);
        }
    }
}
