//! Attaching for real: each test has a bpffs, a cgroup and namespaces of its own, and takes them away. Needs root.
//!
//! A socket belongs to the cgroup its process was in when it was made: the tests take turns, since each moves the process.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use aya::maps::{Array, MapData};
use fairlead_ebpf_shared::{
    ABI_VERSION, Backend, Be16, ClientAddresses, ConfigWord, Frontend, FrontendKey, IPPROTO_UDP, Options, OptionsWord,
    SetWord, frontend_tag, map, mapped, program,
};
use fairlead_kernel::bpf::{self, Map, MappedArray};
use fairlead_kernel::netns;
use fairlead_proxy_model::Sizes;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use zerocopy::IntoBytes;

use super::{cleanup, ensure, inspect};
use crate::maps::kernel::KernelMaps;
use crate::maps::{Host, Maps};

const SIZES: Sizes = Sizes { slots: 64, backends: 256, addresses: 64, ranges: 64 };
const VIP: &str = "10.96.0.1:53";

static TURN: Mutex<()> = Mutex::new(());

pub(crate) struct Sandbox {
    pub(crate) bpffs: tempfile::TempDir,
    cgroup: PathBuf,
    other_cgroup: PathBuf,
    home: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).expect("namespaces (these tests run as root)");
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("mounts become private");
        let bpffs = tempfile::tempdir().expect("a directory");
        mount(Some("bpf"), bpffs.path(), Some("bpf"), MsFlags::empty(), none).expect("a bpffs");
        let status = Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("ip runs (Debian: iproute2)");
        assert!(status.success(), "ip link set lo up: {status}");

        let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts are read");
        let root = mounts.lines().find_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let place = fields.next()?;
            (fields.next()? == "cgroup2").then(|| Path::new(place))
        });
        let root = root.expect("a cgroup2 mount");
        let membership = fs::read_to_string("/proc/self/cgroup").expect("the process's cgroups are read");
        let now = membership.lines().find_map(|line| line.strip_prefix("0::/")).expect("the process is in a cgroup2");
        let [cgroup, other_cgroup] =
            ["a", "b"].map(|letter| root.join(format!("fairlead-attach-{}-{letter}", process::id())));
        for directory in [&cgroup, &other_cgroup] {
            fs::create_dir(directory).expect("a cgroup is made");
        }
        let sandbox = Self { bpffs, cgroup, other_cgroup, home: root.join(now), _turn: turn };
        enter(&sandbox.cgroup);
        sandbox
    }

    pub(crate) fn ensure(&self) -> anyhow::Result<KernelMaps> {
        ensure(self.bpffs.path(), &self.cgroup, SIZES)
    }

    fn pin(&self, path: &str) -> PathBuf {
        self.bpffs.path().join(format!("fairlead/v{ABI_VERSION}")).join(path)
    }

    fn refusal(&self) -> String {
        format!("{:#}", self.ensure().expect_err("refused"))
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        enter(&self.home);
        // A test may have removed one itself; what is left over is reported by the next test that cannot make it.
        for directory in [&self.cgroup, &self.other_cgroup] {
            let is_busy = || fs::remove_dir(directory).is_err_and(|error| error.kind() == ErrorKind::ResourceBusy);
            // Programs that tests beside this one run were born where the process was, and may end at any moment.
            for _ in (0..1000).take_while(|_| is_busy()) {
                let programs = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
                programs.lines().for_each(|program| drop(fs::write(self.home.join("cgroup.procs"), program)));
            }
        }
        umount2(self.bpffs.path(), MntFlags::MNT_DETACH).expect("the bpffs goes, and with it every pin");
    }
}

fn enter(cgroup: &Path) {
    fs::write(cgroup.join("cgroup.procs"), process::id().to_string()).expect("the process moves to a cgroup");
}

fn serve(maps: &mut KernelMaps) {
    let vip: SocketAddr = VIP.parse().expect("an address");
    let key =
        FrontendKey { addr: mapped([10, 96, 0, 1]), port: Be16::new(vip.port()), protocol: IPPROTO_UDP, scope: 0 };
    let tag = frontend_tag(&key, 7);
    let backend = Backend { addr: mapped([127, 0, 0, 1]), port: Be16::new(5353), reserved: 0, tag };
    maps.put_backends(100, &[backend, backend]).expect("backends are written");
    maps.switch_set(7, SetWord::new(100, 2, tag).expect("fits")).expect("the set is switched");
    maps.set_options(7, OptionsWord::new(Options::default(), tag).expect("fits")).expect("options are set");
    maps.put_frontend(&key, &Frontend { slot: 7, tag }).expect("the frontend is written");
}

