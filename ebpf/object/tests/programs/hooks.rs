//! The programs, loaded and attached to a cgroup of the test's own, in a network namespace of its own.
//!
//! A socket belongs to the cgroup its process was in when it was made, and a process is in one cgroup: so these tests take
//! turns, and each moves the process into its cgroup and back.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::{fs, process};

use aya::programs::{CgroupSockAddr, ProgramError};
use aya::{Ebpf, EbpfLoader};
use fairlead_ebpf_shared::{
    AddressClass, AddressWord, Affinity, AffinityKey, Backend, Be16, ClientAddresses, ConfigWord, Frontend,
    FrontendKey, Options, OptionsWord, Origin, RangeData, RangeKey, RangeTag, Reason, SCOPE_NODE, SetWord,
    frontend_tag, map, mapped, program,
};
use fairlead_kernel::bpf::{self, AttachType, Map, MappedArray};
use fairlead_kernel::netns;
use nix::sched::{CloneFlags, unshare};
use zerocopy::{FromBytes, IntoBytes};

/// What each program is attached as.
const ATTACH: [(&str, AttachType); program::ALL.len()] = [
    ("connect4", AttachType::Inet4Connect),
    ("connect6", AttachType::Inet6Connect),
    ("sendmsg4", AttachType::Udp4Sendmsg),
    ("sendmsg6", AttachType::Udp6Sendmsg),
    ("recvmsg4", AttachType::Udp4Recvmsg),
    ("recvmsg6", AttachType::Udp6Recvmsg),
    ("getpeername4", AttachType::Inet4Getpeername),
    ("getpeername6", AttachType::Inet6Getpeername),
];

static TURN: Mutex<()> = Mutex::new(());

/// The programs and their maps, loaded once: under an emulated CPU the verifier takes seconds.
static LOADED: LazyLock<Loaded> = LazyLock::new(Loaded::new);

struct Loaded {
    programs: Vec<(&'static str, AttachType, OwnedFd)>,
    frontends: Map,
    sets: MappedArray,
    options: MappedArray,
    config: MappedArray,
    backends: Map,
    addresses: Map,
    affinity: Map,
    ranges: Map,
    clients: Map,
    origins: Map,
    counters: Map,
    slot_counters: Map,
}

impl Loaded {
    fn new() -> Self {
        let mut ebpf = load();
        let programs = ATTACH.map(|(name, attach)| (name, attach, program_fd(&mut ebpf, name)));
        let open = |name| Map::from_id(map_id(&ebpf, name)).expect("the map of a loaded object");
        let words = |name| MappedArray::open(&open(name)).expect("an array of words can be mapped");
        Self {
            programs: programs.into(),
            frontends: open(map::FRONTENDS),
            sets: words(map::SETS),
            options: words(map::OPTIONS),
            config: words(map::CONFIG),
            backends: open(map::BACKENDS),
            addresses: open(map::ADDRESSES),
            affinity: open(map::AFFINITY),
            ranges: open(map::RANGES),
            clients: open(map::CLIENTS),
            origins: open(map::ORIGINS),
            counters: open(map::COUNTERS),
            slot_counters: open(map::SLOT_COUNTERS),
        }
    }

    /// Takes away what the last test left. Backends stay: no set refers to them; origins went with their sockets.
    fn clear(&self) {
        for map in [&self.frontends, &self.addresses, &self.affinity, &self.ranges, &self.clients] {
            let mut keys = Vec::new();
            map.each(|key, _| keys.push(key.to_vec())).expect("a map is read");
            for key in keys {
                map.delete(&key).expect("an element is deleted");
            }
        }
        for words in [&self.sets, &self.options, &self.config] {
            assert!((0..words.len() as u32).all(|index| words.store(index, 0)));
        }
        for map in [&self.counters, &self.slot_counters] {
            let keys: Vec<u32> = (0..map.info().max_entries).collect();
            let zeros = vec![0; keys.len() * map.value_bytes()];
            map.update_batch(keys.as_bytes(), &zeros).expect("counters are cleared");
        }
    }
}

pub struct Hooks {
    loaded: &'static Loaded,
    links: Vec<OwnedFd>,
    /// Dropped after the links and before the turn ends.
    _cgroup: Cgroup,
    _turn: MutexGuard<'static, ()>,
}

impl Hooks {
    /// In a new network namespace with `lo` up, holding 127.0.0.0/8, ::1, 10.0.0.6 and fd00::1 to fd00::6.
    pub fn attach() -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace (these tests run as root)");
        ip("link set lo up");
        ip("address add 10.0.0.6/32 dev lo");
        for number in 1..=6 {
            ip(&format!("-6 address add fd00::{number}/128 dev lo nodad"));
        }
        let cgroup = Cgroup::enter();
        let loaded = &*LOADED;
        loaded.clear();
        let directory = fs::File::open(&cgroup.path).expect("the cgroup was just made");
        let attach = |(name, attach, program): &(&str, AttachType, OwnedFd)| {
            bpf::link_create(program.as_fd(), directory.as_fd(), *attach).expect(name)
        };
        let links = loaded.programs.iter().map(attach).collect();
        Self { loaded, links, _cgroup: cgroup, _turn: turn }
    }

