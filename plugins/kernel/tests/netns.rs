//! Opening namespaces and going into them, and a socket that stays where it was opened.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use fairlead_kernel::link::{self, Bridge};
use fairlead_kernel::netlink::Socket;
use fairlead_kernel::netns::{self, Netns};
use fairlead_kernel::sysctl;
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

/// The thread's first namespace; the thread goes on to a second one.
fn another() -> Netns {
    unshare(CloneFlags::CLONE_NEWNET).expect("unshare the network namespace: are you root?");
    let file = File::open("/proc/thread-self/ns/net").unwrap();
    let netns = Netns::open(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    netns
}

#[test]
fn what_is_no_network_namespace_is_told_apart_from_what_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let fifo = dir.path().join("fifo");
    mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    for (path, what) in [(&*file, "unknown FS magic"), (&*fifo, "unknown FS magic"), (dir.path(), "unknown FS magic")] {
        let error = Netns::open(path).unwrap_err();
        assert!(error.is_not_a_namespace() && error.to_string().contains(what), "{error}");
    }
    let error = Netns::open("/proc/self/ns/mnt").unwrap_err();
    assert!(error.is_not_a_namespace() && error.to_string().contains("not a network namespace"), "{error}");
    for path in [dir.path().join("none"), file.join("below"), "".into(), "/proc/0/ns/net".into()] {
        let error = Netns::open(&path).unwrap_err();
        assert!(error.is_not_found(), "{error}");
    }
}

#[test]
fn the_thread_comes_back_also_from_a_panic() {
    let other = another();
    let home = Netns::current().unwrap().identity().unwrap();
    assert_ne!(other.identity().unwrap(), home);
    let inside = other.enter(|| Netns::current().unwrap().identity().unwrap()).unwrap();
    assert_eq!(inside, other.identity().unwrap());
    assert_eq!(Netns::current().unwrap().identity().unwrap(), home);
    let panic = catch_unwind(AssertUnwindSafe(|| other.enter(|| panic!("inside")).unwrap()));
    assert!(panic.is_err());
    assert_eq!(Netns::current().unwrap().identity().unwrap(), home);
}

#[test]
fn a_socket_acts_where_it_was_opened() {
    let other = another();
    let mut there = Socket::open_in(&other).unwrap();
    link::create_bridge(&mut there, &Bridge { name: "br0".into(), ..Bridge::default() }).unwrap();
    let mut here = Socket::open().unwrap();
    assert!(link::get_by_name(&mut here, "br0").unwrap_err().is_not_found());
    assert!(link::list(&mut there).unwrap().iter().any(|link| link.name == "br0" && link.is("bridge")));
}

#[test]
fn every_namespace_has_a_cookie_of_its_own_and_keeps_it() {
    let first = another();
    let cookies = [first.enter(netns::cookie).unwrap().unwrap(), netns::cookie().unwrap()];
    assert!(cookies[0] != cookies[1] && !cookies.contains(&0), "{cookies:?}");
    assert_eq!(first.enter(netns::cookie).unwrap().unwrap(), cookies[0]);
}

#[test]
fn sysctls_are_those_of_the_namespace_and_written_only_if_they_differ() {
    let other = another();
    let key = "net/ipv4/ip_forward";
    let (before, written, again) = other
        .enter(|| (sysctl::read(key).unwrap(), sysctl::set(key, "1").unwrap(), sysctl::set(key, "1").unwrap()))
        .unwrap();
    assert_eq!((&before[..], written, again), ("0", true, false));
    assert_eq!(sysctl::read(key).unwrap(), "0", "not here");
    assert!(sysctl::set("net/ipv4/conf/none/arp_notify", "1").unwrap_err().is_not_found());
    assert!(!sysctl::set_if_present("net/ipv4/conf/none/arp_notify", "1").unwrap());
}

#[test]
fn the_kernels_own_words_are_in_the_error() {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    let mut socket = Socket::open().unwrap();
    let error = link::create_bridge(&mut socket, &Bridge { name: "br0".into(), mtu: Some(1), ..Bridge::default() });
    let text = error.unwrap_err().to_string();
    assert!(text.starts_with("create bridge br0: Invalid argument (EINVAL): "), "{text}");
    assert!(text.contains("mtu") || text.contains("MTU"), "{text}");
}

#[test]
fn a_list_taken_while_links_come_and_go_is_always_whole() {
    let dir = another();
    let mut socket = Socket::open_in(&dir).unwrap();
    // More links than one datagram of a dump holds, so that a change can fall between two.
    for number in 0..150 {
        link::create_bridge(&mut socket, &Bridge { name: format!("fix{number}"), ..Bridge::default() }).unwrap();
    }
    let mut churn = Socket::open_in(&dir).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Also when an assertion fails: the scope waits for its thread.
        let _stopping = Stop(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                link::create_bridge(&mut churn, &Bridge { name: "come".into(), ..Bridge::default() }).unwrap();
                link::delete_by_name(&mut churn, "come").unwrap();
            }
        });
        for _ in 0..6 {
            let links = match link::list(&mut socket) {
                Ok(links) => links,
                // Told honestly, and the rule on a slow machine, where every attempt meets a change.
                Err(error) => {
                    assert!(error.to_string().contains("changed while it was read"), "{error}");
                    continue;
                }
            };
            let fixed = links.iter().filter(|link| link.name.starts_with("fix")).count();
            let mut indexes: Vec<u32> = links.iter().map(|link| link.index).collect();
            indexes.sort_unstable();
            indexes.dedup();
            assert_eq!((fixed, indexes.len()), (150, links.len()), "each exactly once");
        }
    });
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
