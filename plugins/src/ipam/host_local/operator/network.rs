//! Which networks there are on this node: by their configurations, and by the directories that have leases.

use std::fs;
use std::path::{Path, PathBuf};

use fairlead_protocol::gojson;
use serde_json::Value;

use super::super::config::{self, DEFAULT_DATA_DIR};
use super::super::range::RangeSet;
use super::ask::Where;

/// One network whose leases can be looked at.
#[derive(Debug)]
pub struct Network {
    pub name: String,
    /// Where its leases are.
    pub directory: PathBuf,
    /// What can be given out. Empty: no configuration was found.
    pub sets: Vec<RangeSet>,
}

/// What a configuration file says about a network with host-local.
struct Configured {
    name: String,
    data_dir: String,
    sets: Vec<RangeSet>,
}

/// Those that were asked for, by name. Errors: there is none, in words that say where was looked.
pub fn networks(r#where: &Where) -> Result<Vec<Network>, String> {
    let config_dir = r#where.config_dir.clone().or_else(|| std::env::var_os("NETCONFPATH").map(PathBuf::from));
    let config_dir = config_dir.unwrap_or("/etc/cni/net.d".into());
    let configured = configured(&config_dir);
    let directory_of = |name: &str, said: &str| match &r#where.data_dir {
        Some(directory) => directory.join(name),
        None if said.is_empty() => Path::new(DEFAULT_DATA_DIR).join(name),
        None => Path::new(said).join(name),
    };
    let mut found: Vec<Network> = configured
        .into_iter()
        .map(|Configured { name, data_dir, sets }| Network { directory: directory_of(&name, &data_dir), name, sets })
        .collect();
    // A network that nobody has a configuration of any more: its leases are the ones that are forgotten.
    let data_dir = r#where.data_dir.clone().unwrap_or(DEFAULT_DATA_DIR.into());
    for entry in fs::read_dir(&data_dir).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !found.iter().any(|network| network.directory == entry.path()) && !name.starts_with('.') {
            found.push(Network { name, directory: entry.path(), sets: Vec::new() });
        }
    }
    found.sort_by(|a, b| (&a.name, &a.directory).cmp(&(&b.name, &b.directory)));
    found.retain(|network| r#where.network.as_ref().is_none_or(|name| *name == network.name));
    found.dedup_by(|a, b| a.directory == b.directory);
    if found.is_empty() {
        let which = r#where.network.as_ref().map_or("network with leases".into(), |name| format!("network {name:?}"));
        let places = (config_dir.display(), data_dir.display());
        return Err(format!("no {which}: neither configured in {} nor a directory in {}", places.0, places.1));
    }
    Ok(found)
}

/// The networks of a directory of configurations. A file that makes no sense is `lint`'s business.
fn configured(directory: &Path) -> Vec<Configured> {
    let mut files: Vec<PathBuf> = fs::read_dir(directory).into_iter().flatten().flatten().map(|e| e.path()).collect();
    files.sort();
    let is_configuration = |path: &&PathBuf| {
        path.extension().is_some_and(|kind| ["conflist", "conf", "json"].iter().any(|known| kind == *known))
    };
    files.iter().filter(is_configuration).flat_map(|path| of_file(path)).collect()
}

fn of_file(path: &Path) -> Vec<Configured> {
    let Some(whole) = fs::read(path).ok().and_then(|text| gojson::parse(&text).ok()) else { return Vec::new() };
    let text =
        |object: &Value, key: &str| gojson::lookup(object, key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let name = text(&whole, "name");
    let plugins = match gojson::lookup(&whole, "plugins") {
        Some(Value::Array(plugins)) => plugins.clone(),
        _ => vec![whole],
    };
    let with_leases = plugins
        .iter()
        .filter(|plugin| gojson::lookup(plugin, "ipam").is_some_and(|ipam| text(ipam, "type") == "host-local"));
    with_leases
        .map(|plugin| {
            let data_dir = gojson::lookup(plugin, "ipam").map(|ipam| text(ipam, "dataDir")).unwrap_or_default();
            Configured { name: name.clone(), data_dir, sets: config::sets_of(plugin).unwrap_or_default() }
        })
        .collect()
}
