//! What is not as it was left.

use super::forward::{PODS_CHAIN, tables};
use super::table::{self, member, name, pods_of, verdict_of};
use super::{Admission, NAME};
use crate::error::Cause;
use crate::nft::set::{Data, Part};
use crate::nft::socket::Nftables;
use crate::nft::table::Family;

impl Nftables {
    pub(super) fn drifts(&mut self, wanted: &Admission) -> Result<Vec<String>, Cause> {
        let mut drifts = Vec::new();
        for broken in self.broken_tables(wanted)? {
            let family = if broken.family == Family::Bridge { "bridge" } else { "inet" };
            drifts.push(format!("the rules of table {family} {NAME} are not as they should be"));
        }
        for address in &wanted.addresses {
            let element = self.element(pods_of(*address), &[Part::Address(*address)])?;
            drifts.extend(owned(element.as_ref().map(|one| &one.comment[..]), wanted, &format!("address {address}")));
        }
        if let Some(isolation) = &wanted.isolation {
            let bridge = &isolation.bridge;
            for address in &wanted.addresses {
                let found = self.element(&table::MEMBERS, &member(bridge, *address))?;
                let what = format!("address {address} among those for whom bridge {bridge} is shut");
                drifts.extend(owned(found.as_ref().map(|one| &one.comment[..]), wanted, &what));
            }
            let within = self.element(&table::WITHIN, &[name(bridge), name(bridge)])?;
            // Somebody else's stricter wish is no drift of ours.
            let shut = within.is_some_and(|found| !isolation.strict || found.data == Data::Verdict(verdict_of(true)));
            if !shut || self.element(&table::BRIDGES, &[name(bridge)])?.is_none() {
                drifts.push(format!("bridge {bridge} is not shut to others as its policy says"));
            }
            if let Some(port) = isolation.port.as_deref().filter(|_| isolation.strict) {
                let found = self.element(&table::PORTS, &[name(port)])?;
                let what = format!("port {port} among those to which other ports are shut");
                drifts.extend(owned(found.as_ref().map(|one| &one.comment[..]), wanted, &what));
            }
        }
        self.chain_drifts(wanted, &mut drifts)?;
        Ok(drifts)
    }

    fn chain_drifts(&mut self, wanted: &Admission, drifts: &mut Vec<String>) -> Result<(), Cause> {
        let Some(admin) = &wanted.admin_chain else { return Ok(()) };
        for table in tables(&wanted.addresses) {
            let standing = self.standing(table)?;
            let family = if table.family == Family::Ip { "iptables" } else { "ip6tables" };
            if standing.jumps.is_empty() {
                drifts.push(format!("{family}: chain FORWARD does not lead to {PODS_CHAIN}"));
            }
            match (standing.admin(admin), standing.accept()) {
                (None, _) => drifts.push(format!("{family}: chain {PODS_CHAIN} does not ask {admin}")),
                (Some(asked), Some(accepted)) if asked > accepted => {
                    drifts.push(format!("{family}: chain {PODS_CHAIN} asks {admin} too late, behind the acceptance"));
                }
                _ => {}
            }
            if standing.accept().is_none() {
                drifts.push(format!("{family}: chain {PODS_CHAIN} does not accept what pods send"));
            }
        }
        Ok(())
    }
}

fn owned(owner: Option<&str>, wanted: &Admission, what: &str) -> Option<String> {
    match owner {
        None => Some(format!("{what} is not in table {NAME}")),
        // The kernel's comment may be shorter than the text.
        Some(owner) if !owner.is_empty() && wanted.owner.starts_with(owner) => None,
        Some(owner) => Some(format!("{what} belongs to somebody else: {owner}")),
    }
}