/// Whether a socket that is made now is led to a backend: it names the VIP as its peer either way, but has no way to the VIP
/// in this network namespace.
fn is_served() -> bool {
    let client = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    client.connect(VIP).is_ok_and(|()| client.peer_addr().is_ok_and(|peer| peer.to_string() == VIP))
}

fn id(pin: &Path) -> u32 {
    Map::from_pin(pin).expect("a pinned map").info().id
}

#[test]
fn what_is_written_is_served_dumped_and_counted_and_outlives_the_daemon() {
    let sandbox = Sandbox::new();
    assert!(inspect(sandbox.bpffs.path(), &sandbox.cgroup).expect("nothing is there").is_none());
    let mut maps = sandbox.ensure().expect("first start");
    assert_eq!(maps.sizes(), SIZES);
    assert!(!is_served());
    serve(&mut maps);
    assert!(is_served());
    let dump = maps.dump().expect("dump");
    assert_eq!((dump.frontends.len(), dump.sets.len(), dump.sets[&7].backends.len()), (1, 1, 2));
    assert_eq!(maps.slot_counters(&[7, 8]).expect("counters"), [1, 0]);
    assert_eq!(maps.counters().expect("counters")[0], 1);
    maps.grace_period()().expect("a grace period passes");
    drop(maps);

    assert!(is_served(), "pinned links go on without a daemon");
    let inspection = inspect(sandbox.bpffs.path(), &sandbox.cgroup).expect("inspect").expect("pinned");
    assert_eq!(inspection.maps.dump().expect("dump"), dump);
    for link in &inspection.links {
        assert!(link.attached && link.detail.starts_with("program "), "{link:?}");
    }
    let mut maps = sandbox.ensure().expect("second start");
    assert_eq!(maps.dump().expect("dump"), dump);
    maps.clear_slot(7).expect("clear");
    assert_eq!(maps.slot_counters(&[7]).expect("counters"), [0]);
    for key in dump.frontends.keys() {
        maps.delete_frontend(key).expect("delete");
        maps.delete_frontend(key).expect("delete again");
    }
    assert_eq!(maps.dump().expect("dump"), fairlead_proxy_model::Dump::default());
}

#[test]
fn a_restart_while_connections_run_fails_none() {
    let sandbox = Sandbox::new();
    serve(&mut sandbox.ensure().expect("first start"));
    let over = AtomicBool::new(false);
    let connected = thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut connected = 0_u64;
            while !over.load(Ordering::Relaxed) {
                assert!(is_served(), "connection {connected} was not led to a backend");
                connected += 1;
            }
            connected
        });
        let restarts: Vec<_> = (0..10).map(|_| sandbox.ensure().map(drop)).collect();
        over.store(true, Ordering::Relaxed);
        for restart in restarts {
            restart.expect("restart");
        }
        client.join().expect("no connection failed")
    });
    println!("{connected} connections during 10 restarts");
    assert!(connected > 0);
}

#[test]
fn two_daemons_on_the_same_pins_are_refused() {
    let sandbox = Sandbox::new();
    let _first = sandbox.ensure().expect("first start");
    assert!(sandbox.refusal().contains("another fairlead-proxy holds"), "{}", sandbox.refusal());
    let error = cleanup(sandbox.bpffs.path(), &sandbox.cgroup).expect_err("refused").to_string();
    assert!(error.contains("stop it first"), "{error}");
    assert!(inspect(sandbox.bpffs.path(), &sandbox.cgroup).expect("looking is allowed").is_some());
}

#[test]
fn a_pinned_map_of_another_shape_is_refused_before_anything_is_loaded() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.pin("maps")).expect("directories");
    let foreign = Array::<MapData, u32>::create(SIZES.slots, 0).expect("a map");
    foreign.pin(sandbox.pin("maps/SETS")).expect("pin");
    let refusal = sandbox.refusal();
    assert!(refusal.contains("maps/SETS is not ours: value size 4, expected 8."), "{refusal}");
    assert!(refusal.contains("fairlead-proxy cleanup"), "{refusal}");
    assert!(!sandbox.pin("maps/FRONTENDS").exists(), "nothing else was made");
    let removed = cleanup(sandbox.bpffs.path(), &sandbox.cgroup).expect("cleanup");
    assert!(removed.contains(&"removed map SETS".to_owned()), "{removed:?}");
    sandbox.ensure().expect("and then it starts");
}

