//! The pair, named after its attachment.
//!
//! The kernel takes no alias for a link that is being made, so a process that is killed at the wrong time leaves an end
//! that says nothing. Therefore name and hardware address of the host's end are derived: DEL finds it by the name, GC
//! knows by the address which network it belongs to.

use fairlead_kernel::link::{self, VethEnd, VethPair};
use fairlead_kernel::{Mac, sysctl};
use fairlead_protocol::{CniError, CniResult, Interface, Request};

use super::made::Made;
use crate::container::failed;
use crate::doors::Doors;
use crate::owner;

/// One end as it is in the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Its name.
    pub name: String,
    /// Its index in its namespace.
    pub index: u32,
    /// Its hardware address.
    pub mac: Mac,
}

/// The two ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// On the node.
    pub host: End,
    /// In the container.
    pub container: End,
}

/// What is asked of a pair.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted {
    /// Hardware address of the container's end; `None`: a random one.
    pub mac: Option<Mac>,
    /// Bytes, of both ends; `None`: the kernel's.
    pub mtu: Option<u32>,
    /// Index of the bridge whose port the host's end is.
    pub master: Option<u32>,
}

/// Makes the pair: the host's end up, the container's still down. The caller gives the alias, with whatever else it sets.
pub fn connect(request: &Request, wanted: Wanted, doors: &mut Doors, made: &mut Made<'_>) -> Result<Pair, CniError> {
    let mac = wanted.mac.unwrap_or_else(Mac::random);
    for name in owner::host_ends(&made.mark.clone()) {
        let host_mac = owner::host_mac(&request.name, &name);
        let pair = VethPair {
            here: VethEnd { name: name.clone(), mac: Some(host_mac), mtu: wanted.mtu, up: true },
            master: wanted.master,
            there: VethEnd { name: request.ifname.clone(), mac: Some(mac), mtu: wanted.mtu, up: false },
            netns: Some(&doors.netns),
        };
        match link::create_veth(&mut doors.host, &pair) {
            Ok(indices) => {
                made.paired(indices.here);
                // The container does not advertise routes to its node; a kernel without IPv6 has no such key.
                let _ = sysctl::put_if_present(&format!("net/ipv6/conf/{name}/accept_ra"), "0");
                let container = End { name: request.ifname.clone(), index: indices.there, mac };
                return Ok(Pair { host: End { name, index: indices.here, mac: host_mac }, container });
            }
            Err(error) if error.is_exists() => {
                if link::get_by_name(&mut doors.pod, &request.ifname).is_ok() {
                    let text =
                        format!("container veth name ({:?}) peer provided ({name:?}) already exists", request.ifname);
                    return Err(CniError::internal(text));
                }
            }
            Err(error) => return Err(failed(error)),
        }
    }
    Err(CniError::internal("failed to find a unique veth name"))
}

impl Pair {
    /// The ends as a result says them, behind `before`.
    pub fn told(&self, request: &Request, before: Vec<Interface>, result: CniResult) -> CniResult {
        let container = Interface { sandbox: request.netns.clone(), ..interface(&self.container) };
        let interfaces = before.into_iter().chain([interface(&self.host), container]).collect();
        CniResult { interfaces, ..result }
    }
}

/// A link of the node as a result says it.
pub fn interface(end: &End) -> Interface {
    Interface { name: end.name.clone(), mac: end.mac.to_string(), ..Interface::default() }
}
