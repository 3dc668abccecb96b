//! The two sockets of an ADD: one acts on the node, one in the container. The thread stays where it is.

use fairlead_kernel::netlink::Socket;
use fairlead_kernel::netns::Netns;
use fairlead_protocol::{CniError, Request};

use crate::container::{failed, open_netns};

/// Node and container.
pub struct Doors {
    /// rtnetlink of the node.
    pub host: Socket,
    /// rtnetlink of the container.
    pub pod: Socket,
    /// The container's namespace.
    pub netns: Netns,
}

impl Doors {
    /// Opens both. Errors: code 8 when `CNI_NETNS` is not there or not a network namespace.
    pub fn open(request: &Request) -> Result<Doors, CniError> {
        let netns = open_netns(request)?;
        let host = Socket::open().map_err(failed)?;
        let pod = Socket::open_in(&netns).map_err(failed)?;
        Ok(Doors { host, pod, netns })
    }
}