#[test]
fn maps_of_another_size_than_asked_for_are_refused_with_the_size_they_have() {
    let sandbox = Sandbox::new();
    drop(sandbox.ensure().expect("first start"));
    let larger = Sizes { slots: 128, ..SIZES };
    let refusal = ensure(sandbox.bpffs.path(), &sandbox.cgroup, larger).expect_err("refused").to_string();
    assert!(refusal.contains("maps/FRONTENDS has room for 64 entries"), "{refusal}");
    assert!(refusal.contains("--max-frontends asks for 128: give --max-frontends 64"), "{refusal}");
    let none = Sizes { slots: 0, ..SIZES };
    let refusal = ensure(sandbox.bpffs.path(), &sandbox.cgroup, none).expect_err("refused").to_string();
    assert!(refusal.starts_with("--max-frontends 0: must be 1 to "), "{refusal}");
}

#[test]
fn what_a_crash_left_half_made_is_completed_and_the_service_goes_on() {
    let sandbox = Sandbox::new();
    serve(&mut sandbox.ensure().expect("first start"));
    let before = id(&sandbox.pin("maps/SETS"));
    fs::remove_file(sandbox.pin("maps/SETS")).expect("a pin goes");
    fs::remove_file(sandbox.pin("links/getpeername6")).expect("a pin goes");
    fs::rename(sandbox.pin("links/sendmsg4"), sandbox.pin("links/sendmsg4_new")).expect("a move stops half way");

    let state = inspect(sandbox.bpffs.path(), &sandbox.cgroup).expect_err("a map is missing").to_string();
    assert!(state.contains("maps/SETS"), "{state}");
    let maps = sandbox.ensure().expect("restart");
    assert_eq!(id(&sandbox.pin("maps/SETS")), before, "the map that the programs use, not a new one");
    assert_eq!(maps.dump().expect("dump").sets.len(), 1);
    assert!(is_served());
    assert!(!sandbox.pin("links/sendmsg4_new").exists());
    let inspection = inspect(sandbox.bpffs.path(), &sandbox.cgroup).expect("inspect").expect("pinned");
    assert!(inspection.links.iter().all(|link| link.attached), "{:?}", inspection.links);
}

#[test]
fn links_move_to_another_cgroup_and_away_from_a_removed_one() {
    let sandbox = Sandbox::new();
    serve(&mut sandbox.ensure().expect("first start"));
    drop(ensure(sandbox.bpffs.path(), &sandbox.other_cgroup, SIZES).expect("with another --cgroup-root"));
    assert!(!is_served(), "the old cgroup is served no more");
    let elsewhere = inspect(sandbox.bpffs.path(), &sandbox.cgroup).expect("inspect").expect("pinned").links;
    assert!(elsewhere.iter().all(|link| !link.attached && link.detail.contains("another cgroup")), "{elsewhere:?}");
    enter(&sandbox.other_cgroup);
    assert!(is_served());

    enter(&sandbox.cgroup);
    fs::remove_dir(&sandbox.other_cgroup).expect("the cgroup goes");
    let dead = inspect(sandbox.bpffs.path(), &sandbox.cgroup).expect("inspect").expect("pinned").links;
    assert!(dead.iter().all(|link| !link.attached), "{dead:?}");
    drop(sandbox.ensure().expect("back to the first"));
    assert!(is_served());
}

#[test]
fn cleanup_detaches_at_once_says_what_it_did_and_may_be_run_again() {
    let sandbox = Sandbox::new();
    assert_eq!(cleanup(sandbox.bpffs.path(), &sandbox.cgroup).expect("nothing there"), Vec::<String>::new());
    serve(&mut sandbox.ensure().expect("first start"));
    assert!(is_served());
    let removed = cleanup(sandbox.bpffs.path(), &sandbox.cgroup).expect("cleanup");
    assert!(!is_served(), "detached when cleanup returned");
    for name in program::ALL {
        let line = format!("detached {name} from cgroup {}", sandbox.cgroup.display());
        assert!(removed.contains(&line), "{line} is missing in {removed:#?}");
    }
    for name in map::ALL {
        assert!(removed.contains(&format!("removed map {name}")), "{removed:#?}");
    }
    assert!(!sandbox.bpffs.path().join("fairlead").exists());
    assert_eq!(cleanup(sandbox.bpffs.path(), &sandbox.cgroup).expect("again"), Vec::<String>::new());
}

