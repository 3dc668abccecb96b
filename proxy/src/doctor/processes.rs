//! Who runs on this machine, as far as this process sees: a container without the host's processes sees itself.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    /// As `/proc/PID/comm` has it, 15 bytes at most.
    pub name: String,
}

/// All that are seen.
pub fn all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: u32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim().to_owned();
        Some(Process { pid, name })
    })
    .collect()
}

/// Who listens at a TCP port of this network namespace, at this address or at all. `Some(None)`: somebody who is not seen.
pub fn listener(at: SocketAddr) -> Option<Option<Process>> {
    let tables = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];
    let lines = tables.iter().filter_map(|path| fs::read_to_string(path).ok());
    let inode =
        lines.flat_map(|text| text.lines().filter_map(|line| listening(line, at)).collect::<Vec<_>>()).next()?;
    let target = PathBuf::from(format!("socket:[{inode}]"));
    Some(all().into_iter().find(|process| {
        let files = fs::read_dir(format!("/proc/{}/fd", process.pid)).into_iter().flatten().flatten();
        files.filter_map(|file| fs::read_link(file.path()).ok()).any(|link| link == target)
    }))
}

/// The inode of a socket that listens where `at` would (a line of /proc/net/tcp: number, local address and port in hexadecimal,
/// remote one, state, …; Documentation/networking/proc_net_tcp.rst).
fn listening(line: &str, at: SocketAddr) -> Option<u64> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (address, port) = fields.get(1)?.split_once(':')?;
    if *fields.get(3)? != LISTEN || u16::from_str_radix(port, 16).ok()? != at.port() {
        return None;
    }
    let is_any = address.bytes().all(|digit| digit == b'0');
    let is_same = at.ip().is_unspecified() || is_any || address == written(at);
    is_same.then(|| fields.get(9)?.parse().ok()).flatten()
}

/// As the kernel prints an address there: words of four bytes, each as a number of this machine's byte order.
fn written(at: SocketAddr) -> String {
    let bytes = match at.ip() {
        std::net::IpAddr::V4(address) => address.octets().to_vec(),
        std::net::IpAddr::V6(address) => address.octets().to_vec(),
    };
    let words = bytes.chunks_exact(4).map(|word| word.try_into().map_or(0, u32::from_ne_bytes));
    words.map(|word| format!("{word:08X}")).collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn who_listens_is_found_by_the_port() {
        for any in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0"] {
            let listener_here = TcpListener::bind(any).unwrap();
            let at = listener_here.local_addr().unwrap();
            let found = listener(at).unwrap_or_else(|| panic!("nobody at {at}"));
            assert_eq!(found.map(|process| process.pid), Some(std::process::id()), "{at}");
        }
        let here = TcpListener::bind("127.0.0.1:0").unwrap();
        let elsewhere = SocketAddr::from(([127, 0, 0, 2], here.local_addr().unwrap().port()));
        assert_eq!(listener(elsewhere), None);
        let everywhere = SocketAddr::from(([0, 0, 0, 0], elsewhere.port()));
        assert!(listener(everywhere).is_some());
    }
}
