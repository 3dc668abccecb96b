//! Has the kernel end what is stale: flows by ctnetlink in the daemon's network namespace, sockets by sock_diag in every
//! namespace that can be found. The namespaces of pods are seen where container runtimes name them and by their processes
//! (mount `/run/netns`, or `hostPID`).

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Instant;

use fairlead_ebpf_shared::Origin;
use fairlead_kernel::addr;
use fairlead_kernel::bpf::Map;
use fairlead_kernel::conntrack::{Version, forget_udp};
use fairlead_kernel::error::{Errno, Error, Result};
use fairlead_kernel::netlink::Socket;
use fairlead_kernel::netns::Netns;
use fairlead_kernel::sock_diag::{ConnectedUdp, SockDiag, is_unsupported};
use fairlead_proxy_model::{Family, ip_addr};
use zerocopy::FromBytes;

use super::{Clean, Cleaned, Order, Sockets};
use crate::maps::namespaces;

/// Sockets that are ended at a time.
const AT_ONCE: usize = 4096;

/// The kernel's part.
#[derive(Debug)]
pub struct Kernel {
    origins: Map,
    /// Why no socket can be ended here.
    cannot: Option<String>,
}

impl Kernel {
    /// `origins`: the socket storage in which the connect hooks leave what was asked for.
    pub fn new(origins: Map) -> Self {
        Self { origins, cannot: None }
    }

    /// In the namespaces at `paths`.
    fn end_sockets(&mut self, order: &Order, paths: impl FnOnce() -> Vec<PathBuf>, cleaned: &mut Cleaned) {
        let peers = match &order.sockets {
            Sockets::None => return,
            Sockets::Of(peers) => peers.as_slice(),
            Sockets::All => &[],
        };
        for path in paths() {
            if self.cannot.is_some() {
                break;
            }
            let door = Netns::open(&path).and_then(|netns| SockDiag::open_in(&netns));
            let ended = match door {
                Ok(mut door) => self.end_sockets_of(&mut door, order, peers),
                // A namespace may go at any moment.
                Err(error) if error.is_not_found() || error.is_not_a_namespace() => continue,
                Err(error) if is_denied(&error) => {
                    cleaned.impossible.push(format!("their sockets in pods cannot be ended: {error}"));
                    continue;
                }
                Err(error) => Err(error),
            };
            match ended {
                Ok(ended) => cleaned.sockets += ended,
                Err(error) if is_unsupported(&error) => self.cannot = Some(cannot(&error)),
                Err(error) => cleaned.failed.push(format!("network namespace {}: {error}", path.display())),
            }
        }
        cleaned.impossible.extend(self.cannot.clone());
    }

    fn end_sockets_of(&self, door: &mut SockDiag, order: &Order, peers: &[SocketAddr]) -> Result<u64> {
        let mut ended = 0;
        loop {
            let mut stale = Vec::new();
            door.connected_udp(peers, Some(self.origins.as_fd()), |socket| {
                if stale.len() < AT_ONCE
                    && asked_for(&socket).is_some_and(|vip| order.is_stale_socket(vip, socket.peer))
                {
                    stale.push(socket);
                }
            })?;
            let before = ended;
            for socket in &stale {
                ended += u64::from(door.destroy(socket)?);
            }
            if stale.len() < AT_ONCE || ended == before {
                return Ok(ended);
            }
        }
    }
}

impl Clean for Kernel {
    fn clean(&mut self, order: &Order) -> Cleaned {
        let mut cleaned = Cleaned::default();
        forget_flows(order, &mut cleaned);
        self.end_sockets(order, namespaces::everywhere, &mut cleaned);
        cleaned
    }
}

/// In the thread's namespace.
fn forget_flows(order: &Order, cleaned: &mut Cleaned) {
    let own = match order.has_node_ports() {
        true => own_addresses(),
        false => Ok(BTreeSet::new()),
    };
    let own = own.unwrap_or_else(|error| {
        cleaned.failed.push(error.to_string());
        BTreeSet::new()
    });
    for (family, port) in order.flows() {
        let begun = Instant::now();
        let version = match family {
            Family::V4 => Version::V4,
            Family::V6 => Version::V6,
        };
        match forget_udp(version, port, |flow| order.is_stale_flow(flow.asked, flow.answered, &own)) {
            Ok(deleted) => cleaned.flows.push((family, begun.elapsed(), deleted)),
            Err(error) => cleaned.failed.push(error.to_string()),
        }
    }
}

/// What the socket asked for, if a hook led it to where it is connected now.
fn asked_for(socket: &ConnectedUdp) -> Option<SocketAddr> {
    let (origin, _) = Origin::read_from_prefix(socket.storage.as_deref()?).ok()?;
    let backend = SocketAddr::new(ip_addr(origin.backend), origin.backend_port.get());
    (backend == socket.peer).then(|| SocketAddr::new(ip_addr(origin.vip), origin.vip_port.get()))
}

fn is_denied(error: &Error) -> bool {
    matches!(error.errno(), Some(Errno::EPERM | Errno::EACCES))
}

fn own_addresses() -> Result<BTreeSet<IpAddr>> {
    Ok(addr::list(&mut Socket::open()?, 0)?.into_iter().map(|address| address.net.addr()).collect())
}

fn cannot(error: &Error) -> String {
    let option = match error.errno() {
        Some(Errno::EOPNOTSUPP) => "CONFIG_INET_DIAG_DESTROY",
        _ => "CONFIG_INET_UDP_DIAG (module udp_diag)",
    };
    format!(
        "connected UDP sockets stay with them until their applications connect again: the kernel has no {option} ({error})"
    )
}
