use super::*;
use crate::ipam::host_local::lease::Stamp;

fn entry(number: u32) -> Entry {
    let mut key = Key::default();
    key[..4].copy_from_slice(&(number % 5).to_le_bytes());
    key[8..12].copy_from_slice(&number.to_le_bytes());
    Entry { key, ip: std::net::IpAddr::V4(number.into()), stamp: Stamp::default(), boot: 1, is_old_format: false }
}

#[test]
fn what_overflows_a_page_is_found_on_the_next() {
    // Five of eight pages are hit, with 80 each: more than 63.
    let mut table = Table::empty(8);
    for number in 0..400 {
        table.add_entry(entry(number)).unwrap();
    }
    for number in 0..400 {
        let found = table.entries(&entry(number).key).unwrap();
        assert_eq!(found.iter().map(|(_, entry)| *entry).collect::<Vec<_>>(), [entry(number)]);
    }
    for number in (0..400).step_by(3) {
        let (place, _) = table.entries(&entry(number).key).unwrap()[0];
        table.put(place, &[0; SIZE]).unwrap();
    }
    for number in 0..400 {
        assert_eq!(table.entries(&entry(number).key).unwrap().is_empty(), number % 3 == 0, "{number}");
    }
    for number in 400..8 * 63 + 134 {
        table.add_entry(entry(number)).unwrap();
    }
    assert_eq!(table.add_entry(entry(10_000)), Err(Distrust("every page is full")));
}

#[test]
fn changes_in_place_are_the_same_as_all_bytes() {
    let file = tempfile::tempfile().unwrap();
    let mut table = Table::empty(4);
    table.add_entry(entry(1)).unwrap();
    let write = |table: &Table| {
        let all: Vec<u8> = std::iter::once(&[0; PAGE][..]).chain(table.bytes()).flatten().copied().collect();
        file.write_all_at(&all, 0).unwrap();
    };
    write(&table);
    let mut opened = Table::of_file(file.try_clone().unwrap(), 4);
    opened.add_entry(entry(2)).unwrap();
    opened.add_entry(entry(6)).unwrap();
    let (place, _) = opened.entries(&entry(1).key).unwrap()[0];
    opened.put(place, &[0; SIZE]).unwrap();
    opened.write_changes().unwrap();
    let mut again = Table::of_file(file.try_clone().unwrap(), 4);
    for (number, there) in [(1, 0), (2, 1), (6, 1), (3, 0)] {
        assert_eq!(again.entries(&entry(number).key).unwrap().len(), there, "{number}");
    }
    file.set_len(2 * PAGE as u64).unwrap();
    assert!(Table::of_file(file, 4).entries(&entry(2).key).is_err(), "a file that was cut");
}
