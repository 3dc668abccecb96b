//! From what is dirty to what is desired.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::claims::Settling;
use super::{Engine, Recomputed};
use crate::facts::{ObjectName, SliceFact};
use crate::notice::Notice;
use crate::policy::{self, NoLocal, ServiceTable};
use crate::tables::Entry;

impl Engine {
    /// Recomputes what changed: costs what was touched, however much there is.
    pub fn recompute(&mut self) -> Recomputed {
        let mut done = Recomputed::default();
        let mut settling = Settling::default();
        let names = std::mem::take(&mut self.dirty);
        for name in &names {
            self.recompute_service(name, &mut settling, &mut done);
        }
        (done.services, done.names) = (names.len(), names);
        self.claims.settle(&mut self.desired, &mut settling);
        for addr in self.addresses.take_dirty() {
            let class = self.addresses.class(addr, self.settings.serve_other_nodes);
            let known = match class {
                Some(class) => self.desired.addresses.insert(addr, class),
                None => self.desired.addresses.remove(&addr),
            };
            if known != class {
                done.touched.insert(Entry::Address(addr));
            }
        }
        let Settling { touched, notices_before, notices_now, .. } = settling;
        done.touched.extend(touched.into_iter().map(Entry::Frontend));
        done.notices_new = notices_now.difference(&notices_before).cloned().collect();
        done.notices_gone = notices_before.difference(&notices_now).cloned().collect();
        done
    }

    fn recompute_service(&mut self, name: &ObjectName, settling: &mut Settling, done: &mut Recomputed) {
        let fact = self.services.get(name);
        let table = fact.map(|fact| {
            let table = policy::expand(fact, self.slices_of(name), self.place());
            (fact.created.unwrap_or(i64::MAX), table)
        });
        let notices = match &table {
            Some((_, table)) => table.notices.clone(),
            None => orphans(self.slices_of(name), name),
        };
        let (no_local, health_check, cluster_ips) = match &table {
            Some((_, table)) => (table.no_local, table.health_check, table.cluster_ips.clone()),
            None => Default::default(),
        };
        let old = self.claims.replace(name, table, &mut self.desired, settling).unwrap_or_default();
        let ServiceTable { no_local: had, health_check: checked, cluster_ips: addressed, .. } = old;

        if cluster_ips != addressed {
            self.addresses.add_cluster_ips(&cluster_ips);
            self.addresses.remove_cluster_ips(&addressed);
        }
        self.no_local = self.no_local.replace(had, no_local);
        if health_check != checked {
            done.health_checks.push((name.clone(), health_check));
        }
        settling.notices_now.extend(notices.iter().cloned());
        let before = match notices.is_empty() {
            true => self.notices.remove(name),
            false => self.notices.insert(name.clone(), notices),
        };
        settling.notices_before.extend(before.into_iter().flatten());
    }
}

/// The slices of a service that is not there.
fn orphans(slices: &[Arc<SliceFact>], service: &ObjectName) -> Vec<Notice> {
    let names: BTreeSet<&ObjectName> = slices.iter().map(|slice| &slice.name).collect();
    let orphan = |slice: &ObjectName| Notice::Orphan { slice: slice.clone(), service: service.clone() };
    names.into_iter().map(orphan).collect()
}

impl NoLocal {
    /// One service's share replaced by another.
    fn replace(self, had: Self, has: Self) -> Self {
        let each = |total: [usize; 2], had: [usize; 2], has: [usize; 2]| {
            [total[0] - had[0] + has[0], total[1] - had[1] + has[1]]
        };
        Self {
            internal: each(self.internal, had.internal, has.internal),
            external: each(self.external, had.external, has.external),
        }
    }
}
