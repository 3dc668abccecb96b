use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::change::Last;
use super::*;
use crate::ipam::host_local::allocate::Allocation;

fn owner(id: &str, ifname: &str) -> Owner {
    Owner { container_id: id.into(), ifname: ifname.into() }
}

fn allocation(set: usize, ip: &str) -> Allocation {
    let address = format!("{ip}/24").parse().unwrap();
    Allocation { set, ip: ip.parse().unwrap(), config: fairlead_protocol::IpConfig::new(address, None) }
}

/// Writes down as an ADD does that has decided.
fn reserve(store: &mut Store, allocations: &[Allocation], owner: &Owner) -> Result<Reserved, CniError> {
    let mut last: Vec<Last> = (0..allocations.len()).map(|set| store.last_reserved(set)).collect();
    store.reserve(allocations, &mut last, owner)
}

/// What there is but for our index.
fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name != index::INDEX);
    names.sort();
    names
}

#[test]
fn files_are_the_references_byte_for_byte() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("deep/net");
    let mut store = Store::open(&directory).unwrap();
    reserve(&mut store, &[allocation(0, "10.0.0.2"), allocation(1, "fd00::2")], &owner("id", "eth0")).unwrap();
    assert_eq!(names(&directory), ["10.0.0.2", "fd00::2", "last_reserved_ip.0", "last_reserved_ip.1", "lock"]);
    for (name, text) in [("10.0.0.2", "id\r\neth0"), ("fd00::2", "id\r\neth0"), ("last_reserved_ip.1", "fd00::2")] {
        assert_eq!(fs::read_to_string(directory.join(name)).unwrap(), text);
        assert_eq!(fs::metadata(directory.join(name)).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(store.last_reserved(0).ip, Some("10.0.0.2".parse().unwrap()));
}

#[test]
fn a_last_address_with_white_space_or_junk_is_not_there() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    assert_eq!(store.last_reserved(0).ip, None);
    for text in ["10.0.0.2\n", " 10.0.0.2", "", "x"] {
        fs::write(root.path().join("last_reserved_ip.0"), text).unwrap();
        assert_eq!(store.last_reserved(0).ip, None, "{text:?}");
    }
}

#[test]
fn release_takes_all_of_an_attachment_and_the_old_format_only_without_new() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::open(root.path()).unwrap();
    let put = |name: &str, text: &str| fs::write(root.path().join(name), text).unwrap();
    put("10.0.0.2", "a\r\neth0");
    put("10.9.0.2", " a\r\neth0\n");
    put("10.0.0.3", "a\r\neth1");
    put("10.0.0.4", "a");
    put("10.0.0.5", "b\r\neth0");
    put("not-an-address", "a\r\neth0");
    let without = |gone: &[&str]| {
        let all = ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.9.0.2", "lock", "not-an-address"];
        all.into_iter().filter(|name| !gone.contains(name)).collect::<Vec<_>>()
    };
    store.release(&owner("a", "eth0")).unwrap();
    assert_eq!(names(root.path()), without(&["10.0.0.2", "10.9.0.2"]));
    store.release(&owner("a", "eth0")).unwrap();
    assert_eq!(names(root.path()), without(&["10.0.0.2", "10.9.0.2", "10.0.0.4"]));
    store.release(&owner("nobody", "eth0")).unwrap();
    store.retain(&[owner("a", "eth1")]).unwrap();
    assert_eq!(names(root.path()), ["10.0.0.3", "lock", "not-an-address"]);
}

#[test]
fn gc_frees_what_a_power_failure_left_and_leaves_what_it_cannot_read() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::open(root.path()).unwrap();
    fs::write(root.path().join("10.0.0.2"), "").unwrap();
    fs::write(root.path().join("10.0.0.3"), "old").unwrap();
    fs::create_dir(root.path().join("10.0.0.4")).unwrap();
    store.retain(&[owner("old", "eth0")]).unwrap();
    assert_eq!(names(root.path()), ["10.0.0.3", "10.0.0.4", "lock"]);
    assert_eq!(store.survey().unwrap().leases.len(), 2);
    store.release(&owner("old", "eth7")).unwrap();
    assert_eq!(names(root.path()), ["10.0.0.4", "lock"]);
}

#[test]
fn a_killed_writer_leaves_nothing_in_the_way() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::open(root.path()).unwrap();
    fs::write(root.path().join(TEMPORARY), "half").unwrap();
    reserve(&mut store, &[allocation(0, "10.0.0.2")], &owner("id", "eth0")).unwrap();
    assert_eq!(fs::read_to_string(root.path().join("10.0.0.2")).unwrap(), "id\r\neth0");
    fs::write(root.path().join(TEMPORARY), "half").unwrap();
    assert_eq!(store.survey().unwrap().leases.len(), 1);
    assert!(!names(root.path()).contains(&TEMPORARY.to_owned()));
}

#[test]
fn what_fails_half_way_is_taken_back() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::open(root.path()).unwrap();
    // Something in the place of the second set's files: neither can get its name.
    for name in ["fd00::2", "last_reserved_ip.1"] {
        fs::create_dir_all(root.path().join(name).join("x")).unwrap();
        let both = [allocation(0, "10.0.0.2"), allocation(1, "fd00::2")];
        match reserve(&mut store, &both, &owner("id", "eth0")) {
            // To be decided anew, by what the directory says.
            Ok(Reserved::Taken) => assert_eq!(name, "fd00::2"),
            Ok(Reserved::All) => panic!("{name} was in the way"),
            Err(error) => {
                assert_eq!((error.code, error.details.as_str()), (Code::Io, ""));
                assert!(error.msg.contains("last_reserved_ip.1"), "{error}");
            }
        }
        assert!(!root.path().join("10.0.0.2").exists());
        assert!(!root.path().join(TEMPORARY).exists());
        fs::remove_dir_all(root.path().join(name)).unwrap();
    }
    assert_eq!(names(root.path()), ["last_reserved_ip.0", "lock"]);
}

#[test]
fn a_file_in_the_place_of_the_directory_is_named() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    for directory in [file.clone(), file.join("net")] {
        let error = Store::open(&directory).err().unwrap();
        assert_eq!(error.code, Code::Io);
        assert!(error.msg.contains(directory.to_str().unwrap()), "{error}");
    }
    for purpose in [Purpose::Release, Purpose::Look] {
        assert!(Store::open_existing(&root.path().join("absent"), purpose).unwrap().is_none());
    }
}
