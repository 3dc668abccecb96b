//! What this machine says: where the default route goes, which plugins are installed, which lists lie beside one.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use fairlead_kernel::netlink::Socket;
use fairlead_kernel::{link, route};
use fairlead_protocol::delegate;

use super::Uplink;
use super::document::{self, Node};

/// Where runtimes look for plugins when nobody tells them otherwise.
const USUAL_PATH: &str = "/opt/cni/bin";

/// The machine, looked at once.
pub struct Machine {
    /// `None`: there is no default route, or it could not be asked for.
    pub uplink: Option<Uplink>,
    /// Directories of plugins. `None`: nobody said, and the usual one is not there.
    pub path: Option<String>,
}

impl Machine {
    /// Looks. What cannot be seen is left out: a configuration can be linted on any machine.
    pub fn look(path: &str) -> Machine {
        let usual = || Path::new(USUAL_PATH).is_dir().then(|| USUAL_PATH.to_owned());
        let path = if path.is_empty() { usual() } else { Some(path.to_owned()) };
        Machine { uplink: uplink(), path }
    }

    /// Why there is no such plugin.
    pub fn missing(&self, kind: &str) -> Option<String> {
        delegate::find_in_path(kind, self.path.as_deref()?).err().map(|error| error.to_string())
    }
}

/// The device of the default route with the least metric, IPv4 before IPv6.
fn uplink() -> Option<Uplink> {
    let mut socket = Socket::open().ok()?;
    let routes = route::list(&mut socket, 0).ok()?;
    let by_rank = |route: &&route::Route| (route.destination.addr().is_ipv6(), route.priority.unwrap_or(0));
    let is_default = |route: &&route::Route| {
        route.destination.prefix_len() == 0 && route.table == route::TABLE_MAIN && route.gateway.is_some_and(is_real)
    };
    let default = routes.iter().filter(is_default).min_by_key(by_rank)?;
    let device = link::get_by_index(&mut socket, default.link).ok()?;
    Some(Uplink { name: device.name, mtu: device.mtu })
}

fn is_real(gateway: IpAddr) -> bool {
    !gateway.is_unspecified()
}

/// Why a file cannot be read.
pub fn unreadable(file: &str) -> Option<String> {
    std::fs::read(file).err().map(|error| format!("cannot read {file}: {error}"))
}

/// The other configurations of the file's directory that can be read.
pub fn neighbours(file: &Path) -> Vec<(String, Node)> {
    let directory = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let files = super::super::config::configurations(&directory).unwrap_or_default();
    let others = files.into_iter().filter(|other| other.file_name() != file.file_name());
    others
        .filter_map(|other| {
            let text = std::fs::read(&other).ok()?;
            let name = other.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Some((name, document::read(&String::from_utf8_lossy(&text))?))
        })
        .collect()
}
