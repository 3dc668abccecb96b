//! The allocators against the plainest ones there are: a flag for each number.

use fairlead_proxy_model::{Region, Regions, Slots};
use proptest::prelude::*;

const SIZE: u32 = 24;

#[derive(Clone, Debug)]
enum Deed {
    Allocate(u32),
    Claim(u32, u32),
    Release(prop::sample::Index),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        3 => (1..7_u32).prop_map(Deed::Allocate),
        1 => (0..SIZE + 2, 0..5_u32).prop_map(|(base, count)| Deed::Claim(base, count)),
        2 => any::<prop::sample::Index>().prop_map(Deed::Release),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn regions_never_overlap_and_room_is_found_where_there_is_room(deeds in proptest::collection::vec(deed(), 0..60)) {
        let mut regions = Regions::new(SIZE);
        let mut flags = [false; SIZE as usize];
        let mut held: Vec<Region> = Vec::new();
        for deed in deeds {
            match deed {
                Deed::Allocate(count) => {
                    let fits = flags.windows(count as usize).any(|run| run.iter().all(|used| !used));
                    let region = regions.allocate(count);
                    prop_assert_eq!(region.is_some(), fits);
                    if let Some(region) = region {
                        prop_assert_eq!(region.count, count);
                        for flag in &mut flags[region.base as usize..(region.base + count) as usize] {
                            prop_assert!(!std::mem::replace(flag, true), "{region:?} overlaps");
                        }
                        held.push(region);
                    }
                }
                Deed::Claim(base, count) => {
                    let wanted = flags.get_mut(base as usize..(base + count) as usize);
                    let free = count > 0 && wanted.as_ref().is_some_and(|run| run.iter().all(|used| !used));
                    prop_assert_eq!(regions.claim(Region { base, count }), free);
                    if let (true, Some(run)) = (free, wanted) {
                        run.fill(true);
                        held.push(Region { base, count });
                    }
                }
                Deed::Release(_) if held.is_empty() => {}
                Deed::Release(index) => {
                    let region = held.swap_remove(index.index(held.len()));
                    flags[region.base as usize..(region.base + region.count) as usize].fill(false);
                    regions.release(region);
                }
            }
            prop_assert_eq!(regions.used() as usize, flags.iter().filter(|used| **used).count());
        }
        for region in held {
            regions.release(region);
        }
        prop_assert_eq!(regions, Regions::new(SIZE));
    }

    #[test]
    fn the_lowest_free_slot_is_handed_out(deeds in proptest::collection::vec(deed(), 0..60)) {
        let mut slots = Slots::new(SIZE);
        let mut flags = [false; SIZE as usize];
        for deed in deeds {
            match deed {
                Deed::Allocate(_) => {
                    let lowest = flags.iter().position(|used| !used).map(|slot| slot as u32);
                    prop_assert_eq!(slots.allocate(), lowest);
                    lowest.into_iter().for_each(|slot| flags[slot as usize] = true);
                }
                Deed::Claim(slot, _) => {
                    let free = flags.get(slot as usize) == Some(&false);
                    prop_assert_eq!(slots.claim(slot), free);
                    if free {
                        flags[slot as usize] = true;
                    }
                }
                Deed::Release(index) => {
                    let used: Vec<usize> = (0..flags.len()).filter(|slot| flags[*slot]).collect();
                    if !used.is_empty() {
                        let slot = used[index.index(used.len())];
                        flags[slot] = false;
                        slots.release(slot as u32);
                    }
                }
            }
            prop_assert_eq!(slots.used() as usize, flags.iter().filter(|used| **used).count());
        }
    }
}
