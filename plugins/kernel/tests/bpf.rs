//! Raw bpf(2) against the kernel. Needs root (CAP_BPF; a mount namespace for the pins). Links and programs are tested where
//! there are programs: `ebpf/object/tests` and the proxy's `attach`.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::Path;

use fairlead_kernel::bpf::{Map, MappedArray, NewMap, grace_period, link_info, obj_get, obj_pin, possible_cpus};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

/// BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_PERCPU_ARRAY; BPF_F_MMAPABLE.
const HASH: u32 = 1;
const ARRAY: u32 = 2;
const PERCPU_ARRAY: u32 = 6;
const MMAPABLE: u32 = 1 << 10;

fn map(kind: u32, value_size: u32, max_entries: u32, flags: u32) -> Map {
    let new = NewMap { kind, key_size: 4, value_size, max_entries, flags, name: "fairlead_test", inner: None };
    Map::create(&new).expect("a map (these tests run as root)")
}

#[test]
fn an_element_is_written_read_and_deleted() {
    let map = map(HASH, 8, 2, 0);
    assert_eq!(map.info().name, "fairlead_test");
    assert_eq!((map.info().kind, map.info().key_size, map.info().value_size, map.info().max_entries), (HASH, 4, 8, 2));
    assert_eq!(map.lookup(b"key1").expect("look up"), None);
    map.update(b"key1", b"value..1").expect("create");
    map.update(b"key1", b"value..2").expect("replace");
    assert_eq!(map.lookup(b"key1").expect("look up").as_deref(), Some(&b"value..2"[..]));
    map.update(b"key2", b"value..3").expect("create");
    let full = map.update(b"key3", b"value..4").expect_err("full").to_string();
    assert_eq!(full, "write to map fairlead_test (2 entries): Argument list too long (E2BIG)");
    assert!(map.delete(b"key1").expect("delete"));
    assert!(!map.delete(b"key1").expect("delete again"));
}

#[test]
fn buffers_of_another_size_than_the_map_has_never_reach_the_kernel() {
    let map = map(HASH, 8, 2, 0);
    let error = map.update(b"key", b"value..1").expect_err("a short key").to_string();
    assert_eq!(error, "write to map fairlead_test (2 entries): 3 bytes where the map has 4");
    map.update(b"key1", b"value").expect_err("a short value");
    map.lookup(b"long key").expect_err("a long key");
    map.delete(b"").expect_err("no key");
    map.update_batch(b"key1key", b"value..1").expect_err("a key and a half");
    map.update_batch(b"key1key2", b"value..1").expect_err("two keys, one value");
}

#[test]
fn ten_thousand_elements_go_in_and_out_in_batches() {
    let map = map(HASH, 8, 10_000, 0);
    let keys: Vec<u8> = (0..10_000_u32).flat_map(u32::to_ne_bytes).collect();
    let values: Vec<u8> = (0..10_000_u64).flat_map(|number| (number * 3).to_ne_bytes()).collect();
    map.update_batch(&keys, &values).expect("write");
    let mut seen = BTreeMap::new();
    map.each(|key, value| {
        let key = u32::from_ne_bytes(key.try_into().expect("four bytes"));
        assert_eq!(seen.insert(key, u64::from_ne_bytes(value.try_into().expect("eight bytes"))), None);
    })
    .expect("read");
    assert_eq!(seen.len(), 10_000);
    assert!(seen.iter().all(|(key, value)| u64::from(*key) * 3 == *value));
    let empty = self::map(HASH, 8, 10, 0);
    empty.each(|_, _| panic!("nothing is there")).expect("read");
    empty.update_batch(&[], &[]).expect("nothing to write");
}

#[test]
fn a_part_of_an_array_is_read() {
    let map = map(ARRAY, 8, 5_000, 0);
    for index in 0..5_000_u32 {
        map.update(&index.to_ne_bytes(), &u64::from(index).to_ne_bytes()).expect("write");
    }
    let read = |first, count| {
        let mut read = Vec::new();
        let number = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().expect("eight bytes"));
        map.each_of_array(first, count, |_, value| read.push(number(value))).expect("read");
        read
    };
    assert_eq!(read(0, 3), [0, 1, 2]);
    assert_eq!(read(17, 2), [17, 18]);
    assert_eq!(read(4_998, 10), [4_998, 4_999]);
    assert_eq!(read(0, 5_000).len(), 5_000);
    assert_eq!(read(3, 4_500), (3..4_503).collect::<Vec<u64>>());
    assert_eq!(read(7, 0), []);
}

