//! `host-local`: addresses from ranges, written down in a directory of the node.

mod allocate;
pub(crate) mod config;
mod range;
mod resolv_conf;
mod store;

use fairlead_protocol::{CniError, CniResult, Code, Dns, Plugin, Request};

use config::{Config, lenient_directory};
use store::{Owner, Store};

/// The plugin.
pub struct HostLocal;

impl Plugin for HostLocal {
    fn name(&self) -> &'static str {
        "host-local"
    }

    fn add(&self, request: &Request) -> Result<CniResult, CniError> {
        let config = Config::load(request)?;
        let dns = read_resolv_conf(&config.resolv_conf)?;
        let store = Store::open(&config.directory)?;
        let owner = owner_of(request);
        let last = |set| store.last_reserved(set);
        let allocations = allocate::allocate(&config.sets, &store.leases()?, &last, &config.requested, &owner)?;
        store.reserve(&allocations, &owner)?;
        let ips = allocations.into_iter().map(|allocation| allocation.config).collect();
        Ok(CniResult { interfaces: Vec::new(), ips, routes: config.routes, dns })
    }

    fn check(&self, request: &Request) -> Result<(), CniError> {
        let config = Config::load(request)?;
        let leases = match Store::open_existing(&config.directory)? {
            Some(store) => store.leases()?,
            None => Vec::new(),
        };
        if leases.iter().any(|lease| lease.belongs_to(&owner_of(request))) {
            return Ok(());
        }
        let text = format!("host-local: Failed to find address added by container {}", request.container_id);
        Err(CniError::internal(text))
    }

    fn del(&self, request: &Request) -> Result<(), CniError> {
        let Some(store) = open_to_clean(request)? else { return Ok(()) };
        store.release(&owner_of(request))
    }

    fn gc(&self, request: &Request) -> Result<(), CniError> {
        let Some(valid) = request.valid_attachments()? else { return Ok(()) };
        let Some(store) = open_to_clean(request)? else { return Ok(()) };
        let valid: Vec<Owner> = valid
            .into_iter()
            .map(|attachment| Owner { container_id: attachment.container_id, ifname: attachment.ifname })
            .collect();
        store.retain(&valid)
    }

    fn status(&self, request: &Request) -> Result<(), CniError> {
        let config = Config::load(request)?;
        let unavailable = |error: CniError| CniError { code: Code::Unavailable, ..error };
        let leases = match Store::open_existing(&config.directory).map_err(unavailable)? {
            Some(store) => store.leases().map_err(unavailable)?,
            None => Vec::new(),
        };
        let taken = || leases.iter().filter(|lease| !lease.is_nobodys()).map(|lease| lease.ip);
        match config.sets.iter().find(|set| set.is_exhausted(taken())) {
            Some(set) => Err(allocate::exhausted(set, Code::Unavailable)),
            None => Ok(()),
        }
    }
}

fn owner_of(request: &Request) -> Owner {
    Owner { container_id: request.container_id.clone(), ifname: request.ifname.clone() }
}

/// For DEL and GC: no directory means no lease; something else in its place means that no lease could ever be written
/// there, which is worth a line to somebody but no reason to keep a pod from going away.
fn open_to_clean(request: &Request) -> Result<Option<Store>, CniError> {
    let directory = lenient_directory(request);
    let blocked = directory.ancestors().find(|part| part.exists()).filter(|part| !part.is_dir());
    if let Some(part) = blocked {
        eprintln!("host-local: {} is not a directory, so there is no address to release", part.display());
        return Ok(None);
    }
    Store::open_existing(&directory)
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