    pub fn frontends(&self) -> &Map {
        &self.loaded.frontends
    }

    pub fn addresses(&self) -> &Map {
        &self.loaded.addresses
    }

    /// This network namespace is the node's own, where NodePorts may be served on loopback.
    pub fn be_the_host(&self, localhost_node_ports: bool) {
        self.configure(ConfigWord::HostNetns, netns::cookie().expect("the namespace has a cookie"));
        self.configure(ConfigWord::LocalhostNodePorts, u64::from(localhost_node_ports));
    }

    pub fn configure(&self, word: ConfigWord, value: u64) {
        assert!(self.loaded.config.store(word as u32, value));
    }

    /// Makes an address known.
    pub fn know(&self, address: &str, class: AddressClass) {
        let address = bytes(address.parse().expect("an address"));
        self.loaded
            .addresses
            .update(&address, AddressWord::new(&address, class).as_bytes())
            .expect("an address is written");
    }

    /// Admits a network to a service that looks at its source ranges.
    pub fn admit(&self, vip: &Vip, network: &str, length: u32) {
        self.write_range(vip, network, length, vip.tag());
    }

    fn write_range(&self, vip: &Vip, network: &str, length: u32, tag: RangeTag) {
        let address: IpAddr = network.parse().expect("an address");
        let prefix_bits = 32 + length + if address.is_ipv4() { 96 } else { 0 };
        let data = RangeData { slot: vip.slot.to_be_bytes(), addr: bytes(address) };
        let key = RangeKey { prefix_bits, data };
        self.loaded.ranges.update(key.as_bytes(), tag.as_bytes()).expect("a range is written");
    }

    /// Tells the programs what sockets of this network namespace send from.
    pub fn tell_addresses(&self, v4: &str, v6: &str) {
        let cookie = netns::cookie().expect("the namespace has a cookie");
        let [v4, v6] = [v4, v6].map(|text| bytes(text.parse().expect("an address")));
        let value = ClientAddresses::new(cookie, v4, v6);
        self.loaded.clients.update(&cookie.to_ne_bytes(), value.as_bytes()).expect("a client is written");
    }

    /// Leaves a range of a former owner of the slot.
    pub fn admit_for_another(&self, vip: &Vip, network: &str, length: u32) {
        self.write_range(vip, network, length, vip.tag() ^ 1);
    }

    /// Where the clients of this network namespace stick to, for a group.
    pub fn affinity(&self, group: u32) -> Option<Affinity> {
        let value = self.loaded.affinity.lookup(affinity_key(group).as_bytes()).expect("affinity is read")?;
        Some(Affinity::read_from_bytes(&value).expect("the value's size was checked"))
    }

    /// Makes them stick to something, as somebody else would have left it.
    pub fn set_affinity(&self, group: u32, value: &Affinity) {
        self.loaded.affinity.update(affinity_key(group).as_bytes(), value.as_bytes()).expect("affinity is written");
    }

    /// Makes a service known, in the order that the daemon keeps: backends, set, options, frontend.
    pub fn serve(&self, vip: &Vip, base: u32, backends: &[SocketAddr]) {
        self.serve_as(vip, base, backends, Options::default());
    }

    pub fn serve_as(&self, vip: &Vip, base: u32, backends: &[SocketAddr], options: Options) {
        self.switch(vip, base, backends);
        self.treat(vip, options);
        let value = Frontend { slot: vip.slot, tag: vip.tag() };
        self.loaded.frontends.update(vip.key().as_bytes(), value.as_bytes()).expect("a frontend is written");
    }

    /// Publishes another set for a service that is known.
    pub fn switch(&self, vip: &Vip, base: u32, backends: &[SocketAddr]) {
        for (index, backend) in (base..).zip(backends) {
            let value =
                Backend { addr: bytes(backend.ip()), port: Be16::new(backend.port()), reserved: 0, tag: vip.tag() };
            self.loaded.backends.update(&index.to_ne_bytes(), value.as_bytes()).expect("a backend is written");
        }
        let word = SetWord::new(base, backends.len() as u32, vip.tag()).expect("the set fits a word");
        assert!(self.loaded.sets.store(vip.slot, word.0));
    }

    /// Changes how a service treats its clients.
    pub fn treat(&self, vip: &Vip, options: Options) {
        let word = OptionsWord::new(options, vip.tag()).expect("the options fit a word");
        assert!(self.loaded.options.store(vip.slot, word.0));
    }

    /// What the socket asked for and got, as the program stored it.
    pub fn origin(&self, socket: impl AsFd) -> Option<Origin> {
        use std::os::fd::AsRawFd;
        let key = socket.as_fd().as_raw_fd();
        let value = self.loaded.origins.lookup(&key.to_ne_bytes()).expect("socket storage is read")?;
        Some(Origin::read_from_bytes(&value).expect("the value's size was checked"))
    }

