use std::fs;

use super::*;

const BOOT: u128 = 0x1111_2222_3333_4444_5555_6666_7777_8888;

fn boot() -> Boot {
    Boot::from(BOOT)
}

fn owner(id: &str) -> Owner {
    Owner { container_id: id.into(), ifname: "eth0".into() }
}

fn lease(ip: &str, id: &str) -> Lease {
    let text = owner(id).text();
    Lease::new(ip, Some(text.as_bytes()), Stamp { inode: 7, seconds: 1, nanoseconds: 2 }).unwrap()
}

/// A directory with one lease and an index that is settled.
fn settled() -> (tempfile::TempDir, Directory) {
    let root = tempfile::tempdir().unwrap();
    let directory = Directory::open(root.path()).unwrap();
    fs::write(root.path().join("10.0.0.2"), "a\r\neth0").unwrap();
    Index::of([(&lease("10.0.0.2", "a"), 1)].into_iter()).settle(&directory, boot()).unwrap();
    (root, directory)
}

fn reason(directory: &Directory) -> Option<&'static str> {
    Index::open(directory, boot()).err().map(|Distrust(reason)| reason)
}

#[test]
fn what_was_settled_is_believed_and_says_the_same() {
    let (_root, directory) = settled();
    for round in 0..50u8 {
        let mut index = Index::open(&directory, boot()).unwrap();
        assert_eq!(index.owned(&owner("a")).unwrap().len(), 1);
        assert!(index.is_taken("10.0.0.2".parse().unwrap()).unwrap());
        let (ip, id) = (format!("10.0.1.{round}"), format!("c{round}"));
        assert!(index.owned(&owner(&id)).unwrap().is_empty() && !index.is_taken(ip.parse().unwrap()).unwrap());
        index.insert(&entry_of(&lease(&ip, &id), boot().tag())).unwrap();
        index.settle(&directory, boot()).unwrap();
    }
    let mut index = Index::open(&directory, boot()).unwrap();
    assert_eq!(index.used, 53, "51 leases in two blocks");
    for round in 0..50u8 {
        let entry = index.owned(&owner(&format!("c{round}"))).unwrap()[0];
        index.remove(&entry).unwrap();
    }
    index.settle(&directory, boot()).unwrap();
    assert_eq!(Index::open(&directory, boot()).unwrap().used, 2);
    assert_eq!(remembered(&directory).len(), 1);
}

#[test]
fn every_foreign_change_of_a_name_is_noticed_however_soon_it_comes() {
    let (root, directory) = settled();
    let path = root.path().join("10.0.0.9");
    for round in 0..200 {
        Index::of([(&lease("10.0.0.2", "a"), 1)].into_iter()).settle(&directory, boot()).unwrap();
        assert_eq!(reason(&directory), None, "round {round}");
        // Within the same tick of the kernel's clock.
        if round % 2 == 0 {
            fs::write(&path, "").unwrap()
        } else {
            fs::remove_file(&path).unwrap()
        }
        assert!(reason(&directory).is_some_and(|reason| reason.contains("changed by somebody else")), "round {round}");
    }
}

#[test]
fn what_is_not_whole_or_not_of_this_boot_is_not_believed() {
    let (root, directory) = settled();
    let path = root.path().join(INDEX);
    let good = fs::read(&path).unwrap();
    assert_eq!(Index::open(&directory, Boot::from(1)).err(), Some(Distrust("it is of another boot")));
    for at in 0..HEADER {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, &bad).unwrap();
        assert!(reason(&directory).is_some(), "byte {at}");
    }
    fs::write(&path, &good[..80]).unwrap();
    assert_eq!(reason(&directory), Some("its header cannot be read"));
    fs::write(&path, &good).unwrap();
    assert_eq!(reason(&directory), None);
}

#[test]
fn a_lease_that_does_not_add_up_is_not_remembered_and_distrusted_when_it_is_asked_for() {
    let (root, directory) = settled();
    let path = root.path().join(INDEX);
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.chunks_exact(slot::SIZE).skip(PAGE / slot::SIZE).position(|slot| slot[0] == 1).unwrap();
    bytes[PAGE + at * slot::SIZE + 50] ^= 1;
    fs::write(&path, bytes).unwrap();
    let mut index = Index::open(&directory, boot()).unwrap();
    assert_eq!(index.owned(&owner("a")), Err(Distrust("a slot does not add up")));
    assert!(remembered(&directory).is_empty());
}

#[test]
fn a_directory_that_was_restored_from_elsewhere_is_another_one() {
    let (root, directory) = settled();
    let (stamp, modified) = directory.look().unwrap();
    fs::remove_file(root.path().join("10.0.0.2")).unwrap();
    // What rsync and tar do last; later than the kernel's clock can tell from what was there before.
    let start = std::time::Instant::now();
    while directory.look().unwrap() == (stamp, modified) || directory.look().unwrap().1 != modified {
        directory.set_modified(modified).unwrap();
        assert!(start.elapsed().as_secs() < 60, "the time of change stands still");
    }
    assert!(reason(&directory).is_some_and(|reason| reason.contains("changed by somebody else")));
}
