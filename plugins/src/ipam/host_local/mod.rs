//! `host-local`: addresses from ranges, written down in a directory of the node.

mod allocate;
mod boot;
pub(crate) mod config;
mod directory;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod index;
mod lease;
mod lock;
pub mod operator;
mod range;
mod resolv_conf;
mod store;

pub use index::INDEX;

use std::net::IpAddr;
use std::path::Path;

use fairlead_protocol::{CniError, CniResult, Code, Dns, Plugin, Request};
use nix::unistd::{AccessFlags, access};

use config::{Config, lenient_directory};
use lease::Owner;
use lock::Purpose;
use range::RangeSet;
use store::{Reserved, Store};

/// How often an ADD decides anew when somebody who does not take the lock is faster.
const TRIES: usize = 5;

/// The plugin.
pub struct HostLocal;

impl Plugin for HostLocal {
    fn name(&self) -> &'static str {
        "host-local"
    }

    fn add(&self, request: &Request) -> Result<CniResult, CniError> {
        let config = Config::load(request)?;
        let dns = read_resolv_conf(&config.resolv_conf)?;
        let ips = lease_addresses(&config, &owner_of(request))?;
        Ok(CniResult { interfaces: Vec::new(), ips, routes: config.routes, dns })
    }

    fn check(&self, request: &Request) -> Result<(), CniError> {
        let config = Config::load(request)?;
        let owner = owner_of(request);
        let held = match Store::open_existing(&config.directory, Purpose::Look)? {
            Some(mut store) => store.holds(&owner)?,
            None => false,
        };
        if held {
            return Ok(());
        }
        let text = format!("host-local: Failed to find address added by container {}", request.container_id);
        Err(CniError::internal(text))
    }

    fn del(&self, request: &Request) -> Result<(), CniError> {
        let Some(mut store) = open_to_clean(request)? else { return Ok(()) };
        store.release(&owner_of(request))
    }

    fn gc(&self, request: &Request) -> Result<(), CniError> {
        let Some(valid) = request.valid_attachments()? else { return Ok(()) };
        let Some(mut store) = open_to_clean(request)? else { return Ok(()) };
        let valid: Vec<Owner> = valid
            .into_iter()
            .map(|attachment| Owner { container_id: attachment.container_id, ifname: attachment.ifname })
            .collect();
        let left_alone = store.retain(&valid)?;
        for name in left_alone {
            crate::complain(format_args!("host-local: {name} in {} is no lease: left alone", store.path().display()));
        }
        Ok(())
    }

    fn status(&self, request: &Request) -> Result<(), CniError> {
        let config = Config::load(request)?;
        let unavailable = |error: CniError| CniError { code: Code::Unavailable, ..error };
        can_write(&config.directory, config.sets.len() as u64).map_err(unavailable)?;
        match Store::open_existing(&config.directory, Purpose::Look).map_err(unavailable)? {
            Some(mut store) => config.sets.iter().try_for_each(|set| has_room(&mut store, set)).map_err(unavailable),
            None => config
                .sets
                .iter()
                .find(|set| set.capacity() == 0)
                .map_or(Ok(()), |set| Err(allocate::exhausted(set, Code::Unavailable))),
        }
    }
}

/// Decides and writes, under one lock.
fn lease_addresses(config: &Config, owner: &Owner) -> Result<Vec<fairlead_protocol::IpConfig>, CniError> {
    let mut store = Store::open(&config.directory)?;
    for _ in 0..TRIES {
        let mut last: Vec<_> = (0..config.sets.len()).map(|set| store.last_reserved(set)).collect();
        let hints: Vec<Option<IpAddr>> = last.iter().map(|last| last.ip).collect();
        let decide =
            |index: &mut index::Index| allocate::allocate(&config.sets, index, &hints, &config.requested, owner);
        let allocations = store.consult_surely(decide).inspect_err(|_| store.settle())?;
        match store.reserve(&allocations, &mut last, owner)? {
            Reserved::All => return Ok(allocations.into_iter().map(|allocation| allocation.config).collect()),
            Reserved::Taken => store.rebuild().map(|_| ())?,
        }
    }
    let text = format!("somebody writes to {} without taking its lock", store.path().display());
    Err(CniError::new(Code::TryAgainLater, text))
}

/// Whether a set could serve an ADD.
fn has_room(store: &mut Store, set: &RangeSet) -> Result<(), CniError> {
    store.consult_surely(|index| allocate::pick(set, None, index).map(|found| found.map(|_| ())))
}

/// Whether that many leases could be written, found out without writing: the directory, or the nearest one above that is
/// there. Each needs an inode and a block.
fn can_write(directory: &Path, leases: u64) -> Result<(), CniError> {
    let refused = |path: &Path, reason: String| {
        Err(CniError::new(Code::Io, format!("no lease can be written to {}: {reason}", path.display())))
    };
    let Some(found) = directory.ancestors().find(|path| path.symlink_metadata().is_ok()) else { return Ok(()) };
    if !found.is_dir() {
        return refused(found, "it is not a directory; move it away, or set another `dataDir`".to_owned());
    }
    if let Err(errno) = access(found, AccessFlags::W_OK | AccessFlags::X_OK) {
        return refused(found, format!("{}; make it writable, or set another `dataDir`", errno.desc()));
    }
    match nix::sys::statvfs::statvfs(found) {
        Ok(space) if space.blocks_available() < leases => refused(found, "no space is left on the device".to_owned()),
        Ok(space) if space.files() > 0 && space.files_available() < leases => {
            refused(found, "no inode is left on the device".to_owned())
        }
        _ => Ok(()),
    }
}

fn owner_of(request: &Request) -> Owner {
    Owner { container_id: request.container_id.clone(), ifname: request.ifname.clone() }
}

/// For DEL and GC: no directory means no lease; something else in its place means that no lease could ever be written
/// there, which is worth a line to somebody but no reason to keep a pod from going away.
fn open_to_clean(request: &Request) -> Result<Option<Store>, CniError> {
    let directory = lenient_directory(request);
    match Store::open_existing(&directory, Purpose::Release) {
        Err(error) => match directory.ancestors().find(|part| part.exists()).filter(|part| !part.is_dir()) {
            Some(part) => {
                crate::complain(format_args!(
                    "host-local: {} is not a directory, so there is no address to release",
                    part.display()
                ));
                Ok(None)
            }
            None => Err(error),
        },
        opened => opened,
    }
}

fn read_resolv_conf(path: &str) -> Result<Dns, CniError> {
    if path.is_empty() {
        return Ok(Dns::default());
    }
    let text = std::fs::read(path).map_err(|error| CniError::new(Code::Io, format!("open {path}: {error}")))?;
    Ok(resolv_conf::parse(&String::from_utf8_lossy(&text)))
}

#[cfg(test)]
mod tests;