#[test]
fn an_earlier_version_serves_until_the_tables_are_filled_and_is_then_taken_away() {
    let sandbox = Sandbox::new();
    // A predecessor: these programs and maps, under the name of an earlier version.
    serve(&mut sandbox.ensure().expect("the earlier version starts"));
    let earlier = sandbox.bpffs.path().join("fairlead/v1");
    fs::rename(sandbox.pin(""), &earlier).expect("bpffs lets a directory be renamed");

    let mut maps = sandbox.ensure().expect("this version starts beside it");
    assert!(is_served(), "by the earlier one: the tables of this one are empty");
    assert_eq!(maps.dump().expect("dump"), fairlead_proxy_model::Dump::default());
    let refusal = sandbox.refusal();
    assert!(refusal.contains("another fairlead-proxy holds"), "both versions' pins are locked: {refusal}");
    // The machine stops here; the next start finds both.
    drop(maps);
    maps = sandbox.ensure().expect("restart");
    serve(&mut maps);
    assert!(is_served(), "by the earlier one still, whose answer is no service to this one");
    let removed = maps.retire_predecessors().expect("retire");
    assert!(removed.contains(&format!("detached connect4 from cgroup {}", sandbox.cgroup.display())), "{removed:?}");
    assert!(!earlier.exists() && is_served(), "by this one");
    assert_eq!(maps.retire_predecessors().expect("retire again"), Vec::<String>::new());
    drop(maps);
    drop(sandbox.ensure().expect("and once more"));
}

#[test]
fn connections_go_on_while_an_earlier_version_is_superseded() {
    let sandbox = Sandbox::new();
    serve(&mut sandbox.ensure().expect("the earlier version starts"));
    fs::rename(sandbox.pin(""), sandbox.bpffs.path().join("fairlead/v1")).expect("rename");
    let over = AtomicBool::new(false);
    let connected = thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut connected = 0_u64;
            while !over.load(Ordering::Relaxed) {
                assert!(is_served(), "connection {connected} was not led to a backend");
                connected += 1;
            }
            connected
        });
        let mut maps = sandbox.ensure().expect("this version starts");
        serve(&mut maps);
        let retired = maps.retire_predecessors();
        over.store(true, Ordering::Relaxed);
        retired.expect("retire");
        client.join().expect("no connection failed")
    });
    assert!(connected > 0);
}

#[test]
fn an_earlier_versions_running_daemon_keeps_a_later_one_from_starting() {
    let sandbox = Sandbox::new();
    let _running = sandbox.ensure().expect("the earlier version starts");
    fs::rename(sandbox.pin(""), sandbox.bpffs.path().join("fairlead/v1")).expect("rename");
    let refusal = sandbox.refusal();
    assert!(refusal.contains("another fairlead-proxy holds") && refusal.contains("fairlead/v1"), "{refusal}");
    assert!(!sandbox.pin("").exists(), "nothing was made");
}

#[test]
fn the_programs_are_told_of_the_node() {
    let sandbox = Sandbox::new();
    let mut maps = sandbox.ensure().expect("first start");
    let config = MappedArray::open(&Map::from_pin(&sandbox.pin("maps/CONFIG")).expect("pinned")).expect("mapped");
    let clients = Map::from_pin(&sandbox.pin("maps/CLIENTS")).expect("pinned");
    let cookie = netns::cookie().expect("cookie");
    let addresses = ["127.0.0.1", "10.0.0.5", "fd00::5", "10.0.0.6"].map(|text| text.parse().expect("an address"));
    for localhost in [true, false] {
        maps.tell_host(&Host::new(localhost, addresses)).expect("told");
        let words = ConfigWord::ALL.map(|word| config.load(word as u32));
        assert_eq!(words, [Some(cookie), Some(u64::from(localhost))]);
        let client = clients.lookup(&cookie.to_ne_bytes()).expect("read").expect("the node has an entry");
        let v6: std::net::Ipv6Addr = "fd00::5".parse().expect("an address");
        let expected = ClientAddresses::new(cookie, mapped([10, 0, 0, 5]), v6.octets());
        assert_eq!(client, expected.as_bytes());
    }
}

#[test]
fn a_first_start_that_fails_leaves_nothing() {
    let sandbox = Sandbox::new();
    // In a cgroup2, but no cgroup: everything is loaded and pinned before the kernel refuses the first link.
    let error = ensure(sandbox.bpffs.path(), &sandbox.cgroup.join("cgroup.procs"), SIZES).expect_err("refused");
    assert!(format!("{error:#}").starts_with("attach connect4 to cgroup "), "{error:#}");
    assert!(!sandbox.bpffs.path().join("fairlead").exists());
}

#[test]
fn a_foreign_link_under_our_name_is_refused() {
    let sandbox = Sandbox::new();
    drop(sandbox.ensure().expect("first start"));
    let link = bpf::obj_get(&sandbox.pin("links/connect6")).expect("a link");
    fs::remove_file(sandbox.pin("links/connect4")).expect("a pin goes");
    use std::os::fd::AsFd;
    bpf::obj_pin(link.as_fd(), &sandbox.pin("links/connect4")).expect("pin");
    let refusal = sandbox.refusal();
    assert!(refusal.contains("links/connect4 is not a link of fairlead-proxy's connect4"), "{refusal}");
}
