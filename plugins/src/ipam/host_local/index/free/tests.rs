use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn v4(number: u32) -> IpAddr {
    IpAddr::V4(number.into())
}

#[test]
fn a_long_row_is_passed_in_a_few_steps() {
    let mut table = Table::empty(64);
    let start = u32::from_be_bytes([10, 1, 0, 0]);
    for number in 0..65_000 {
        take(&mut table, v4(start + number)).unwrap();
    }
    let end = v4(start + 65_535);
    assert_eq!(next(&mut table, v4(start), end), Ok(Some(v4(start + 65_000))));
    assert_eq!(next(&mut table, v4(start), v4(start + 64_999)), Ok(None));
    assert_eq!(free(&mut table, v4(start + 30_000)), Ok(0));
    assert_eq!(next(&mut table, v4(start), end), Ok(Some(v4(start + 30_000))));
    assert_eq!(next(&mut table, v4(start + 30_001), end), Ok(Some(v4(start + 65_000))));
}

#[test]
fn the_ends_of_the_families_are_ends() {
    let mut table = Table::empty(8);
    let last = ip("255.255.255.255");
    take(&mut table, last).unwrap();
    assert_eq!(next(&mut table, last, last), Ok(None));
    let last = ip("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
    take(&mut table, last).unwrap();
    assert_eq!(next(&mut table, last, last), Ok(None));
    assert_eq!(next(&mut table, ip("::"), last), Ok(Some(ip("::"))));
    assert!(free(&mut table, ip("10.0.0.1")).is_err(), "what was not taken is not freed");
}

proptest! {
    /// Against a set of addresses, in a corner where levels meet.
    #[test]
    fn the_next_free_address_is_the_next_one_that_is_not_there(
        changes in proptest::collection::vec((any::<bool>(), 0u32..1200, 1u32..600), 1..12),
        queries in proptest::collection::vec((0u32..1300, 0u32..1300), 1..30),
    ) {
        let base = u32::from_be_bytes([10, 0, 253, 0]);
        let (mut table, mut model, mut blocks) = (Table::empty(64), BTreeSet::new(), 0);
        for (adds, from, count) in changes {
            for number in from..from + count {
                if adds && model.insert(number) {
                    blocks += take(&mut table, v4(base + number)).unwrap();
                } else if !adds && model.remove(&number) {
                    blocks -= free(&mut table, v4(base + number)).unwrap();
                }
            }
        }
        for (from, to) in queries {
            let expected = (from..=to).find(|number| !model.contains(number)).map(|number| v4(base + number));
            prop_assert_eq!(next(&mut table, v4(base + from), v4(base + to)), Ok(expected));
        }
        for number in &model {
            blocks -= free(&mut table, v4(base + number)).unwrap();
        }
        prop_assert_eq!(blocks, 0, "nothing is left of nothing");
    }
}
