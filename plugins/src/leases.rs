//! The leases of host-local as anybody may read them: no lock, nothing made, nothing repaired.
//!
//! ```text
//! <dataDir>/<network>/<ip>      <container id> CR LF <ifname>; before CNI 0.7 the container alone
//! ```

use std::io;
use std::net::IpAddr;
use std::path::Path;

/// One address that is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub ip: IpAddr,
    /// Empty: nobody's, as a writer that crashed leaves it.
    pub container_id: String,
    /// Empty: not said.
    pub ifname: String,
}

/// The leases of one network's directory, by address. Files of other names are no leases; one that vanishes meanwhile is
/// none either. Errors: the directory cannot be listed.
pub fn read(directory: &Path) -> io::Result<Vec<Lease>> {
    let mut leases = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let Some(ip) = entry.file_name().to_str().and_then(|name| name.parse::<IpAddr>().ok()) else { continue };
        // A fifo would keep us waiting.
        if !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let Ok(content) = std::fs::read(entry.path()) else { continue };
        leases.push(parse(ip.to_canonical(), &content));
    }
    leases.sort_by_key(|lease| lease.ip);
    Ok(leases)
}

/// What a file says, white space at its ends left aside.
pub fn parse(ip: IpAddr, content: &[u8]) -> Lease {
    let text = String::from_utf8_lossy(content);
    let (container_id, ifname) = text.trim().split_once("\r\n").unwrap_or((text.trim(), ""));
    Lease { ip, container_id: container_id.to_owned(), ifname: ifname.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_no_leases_are_left_aside() {
        let place = tempfile::tempdir().unwrap();
        let files = [
            ("10.1.0.10", "one\r\neth0"),
            ("10.1.0.9", "two"),
            ("fd00::2", ""),
            ("last_reserved_ip.0", "10.1.0.10"),
            ("lock", ""),
        ];
        for (name, text) in files {
            std::fs::write(place.path().join(name), text).unwrap();
        }
        let leases = read(place.path()).unwrap();
        let told: Vec<_> = leases.iter().map(|l| format!("{} {:?} {:?}", l.ip, l.container_id, l.ifname)).collect();
        assert_eq!(told, ["10.1.0.9 \"two\" \"\"", "10.1.0.10 \"one\" \"eth0\"", "fd00::2 \"\" \"\""]);
    }
}