#[test]
fn a_per_cpu_value_has_a_part_for_each_possible_cpu() {
    let map = map(PERCPU_ARRAY, 8, 4, 0);
    let cpus = possible_cpus().expect("the kernel's list");
    assert_eq!(map.value_bytes(), cpus * 8);
    let value: Vec<u8> = (1..=cpus as u64).flat_map(u64::to_ne_bytes).collect();
    map.update(&1_u32.to_ne_bytes(), &value).expect("write");
    assert_eq!(map.lookup(&1_u32.to_ne_bytes()).expect("read"), Some(value));
}

#[test]
fn a_mapped_array_and_the_map_are_the_same_memory() {
    let map = map(ARRAY, 8, 1_000, MMAPABLE);
    let words = MappedArray::open(&map).expect("mapped");
    assert_eq!(words.len(), 1_000);
    assert!(words.store(999, 0x0123_4567_89ab_cdef));
    assert_eq!(map.lookup(&999_u32.to_ne_bytes()).expect("read"), Some(0x0123_4567_89ab_cdef_u64.to_ne_bytes().into()));
    map.update(&5_u32.to_ne_bytes(), &7_u64.to_ne_bytes()).expect("write");
    assert_eq!(words.load(5), Some(7));
    assert_eq!((words.store(1_000, 1), words.load(1_000)), (false, None));
    drop(map);
    assert_eq!(words.load(5), Some(7), "the memory outlives the descriptor");

    let map = self::map(ARRAY, 24, 10, MMAPABLE);
    let words = MappedArray::open(&map).expect("values of whole words are mapped too");
    assert_eq!(words.len(), 30);
    assert!((21..24).all(|index| words.store(index, u64::from(index))));
    let value: Vec<u8> = [21_u64, 22, 23].into_iter().flat_map(u64::to_ne_bytes).collect();
    assert_eq!(map.lookup(&7_u32.to_ne_bytes()).expect("read"), Some(value), "element 7");

    let error = MappedArray::open(&self::map(ARRAY, 8, 1, 0)).expect_err("not mmapable").to_string();
    assert!(error.starts_with("map into memory map fairlead_test: "), "{error}");
    MappedArray::open(&self::map(HASH, 8, 1, 0)).expect_err("no array");
    MappedArray::open(&self::map(ARRAY, 4, 1, MMAPABLE)).expect_err("no 64-bit words");
}

#[test]
fn a_pin_keeps_a_map() {
    unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("mounts become private");
    let directory = tempfile::tempdir().expect("a directory");
    mount(Some("bpf"), directory.path(), Some("bpf"), MsFlags::empty(), none).expect("a bpffs");
    let pin = directory.path().join("pin");

    assert!(obj_get(&pin).expect_err("nothing there").is_not_found());
    let map = map(HASH, 8, 2, 0);
    obj_pin(map.as_fd(), &pin).expect("pin");
    assert!(obj_pin(map.as_fd(), &pin).expect_err("there already").is_exists());
    map.update(b"key1", b"value..1").expect("write");
    let id = map.info().id;
    drop(map);
    let again = Map::from_pin(&pin).expect("open");
    assert_eq!((again.info().id, again.lookup(b"key1").expect("read")), (id, Some(b"value..1".into())));
    assert_eq!(Map::from_id(id).expect("open by number").info(), again.info());
    link_info(again.as_fd()).expect_err("a map is no link");
    let error = obj_get(Path::new("/proc/version")).expect_err("no pin").to_string();
    assert!(error.starts_with("open pin /proc/version: "), "{error}");
    umount2(directory.path(), MntFlags::MNT_DETACH).expect("unmount");
}

#[test]
fn a_grace_period_passes() {
    for _ in 0..3 {
        grace_period().expect("running programs end");
    }
}
