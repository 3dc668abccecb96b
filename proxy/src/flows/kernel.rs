//! Has the kernel end what is stale: flows by ctnetlink in the daemon's network namespace; sockets by what the hooks left in
//! them (of all namespaces at once), and if any is stale by sock_diag in every namespace that can be found. The namespaces of pods are seen where container runtimes name them and by their processes
//! (mount `/run/netns`, or `hostPID`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Instant;

use fairlead_ebpf_shared::Origin;
use fairlead_kernel::addr;
use fairlead_kernel::bpf::{Map, SocketStorage};
use fairlead_kernel::conntrack::{Version, forget_udp};
use fairlead_kernel::error::{Errno, Error, Result};
use fairlead_kernel::netlink::Socket;
use fairlead_kernel::netns::Netns;
use fairlead_kernel::sock_diag::{SockDiag, is_unsupported};
use fairlead_proxy_model::{Family, ip_addr};
use zerocopy::FromBytes;

use super::{Clean, Cleaned, Order};
use crate::maps::namespaces;

/// Sockets that are ended in one run; the next finds the rest.
const AT_ONCE: usize = 65_536;

/// The kernel's part.
#[derive(Debug)]
pub struct Kernel {
    /// In what the connect hooks leave what was asked for; the error: why it cannot be read.
    origins: std::result::Result<SocketStorage, String>,
    /// Why no socket can be ended here.
    cannot: Option<String>,
}

impl Kernel {
    /// `origins`: the map `ORIGINS`.
    pub fn new(origins: Map) -> Self {
        let origins = SocketStorage::open(origins).map_err(|error| {
            let hint = if is_denied(&error) { "; give the daemon CAP_PERFMON too" } else { "" };
            cannot(&format!("{error}{hint}"))
        });
        Self { origins, cannot: None }
    }

    /// In the namespaces at `paths`.
    pub(super) fn end_sockets(&mut self, order: &Order, paths: impl FnOnce() -> Vec<PathBuf>, cleaned: &mut Cleaned) {
        if !order.sockets {
            return;
        }
        let origins = match (&self.origins, &self.cannot) {
            (Ok(origins), None) => origins,
            (Err(reason), _) | (_, Some(reason)) => {
                cleaned.impossible.push(reason.clone());
                return;
            }
        };
        let mut stale = match Stale::among(origins, order) {
            Ok(stale) => stale,
            Err(error) => {
                cleaned.failed.push(error.to_string());
                return;
            }
        };
        if stale.0.is_empty() {
            return;
        }
        for path in paths() {
            let door = Netns::open(&path).and_then(|netns| SockDiag::open_in(&netns));
            let ended = match door {
                Ok(mut door) => stale.end(&mut door),
                // A namespace may go at any moment.
                Err(error) if error.is_not_found() || error.is_not_a_namespace() => continue,
                Err(error) if is_denied(&error) => {
                    cleaned.impossible.push(format!(
                        "sockets in other network namespaces stay with them: {}; give the daemon CAP_SYS_ADMIN",
                        error.cause
                    ));
                    continue;
                }
                Err(error) => Err(error),
            };
            match ended {
                Ok(ended) => cleaned.sockets += ended,
                Err(error) if is_unsupported(&error) => {
                    let reason = cannot(&format!("the kernel has no {} ({error})", option(&error)));
                    cleaned.impossible.push(reason.clone());
                    self.cannot = Some(reason);
                    return;
                }
                Err(error) => cleaned.failed.push(format!("network namespace {}: {error}", path.display())),
            }
            if stale.0.is_empty() {
                return;
            }
        }
    }
}

/// Cookies of sockets that a hook led to an endpoint that is gone, and that endpoint. A socket that was ended and not used
/// again keeps what the hook left in it, and is no longer connected.
struct Stale(BTreeMap<u64, SocketAddr>);

impl Stale {
    fn among(origins: &SocketStorage, order: &Order) -> Result<Self> {
        let mut stale = BTreeMap::new();
        origins.each(|cookie, origin| {
            let Ok((origin, _)) = Origin::read_from_prefix(origin) else { return };
            let vip = SocketAddr::new(ip_addr(origin.vip), origin.vip_port.get());
            let backend = SocketAddr::new(ip_addr(origin.backend), origin.backend_port.get());
            if stale.len() < AT_ONCE && order.is_stale_socket(vip, backend) {
                stale.insert(cookie, backend);
            }
        })?;
        Ok(Self(stale))
    }

    /// Ends those of the door's namespace, as long as they are connected to what they were led to.
    fn end(&mut self, door: &mut SockDiag) -> Result<u64> {
        let peers: BTreeSet<SocketAddr> = self.0.values().copied().collect();
        let mut found = Vec::new();
        door.connected_udp(&Vec::from_iter(peers), |socket| {
            if self.0.get(&socket.cookie) == Some(&socket.peer) {
                found.push(socket);
            }
        })?;
        let mut ended = 0;
        for socket in &found {
            ended += u64::from(door.destroy(socket)?);
            self.0.remove(&socket.cookie);
        }
        Ok(ended)
    }
}

impl Clean for Kernel {
    fn clean(&mut self, order: &Order) -> Cleaned {
        let mut cleaned = Cleaned::default();
        forget_flows(order, &mut cleaned);
        self.end_sockets(order, namespaces::everywhere, &mut cleaned);
        cleaned.impossible.dedup();
        cleaned
    }
}

/// In the thread's namespace.
pub(super) fn forget_flows(order: &Order, cleaned: &mut Cleaned) {
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

fn is_denied(error: &Error) -> bool {
    matches!(error.errno(), Some(Errno::EPERM | Errno::EACCES))
}

fn own_addresses() -> Result<BTreeSet<IpAddr>> {
    Ok(addr::list(&mut Socket::open()?, 0)?.into_iter().map(|address| address.net.addr()).collect())
}

fn option(error: &Error) -> &'static str {
    match error.errno() {
        Some(Errno::EOPNOTSUPP) => "CONFIG_INET_DIAG_DESTROY",
        _ => "CONFIG_INET_UDP_DIAG (module udp_diag)",
    }
}

fn cannot(reason: &str) -> String {
    format!("connected UDP sockets stay with them until their applications connect again: {reason}")
}
