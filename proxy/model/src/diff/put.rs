//! One frontend made as desired.

use std::net::SocketAddr;
use std::sync::Arc;

use fairlead_ebpf_shared::{Backend, Be16, Frontend, FrontendKey, Options, OptionsWord, frontend_tag};
use ipnet::IpNet;

use super::{NoRoom, Steps};
use crate::actual::{Actual, Held, HeldSet, HeldSlot, word};
use crate::desired::{Desired, DesiredFrontend};
use crate::ids::Region;
use crate::policy::address_bytes;
use crate::ranges::range_key;
use crate::tables::{Entry, MapOp};

/// Does nothing where there is no room. A frontend that is another service's by now gets another slot: its set, its options
/// and its ranges change at once, and the counter starts anew.
pub(super) fn put(actual: &mut Actual, desired: &Desired, key: &FrontendKey, steps: &mut Steps) -> Result<(), NoRoom> {
    let Some(want) = desired.frontends.get(key) else { return Ok(()) };
    let kept = match actual.held.get(key) {
        Some(Held::Slot(held)) if held.owner.as_ref().is_none_or(|owner| *owner == want.service) => Some(held.clone()),
        _ => None,
    };
    let set = kept.as_ref().and_then(|held| held.set.clone()).filter(|set| set.backends == want.backends);
    let none: Arc<[IpNet]> = Arc::default();
    let nets = want.ranges.as_ref().unwrap_or(&none);
    let had = kept.as_ref().map_or(&none, |held| &held.ranges);

    let room = Room::take(actual, kept.as_ref().map(|held| held.slot), set.is_none(), want, nets, had)?;
    let slot = room.slot;
    let tag = frontend_tag(key, slot);
    let options = options(actual, desired, key, want, slot);
    let too_large = NoRoom::Backends { wanted: want.backends.len() as u32, free: 0, size: actual.sizes.backends };
    let (Some(set_word), Some(options_word)) = (word(room.region, tag), OptionsWord::new(options, tag)) else {
        room.give_back(actual, kept.is_none());
        return Err(too_large);
    };

    let entry = Entry::Frontend(*key);
    if let Some(Region { base, .. }) = room.region {
        let backends = want.backends.iter().map(|addr| backend(*addr, tag)).collect();
        steps.fill.push((entry, MapOp::PutBackends { base, backends }));
    }
    for net in nets.iter().filter(|net| !had.contains(net)) {
        let range = range_key(slot, *net);
        steps.fill.push((entry, MapOp::PutRange { key: range, tag }));
        actual.ranges.present.insert(range);
        actual.ranges.wanted.insert(range);
    }
    if kept.as_ref().and_then(|held| held.options) != Some(options) {
        let becomes_empty = set.is_none() && want.backends.is_empty();
        let step = if becomes_empty { &mut steps.options_first } else { &mut steps.options_last };
        step.push((entry, MapOp::SetOptions { slot, word: options_word }));
    }
    let is_new_set = set.is_none();
    if is_new_set {
        steps.switch.push((entry, MapOp::SwitchSet { slot, word: set_word }));
    }
    if kept.is_none() {
        steps.make.push((entry, MapOp::PutFrontend { key: *key, value: Frontend { slot, tag } }));
    }

    let set = set.unwrap_or_else(|| HeldSet { region: room.region, backends: want.backends.clone() });
    let held = HeldSlot {
        slot,
        owner: Some(want.service.clone()),
        set: Some(set),
        options: Some(options),
        ranges: nets.clone(),
    };
    match (actual.held.insert(*key, Held::Slot(held)), kept) {
        (_, Some(kept)) => {
            if is_new_set {
                actual.retired.regions.extend(kept.set.and_then(|set| set.region));
            }
            let gone: Vec<IpNet> = kept.ranges.iter().filter(|net| !nets.contains(net)).copied().collect();
            if want.ranges.is_none() {
                // A program that has read the old options would find its client missing, which is admitted by now.
                actual.retire_ranges(slot, &gone);
                return Ok(());
            }
            for net in gone {
                let range = range_key(slot, net);
                steps.unrange.push((entry, MapOp::DeleteRange { key: range }));
                actual.ranges.present.remove(&range);
                actual.ranges.wanted.remove(&range);
            }
        }
        (Some(Held::Slot(another)), None) => actual.retire(another),
        (Some(Held::Unusable) | None, None) => {}
    }
    Ok(())
}

/// What a frontend needs of what is scarce.
struct Room {
    slot: u32,
    region: Option<Region>,
}

impl Room {
    /// All of it or nothing.
    fn take(
        actual: &mut Actual,
        slot: Option<u32>,
        is_new_set: bool,
        want: &DesiredFrontend,
        nets: &[IpNet],
        had: &[IpNet],
    ) -> Result<Self, NoRoom> {
        let wanted = nets.iter().filter(|net| !had.contains(net)).count() as u32;
        let free = actual.sizes.ranges.saturating_sub(actual.ranges.present.len() as u32);
        if wanted > free {
            return Err(NoRoom::Ranges { wanted, free, size: actual.sizes.ranges });
        }
        let region = match want.backends.len() as u32 {
            0 => None,
            _ if !is_new_set => None,
            wanted => Some(actual.regions.allocate(wanted).ok_or(NoRoom::Backends {
                wanted,
                free: actual.regions.available(),
                size: actual.sizes.backends,
            })?),
        };
        let Some(slot) = slot.or_else(|| actual.slots.allocate()) else {
            return_region(actual, region);
            return Err(NoRoom::Slots { size: actual.sizes.slots });
        };
        Ok(Self { slot, region })
    }

    fn give_back(self, actual: &mut Actual, slot_too: bool) {
        return_region(actual, self.region);
        if slot_too {
            actual.slots.release(self.slot);
        }
    }
}

/// A region that nothing was published from needs no grace period.
fn return_region(actual: &mut Actual, region: Option<Region>) {
    if let Some(region) = region {
        actual.regions.release(region);
    }
}

fn options(actual: &Actual, desired: &Desired, key: &FrontendKey, want: &DesiredFrontend, slot: u32) -> Options {
    let affinity_s = want.affinity_s.unwrap_or(0).min(OptionsWord::AFFINITY_LIMIT - 1);
    let group = match desired.group_of(key, want) {
        _ if affinity_s == 0 => 0,
        group if group == *key => slot,
        group => actual.slot(&group).unwrap_or(slot),
    };
    Options { affinity_s, group, flags: want.flags() }
}

/// The map entry of a backend.
fn backend(addr: SocketAddr, tag: u32) -> Backend {
    Backend { addr: address_bytes(addr.ip()), port: Be16::new(addr.port()), reserved: 0, tag }
}