    pub fn count(&self, reason: Reason) -> u64 {
        sum(&self.loaded.counters, reason as u32)
    }

    pub fn count_of(&self, vip: &Vip) -> u64 {
        sum(&self.loaded.slot_counters, vip.slot)
    }
}

impl Drop for Hooks {
    fn drop(&mut self) {
        for link in &self.links {
            bpf::link_detach(link.as_fd()).expect("a link is detached");
        }
    }
}

fn affinity_key(group: u32) -> AffinityKey {
    AffinityKey { netns: netns::cookie().expect("the namespace has a cookie"), group, reserved: 0 }
}

/// A service as the tests name it.
pub struct Vip {
    pub address: SocketAddr,
    pub protocol: u8,
    pub slot: u32,
}

impl Vip {
    pub fn new(address: &str, protocol: u8, slot: u32) -> Self {
        Self { address: address.parse().expect("an address"), protocol, slot }
    }

    pub fn key(&self) -> FrontendKey {
        let port = Be16::new(self.address.port());
        FrontendKey { addr: bytes(self.address.ip()), port, protocol: self.protocol, scope: SCOPE_NODE }
    }

    pub fn tag(&self) -> u32 {
        frontend_tag(&self.key(), self.slot)
    }
}

/// The address as the maps hold it.
pub fn bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => mapped(address.octets()),
        IpAddr::V6(address) => address.octets(),
    }
}

/// The object with maps of a size that tests need, loaded.
pub fn load() -> Ebpf {
    let mut loader = EbpfLoader::new();
    let sized = [map::FRONTENDS, map::SETS, map::OPTIONS, map::BACKENDS, map::REPLIES, map::SLOT_COUNTERS];
    for name in sized.into_iter().chain([map::ADDRESSES, map::AFFINITY, map::RANGES, map::CLIENTS]) {
        loader.map_max_entries(name, 4096);
    }
    loader.load(fairlead_ebpf_object::OBJECT).expect("the object is loaded")
}

/// Loads one program: the verifier's answer.
pub fn load_program<'ebpf>(ebpf: &'ebpf mut Ebpf, name: &str) -> Result<&'ebpf mut CgroupSockAddr, ProgramError> {
    let program: &mut CgroupSockAddr = ebpf.program_mut(name).expect("a program of the object").try_into()?;
    program.load()?;
    Ok(program)
}

/// Loads one program and gives its descriptor.
fn program_fd(ebpf: &mut Ebpf, name: &str) -> OwnedFd {
    let program = load_program(ebpf, name).unwrap_or_else(|error| panic!("{name}: {error:?}"));
    program.fd().and_then(|fd| Ok(fd.as_fd().try_clone_to_owned()?)).expect("a loaded program has a descriptor")
}

fn map_id(ebpf: &Ebpf, name: &str) -> u32 {
    use aya::maps::Map as Loaded;
    let data = match ebpf.map(name).expect("a map of the object") {
        Loaded::Array(data)
        | Loaded::HashMap(data)
        | Loaded::LpmTrie(data)
        | Loaded::LruHashMap(data)
        | Loaded::PerCpuArray(data)
        | Loaded::SkStorage(data) => data,
        other => panic!("{name} is {other:?}"),
    };
    data.info().expect("the kernel describes a map").id()
}

fn sum(map: &Map, index: u32) -> u64 {
    let values = map.lookup(&index.to_ne_bytes()).expect("a counter is read").expect("an array has all its elements");
    values.chunks_exact(8).map(|value| u64::from_ne_bytes(value.try_into().expect("eight bytes"))).sum()
}

/// Runs `ip` in this thread's network namespace.
pub fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().expect("ip runs (Debian: iproute2)");
    assert!(status.success(), "ip {arguments}: {status}");
}

/// A cgroup that the process is in.
struct Cgroup {
    path: PathBuf,
    before: PathBuf,
}

impl Cgroup {
    fn enter() -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts are read");
        let mount = mounts.lines().find_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let place = fields.next()?;
            (fields.next()? == "cgroup2").then(|| Path::new(place))
        });
        let mount = mount.expect("a cgroup2 mount");
        let membership = fs::read_to_string("/proc/self/cgroup").expect("the process's cgroups are read");
        let now = membership.lines().find_map(|line| line.strip_prefix("0::/")).expect("the process is in a cgroup2");
        let cgroup = Self { path: mount.join(format!("fairlead-hooks-{}", process::id())), before: mount.join(now) };
        fs::create_dir(&cgroup.path).expect("a cgroup is made");
        move_to(&cgroup.path);
        cgroup
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        move_to(&self.before);
        fs::remove_dir(&self.path).expect("the cgroup is empty and is removed");
    }
}

fn move_to(cgroup: &Path) {
    fs::write(cgroup.join("cgroup.procs"), process::id().to_string()).expect("the process moves to a cgroup");
}
