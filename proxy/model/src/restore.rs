//! From a dump of the maps to what they hold.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use fairlead_ebpf_shared::{Frontend, FrontendKey, RangeKey, frontend_tag};
use ipnet::IpNet;

use crate::actual::{Actual, Held, HeldSet, HeldSlot, Ranges, Retired, ip_addr, socket_addr};
use crate::ids::{Region, Regions, Slots};
use crate::ranges::range_net;
use crate::tables::{Dump, Sizes};

impl Actual {
    /// What a dump says. Words and ranges that no frontend refers to are retired at once, to be cleared and released.
    ///
    /// The caller lets a grace period pass between the last write of whoever wrote before and the first write after this:
    /// regions that the dump shows free may have been retired a moment ago.
    #[must_use]
    pub fn restore(dump: &Dump, sizes: Sizes) -> Self {
        let mut actual = Self {
            sizes,
            held: BTreeMap::new(),
            addresses: BTreeMap::new(),
            slots: Slots::new(sizes.slots),
            regions: Regions::new(sizes.backends),
            ranges: Ranges { present: dump.ranges.keys().copied().collect(), ..Ranges::default() },
            retired: Retired::default(),
        };
        let mut ranges: BTreeMap<u32, Vec<RangeKey>> = BTreeMap::new();
        for key in dump.ranges.keys() {
            ranges.entry(u32::from_be_bytes(key.data.slot)).or_default().push(*key);
        }
        for (key, value) in &dump.frontends {
            let held = actual.restore_frontend(dump, key, value, ranges.get(&value.slot).map_or(&[], Vec::as_slice));
            actual.held.insert(*key, held);
        }
        for (addr, word) in &dump.addresses {
            actual.addresses.insert(ip_addr(*addr), word.class(addr));
        }
        for (&slot, set) in &dump.sets {
            if !actual.slots.claim(slot) {
                continue;
            }
            actual.retired.slots.push(slot);
            let region = Region { base: set.word.base(), count: set.word.count() };
            if actual.regions.claim(region) {
                actual.retired.regions.push(region);
            }
        }
        for &slot in dump.options.keys() {
            if actual.slots.claim(slot) {
                actual.retired.slots.push(slot);
            }
        }
        let unwanted = actual.ranges.present.difference(&actual.ranges.wanted);
        actual.retired.ranges = unwanted.copied().collect();
        for key in &actual.retired.ranges {
            actual.ranges.retire(*key);
        }
        actual
    }

    fn restore_frontend(&mut self, dump: &Dump, key: &FrontendKey, value: &Frontend, ranges: &[RangeKey]) -> Held {
        let tag = frontend_tag(key, value.slot);
        if value.tag != tag || !self.slots.claim(value.slot) {
            return Held::Unusable;
        }
        let set = dump.sets.get(&value.slot).and_then(|set| {
            let (word, backends) = (set.word, &set.backends);
            let ours = word.tag() == tag && backends.iter().all(|backend| backend.tag == tag);
            if !ours || backends.len() != word.count() as usize {
                return None;
            }
            let region = Region { base: word.base(), count: word.count() };
            if region.count > 0 && !self.regions.claim(region) {
                return None;
            }
            let backends: Arc<[SocketAddr]> = backends.iter().map(socket_addr).collect();
            // The programs search it: one that is not ascending is written anew.
            if !backends.is_sorted() {
                self.retired.regions.push(region);
                return None;
            }
            Some(HeldSet { region: (region.count > 0).then_some(region), backends })
        });
        let options = dump.options.get(&value.slot).filter(|word| word.tag() == tag).map(|word| word.options());
        let ours = ranges.iter().filter(|key| dump.ranges.get(key) == Some(&tag));
        let mut nets: Vec<IpNet> = Vec::new();
        for key in ours {
            if let Some(net) = range_net(key) {
                self.ranges.wanted.insert(*key);
                nets.push(net);
            }
        }
        nets.sort_unstable();
        Held::Slot(HeldSlot { slot: value.slot, owner: None, set, options, ranges: nets.into() })
    }
}
