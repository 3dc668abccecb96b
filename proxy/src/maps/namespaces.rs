//! The network namespaces of this machine, and the addresses their sockets send from: what source ranges are compared with.
//!
//! A socket that connects has no address yet, and the hook that sees it cannot ask the routes. So user space asks them, once
//! for each namespace: the kernel chooses a source address for a far destination, which is how VIPs are reached. Namespaces
//! are found where container runtimes keep them and by their processes; of others no client is admitted to a service with
//! source ranges.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fairlead_ebpf_shared::{ClientAddresses, mapped};
use fairlead_kernel::netns::{self, Netns};

/// Where ip-netns(8), containerd, CRI-O and dockerd keep theirs.
const DIRECTORIES: [&str; 2] = ["/run/netns", "/run/docker/netns"];

/// Addresses that are nobody's and far away (RFC 5737, RFC 3849): nothing is sent there.
const FAR_V4: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 9);
const FAR_V6: (Ipv6Addr, u16) = (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 9);

/// Device and inode of a namespace's file.
type Identity = (u64, u64);

/// What is known of the namespaces.
#[derive(Debug)]
pub struct Namespaces {
    directories: Vec<PathBuf>,
    processes: PathBuf,
    known: BTreeMap<Identity, Known>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    cookie: u64,
    addresses: ClientAddresses,
}

/// What a look found that was not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Cookies with the addresses that are true from now on.
    pub put: Vec<(u64, ClientAddresses)>,
    /// Cookies of namespaces that are gone.
    pub gone: Vec<u64>,
}

/// How thoroughly to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// For new names in the runtimes' directories, and again at those that had no address yet.
    Names,
    /// The same, and for those of processes.
    Processes,
    /// At every namespace anew, and for those that are gone.
    Everything,
}

impl Default for Namespaces {
    fn default() -> Self {
        Self::at(DIRECTORIES.map(PathBuf::from).into(), "/proc".into())
    }
}

impl Namespaces {
    fn at(directories: Vec<PathBuf>, processes: PathBuf) -> Self {
        Self { directories, processes, known: BTreeMap::new() }
    }

    /// Looks. What cannot be read is not there: a namespace may go at any moment, and a directory may not be ours to see.
    pub fn look(&mut self, depth: Depth) -> News {
        let found = self.find(depth);
        // The daemon's own is told by who knows the node's addresses.
        let own = identity(Path::new("/proc/thread-self/ns/net"));
        let mut news = News::default();
        for (identity, path) in &found {
            let before = self.known.get(identity).copied();
            if own == Some(*identity) || depth != Depth::Everything && before.is_some_and(|known| known.has_address()) {
                continue;
            }
            let Some(now) = ask(path) else { continue };
            if before != Some(now) {
                news.put.push((now.cookie, now.addresses));
                self.known.insert(*identity, now);
            }
        }
        if depth == Depth::Everything {
            let seen: BTreeSet<&Identity> = found.keys().collect();
            self.known.retain(|identity, known| {
                let is_there = seen.contains(identity);
                if !is_there {
                    news.gone.push(known.cookie);
                }
                is_there
            });
            // An inode number may be a new namespace's by now, the old cookie nobody's.
            let cookies: BTreeSet<u64> = self.known.values().map(|known| known.cookie).collect();
            news.gone.retain(|cookie| !cookies.contains(cookie));
        }
        news
    }

    fn find(&self, depth: Depth) -> BTreeMap<Identity, PathBuf> {
        let mut found: BTreeMap<Identity, PathBuf> = BTreeMap::new();
        for directory in &self.directories {
            found.extend(entries(directory).into_iter().filter_map(|path| Some((identity(&path)?, path))));
        }
        if depth != Depth::Names {
            for process in entries(&self.processes) {
                if process
                    .file_name()
                    .is_some_and(|name| name.to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()))
                {
                    let path = process.join("ns/net");
                    found.extend(identity(&path).map(|identity| (identity, path)));
                }
            }
        }
        found
    }

    /// What was told of this namespace did not arrive: the next look tells it again.
    pub fn forget(&mut self, cookie: u64) {
        self.known.retain(|_, known| known.cookie != cookie);
    }
}

/// All network namespaces that can be found, the caller's own too, each by one path.
pub fn everywhere() -> Vec<PathBuf> {
    Namespaces::default().find(Depth::Everything).into_values().collect()
}

impl Known {
    fn has_address(&self) -> bool {
        self.addresses.v4 != [0; 16] || self.addresses.v6 != [0; 16]
    }
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect()
}

