//! The last steps of an ADD: frames pass, and whoever remembers an earlier owner of the addresses learns of the new one.

use std::time::Duration;

use fairlead_kernel::announce as tell;
use fairlead_kernel::link::{self, Link};
use fairlead_kernel::neigh::{self, Neighbour};
use fairlead_kernel::netlink::Socket;
use fairlead_kernel::nft::Nftables;
use fairlead_protocol::{CniError, Code};
use ipnet::IpNet;

use super::pair::Pair;
use crate::container::failed;
use crate::doors::Doors;

/// How long a link may take to carry frames: what the reference waits in all.
const LIMIT: Duration = Duration::from_millis(2550);

/// Waits until the host's end carries frames; gives it as it was last seen, ready or not.
pub fn wait(pair: &Pair, host: &mut Socket) -> Result<Link, CniError> {
    link::wait_until_forwarding(host, pair.host.index, LIMIT).map_err(failed)
}

/// Announces the container's addresses, and tells the node itself where they are: on the link `node`, if it is given. A
/// neighbour that cannot be told finds out by itself, later: no reason to fail.
pub fn announce(addresses: &[IpNet], node: Option<u32>, pair: &Pair, doors: &mut Doors) {
    if addresses.is_empty() {
        return;
    }
    let mac = pair.container.mac;
    let _ = tell::announce(&mut doors.pod, pair.container.index, mac);
    let Some(link) = node else { return };
    for net in addresses {
        let entry = Neighbour { address: net.addr(), mac: Some(mac), link, state: neigh::State::Reachable };
        let _ = neigh::replace(&mut doors.host, &entry);
    }
}

/// STATUS: what `key` of the configuration needs is there. Errors: code 51.
pub fn nftables(key: &str) -> Result<(), CniError> {
    let probed = Nftables::open().and_then(|mut nft| nft.probe());
    probed.map_err(|error| {
        let text = format!("{key} needs nf_tables: {error}: load the kernel module nf_tables");
        CniError::new(Code::Limited, text)
    })
}
