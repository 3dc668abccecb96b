//! What there is: the attachments that runtimes keep results of, and what of ours stands in the kernel.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use fairlead_kernel::Error;
use fairlead_kernel::error::Errno;
use fairlead_kernel::netns::Netns;
use fairlead_kernel::nft::{Masqueraded, Nftables, Protected};
use fairlead_protocol::{CniError, gojson};
use serde_json::Value;

use crate::cnitool::{Cache, DIRECTORY, Found, LEASES, PluginConfig, data_directories, parse_plugin};
use crate::ipam::host_local::INDEX;
use crate::state;

/// Where the reference's `flannel` keeps what it delegated, unless it is told otherwise.
const FLANNEL: &str = "/var/lib/cni/flannel";

/// What of ours stands in the kernel, with its owners.
#[derive(Debug, Default)]
pub struct Standing {
    pub masqueraded: Vec<Masqueraded>,
    /// Owner, and the forward in words.
    pub forwards: Vec<(String, String)>,
    /// Owner, and the address that is admitted if it is one.
    pub admitted: Vec<(String, Option<std::net::IpAddr>)>,
    pub protected: Vec<Protected>,
}

/// The attachments, and a line for each file that cannot be read. Errors: the directory cannot be listed.
pub fn attachments() -> Result<(Vec<Found>, Vec<String>), CniError> {
    Cache::new(Path::new(DIRECTORY)).entries()
}

/// Whether a runtime still keeps the attachment: its DEL ends with forgetting it.
pub fn is_kept(found: &Found) -> bool {
    Cache::new(Path::new(DIRECTORY)).file(&found.network, &found.attachment).exists()
}

/// A socket of nf_tables; `None` on a kernel without, where nothing of ours can be.
pub fn open() -> Result<Option<Nftables>, Error> {
    match Nftables::open() {
        Ok(mut nft) => match nft.probe() {
            Err(error) if error.errno() == Some(Errno::EINVAL) => Ok(None),
            _ => Ok(Some(nft)),
        },
        Err(error) if error.errno() == Some(Errno::EPROTONOSUPPORT) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Standing {
    /// Asks the kernel.
    pub fn look(nft: &mut Nftables) -> Result<Standing, Error> {
        Ok(Standing {
            masqueraded: there(nft.masqueraded())?,
            forwards: there(nft.forwards())?.into_iter().map(|one| (one.owner, one.forward.to_string())).collect(),
            admitted: there(nft.admitted())?,
            protected: there(nft.protected())?,
        })
    }

    /// Everything that there can be, of one owner.
    #[cfg(any(test, feature = "fuzz"))]
    pub fn of(owner: &str) -> Standing {
        let (address, owner) = (std::net::Ipv4Addr::new(10, 1, 0, 2).into(), owner.to_owned());
        let mac = fairlead_kernel::Mac([2, 0, 0, 0, 0, 1]);
        Standing {
            masqueraded: vec![Masqueraded { address, owner: owner.clone() }],
            forwards: vec![(owner.clone(), "tcp port 8080 to 10.1.0.2:80".into())],
            admitted: vec![(owner.clone(), Some(address)), (owner.clone(), None)],
            protected: vec![Protected { port: "veth1".into(), mac, owner }],
        }
    }
}

/// Where the table is not there, nothing is in it.
fn there<T>(listed: Result<Vec<T>, Error>) -> Result<Vec<T>, Error> {
    listed.or_else(|error| if error.is_not_found() { Ok(Vec::new()) } else { Err(error) })
}

/// Takes away what our `host-local` remembers beside its leases: those are the reference's own, and say the same.
pub fn forget_indexes(attachments: &[Found]) {
    let said = attachments.iter().flat_map(|found| data_directories(&found.config));
    let stores: BTreeSet<PathBuf> = said.chain([PathBuf::from(LEASES)]).collect();
    for network in stores.iter().filter_map(|store| fs::read_dir(store).ok()).flatten().flatten() {
        // One that stays is read by nobody, and believed by nobody who finds other files beside it.
        let _ = fs::remove_file(network.path().join(INDEX));
    }
}

/// Whether there is a namespace where the attachment says. One that cannot be looked at may live.
pub fn is_alive(netns: &str) -> bool {
    netns.is_empty()
        || Netns::open(netns).err().is_none_or(|error| !error.is_not_found() && !error.is_not_a_namespace())
}

/// What `flannel` delegated for an attachment.
pub fn delegated(flannel: &PluginConfig, found: &Found) -> Option<PluginConfig> {
    let object = Value::Object(flannel.object.clone());
    let said = gojson::lookup(&object, "dataDir").and_then(Value::as_str).unwrap_or_default();
    let directory = state::directory("dataDir", said, FLANNEL).ok()?;
    let (container, ifname) = (&found.attachment.container_id, &found.attachment.ifname);
    let names = [format!("{container}:{ifname}"), container.clone()];
    let text = names.iter().find_map(|name| state::load(&directory, name).ok().flatten())?;
    parse_plugin(&text).ok()
}
