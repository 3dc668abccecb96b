//! Everything on this node that knows of attachments. What cannot be asked is a line for people, and the rest is shown.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use fairlead_kernel::link;
use fairlead_kernel::netlink::Socket;
use fairlead_kernel::netns::Netns;
use fairlead_kernel::nft::Nftables;
use fairlead_protocol::{CniError, CniResult, gojson};
use serde_json::Value;

use super::super::cache::{self, Cache};
use crate::leases::{self, Lease};

/// Where host-local keeps its leases unless it is told otherwise.
pub const LEASES: &str = "/var/lib/cni/networks";

/// What all of them said.
#[derive(Debug, Default)]
pub struct Sources {
    pub kept: Vec<Kept>,
    pub links: Vec<LinkFound>,
    /// With the name of their network.
    pub leases: Vec<(String, Lease)>,
    /// Address and comment.
    pub masqueraded: Vec<(String, String)>,
    /// Who could not be asked, and why.
    pub troubles: Vec<String>,
}

/// An attachment that a runtime keeps the result of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    pub network: String,
    pub container: String,
    pub ifname: String,
    pub addresses: Vec<String>,
    pub netns: String,
    pub netns_state: State,
    /// The veth of the result that is in no sandbox; empty: the result names none.
    pub host_end: String,
}

/// A veth with an alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkFound {
    pub name: String,
    pub alias: String,
}

/// Of a namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    Alive,
    Gone,
    #[default]
    Unknown,
}

impl Sources {
    /// Asks everybody. Errors: the cache cannot be listed.
    pub fn gather(config_directory: &Path) -> Result<Sources, CniError> {
        let mut sources = Sources::default();
        let mut stores = BTreeSet::from([PathBuf::from(LEASES)]);
        let (entries, troubles) = Cache::new(Path::new(cache::DIRECTORY)).entries()?;
        sources.troubles = troubles;
        for entry in &entries {
            stores.extend(data_directories(&entry.config));
            sources.kept.push(kept(entry));
        }
        for file in super::super::config::configurations(config_directory).unwrap_or_default() {
            stores.extend(data_directories(&fs::read(file).unwrap_or_default()));
        }
        for store in stores {
            sources.read_store(&store);
        }
        sources.ask_kernel();
        Ok(sources)
    }

    /// Every network's leases below a `dataDir`.
    fn read_store(&mut self, store: &Path) {
        let networks = match fs::read_dir(store) {
            Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => return,
            Err(error) => return self.troubles.push(format!("cannot list leases in {}: {error}", store.display())),
            Ok(networks) => networks,
        };
        for network in networks.flatten().filter(|entry| entry.path().is_dir()) {
            let Ok(name) = network.file_name().into_string() else { continue };
            match leases::read(&network.path()) {
                Ok(found) => self.leases.extend(found.into_iter().map(|lease| (name.clone(), lease))),
                Err(error) => {
                    self.troubles.push(format!("cannot list leases in {}: {error}", network.path().display()))
                }
            }
        }
    }

    fn ask_kernel(&mut self) {
        match Socket::open().and_then(|mut socket| link::list(&mut socket)) {
            Ok(links) => self.links.extend(
                links
                    .into_iter()
                    .filter(|link| link.is("veth"))
                    .map(|link| LinkFound { name: link.name, alias: link.alias.unwrap_or_default() }),
            ),
            Err(error) => self.troubles.push(error.to_string()),
        }
        match Nftables::open().and_then(|mut nftables| nftables.masqueraded()) {
            Ok(found) => self.masqueraded.extend(found.into_iter().map(|one| (one.address.to_string(), one.owner))),
            Err(error) if error.is_not_found() => {}
            Err(error) => self.troubles.push(error.to_string()),
        }
    }
}

fn kept(entry: &cache::Found) -> Kept {
    let result =
        entry.result.as_ref().and_then(|value| CniResult::from_value(value, "").ok()).map(|(result, _)| result);
    let result = result.unwrap_or_default();
    let ours = |ip: &&fairlead_protocol::IpConfig| {
        let of = ip.interface.and_then(|index| result.interfaces.get(usize::try_from(index).ok()?));
        of.is_none_or(|interface| interface.name == entry.attachment.ifname)
    };
    // The order of a bridge's result is bridge, veth, container; of a ptp's veth, container: the end is before its sandbox.
    let inside = result.interfaces.iter().position(|i| !i.sandbox.is_empty() && i.name == entry.attachment.ifname);
    let before = inside.and_then(|inside| inside.checked_sub(1)).and_then(|at| result.interfaces.get(at));
    Kept {
        network: entry.network.clone(),
        container: entry.attachment.container_id.clone(),
        ifname: entry.attachment.ifname.clone(),
        addresses: result.ips.iter().filter(ours).map(|ip| ip.address.to_string()).collect(),
        netns: entry.attachment.netns.clone(),
        netns_state: netns_state(&entry.attachment.netns),
        host_end: before.filter(|i| i.sandbox.is_empty()).map(|i| i.name.clone()).unwrap_or_default(),
    }
}

fn netns_state(path: &str) -> State {
    if path.is_empty() {
        return State::Unknown;
    }
    match Netns::open(path) {
        Ok(_) => State::Alive,
        Err(error) if error.is_not_found() || error.is_not_a_namespace() => State::Gone,
        Err(_) => State::Unknown,
    }
}

/// Every `dataDir` of an `ipam` in a configuration.
pub fn data_directories(config: &[u8]) -> Vec<PathBuf> {
    let Ok(root) = gojson::parse(config) else { return Vec::new() };
    let plugins = root.get("plugins").and_then(Value::as_array).cloned().unwrap_or_else(|| vec![root]);
    let directory = |plugin: &Value| {
        let directory = gojson::lookup(gojson::lookup(plugin, "ipam")?, "dataDir")?.as_str()?;
        directory.starts_with('/').then(|| PathBuf::from(directory))
    };
    plugins.iter().filter_map(directory).collect()
}