fn identity(path: &Path) -> Option<Identity> {
    fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// What the namespace at `path` is; `None`: it is no network namespace, or it is gone.
fn ask(path: &Path) -> Option<Known> {
    let asked = Netns::open(path).ok()?.enter(|| Some((netns::cookie().ok()?, source_v4(), source_v6()))).ok()?;
    let (cookie, v4, v6) = asked?;
    Some(Known { cookie, addresses: ClientAddresses::new(cookie, v4, v6) })
}

fn source_v4() -> [u8; 16] {
    match chosen((Ipv4Addr::UNSPECIFIED, 0).into(), FAR_V4.into()) {
        Some(IpAddr::V4(address)) => mapped(address.octets()),
        _ => [0; 16],
    }
}

fn source_v6() -> [u8; 16] {
    match chosen((Ipv6Addr::UNSPECIFIED, 0).into(), FAR_V6.into()) {
        Some(IpAddr::V6(address)) => address.octets(),
        _ => [0; 16],
    }
}

/// The address that the kernel gives a socket of this thread's namespace that goes `far`.
fn chosen(any: std::net::SocketAddr, far: std::net::SocketAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(far).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A process in a network namespace of its own, until its input ends.
    struct Pod(Child);

    impl Pod {
        fn new(script: &str) -> Self {
            let script = format!("{script}; echo ready; cat");
            let mut command = Command::new("unshare");
            command.args(["--net", "sh", "-ec", &script]).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = command.spawn().expect("unshare runs (Debian: util-linux; root)");
            let mut ready = [0; 6];
            child.stdout.as_mut().expect("piped").read_exact(&mut ready).expect("the script runs to its end");
            Self(child)
        }

        fn path(&self) -> PathBuf {
            PathBuf::from(format!("/proc/{}/ns/net", self.0.id()))
        }
    }

    impl Drop for Pod {
        fn drop(&mut self) {
            drop(self.0.stdin.take().map(|mut input| input.flush()));
            self.0.wait().expect("the process ends with its input");
        }
    }

    const WIRED: &str = "ip link add eth0 type veth peer name eth1; ip link set lo up; ip link set eth1 up; ip link set eth0 up; \
        ip address add 10.244.1.7/24 dev eth0; ip address add 10.99.0.1/24 dev eth0; ip route add default via 10.244.1.1; \
        ip -6 address add fd00:1::7/64 dev eth0 nodad; ip -6 route add default dev eth0";

    fn expected(v4: [u8; 4], v6: &str, cookie: u64) -> (u64, ClientAddresses) {
        let v6: Ipv6Addr = v6.parse().expect("an address");
        (cookie, ClientAddresses::new(cookie, mapped(v4), v6.octets()))
    }

    #[test]
    fn a_process_in_a_namespace_of_its_own_is_found_with_the_address_it_sends_from() {
        let pod = Pod::new(WIRED);
        let cookie = Netns::open(pod.path()).expect("it lives").enter(netns::cookie).expect("enter").expect("cookie");
        let mut namespaces = Namespaces::at(Vec::new(), "/proc".into());
        let news = namespaces.look(Depth::Everything);
        assert!(news.put.contains(&expected([10, 244, 1, 7], "fd00:1::7", cookie)), "{news:?}");
        let own = netns::cookie().expect("cookie");
        assert!(news.put.iter().all(|(cookie, _)| *cookie != own), "the daemon's own is left out");
        assert!(!namespaces.look(Depth::Everything).put.iter().any(|(again, _)| *again == cookie), "no news");
        drop(pod);
        // A namespace goes some time after its last process: what counts is that nobody is in it.
        assert!(namespaces.look(Depth::Everything).gone.contains(&cookie));
    }

    #[test]
    fn a_name_in_a_runtimes_directory_is_found_and_asked_again_until_it_has_an_address() {
        let directory = tempfile::tempdir().expect("a directory");
        let pod = Pod::new("ip link set lo up");
        // As good as a bind mount, which a test would have to take away.
        std::os::unix::fs::symlink(pod.path(), directory.path().join("cni-1")).expect("a link");
        fs::write(directory.path().join("no-namespace"), "").expect("a file");
        let mut namespaces = Namespaces::at(vec![directory.path().into(), "/none".into()], "/none".into());
        let news = namespaces.look(Depth::Names);
        let [(cookie, addresses)] = news.put[..] else { panic!("{news:?}") };
        assert_eq!(addresses, ClientAddresses::new(cookie, [0; 16], [0; 16]), "no route, no address");
        assert_eq!(namespaces.look(Depth::Names), News::default());

        let inside = format!("--net={}", pod.path().display());
        let status = Command::new("nsenter").args([&inside, "sh", "-ec", WIRED]).status();
        assert!(status.expect("nsenter runs (Debian: util-linux)").success());
        assert_eq!(namespaces.look(Depth::Names).put, [expected([10, 244, 1, 7], "fd00:1::7", cookie)]);
        assert_eq!(namespaces.look(Depth::Names), News::default());
    }
}
