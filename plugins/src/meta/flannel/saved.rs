//! What was delegated, kept for DEL: by then the agent may be gone, or have another subnet.
//!
//! ```text
//! <dataDir>/<container id>            0600: the delegate's configuration, as the reference keeps it
//! <dataDir>/<container id>:<ifname>   the same for a further interface of the container
//! ```
//!
//! The reference has only the first name, so that a second interface overwrites what the first one was made from. A colon
//! occurs neither in a container's identifier nor in the name of an interface. The key `fairlead` in the first file says
//! of which interface it is; plugins ignore it.

use std::path::{Path, PathBuf};

use fairlead_protocol::{Attachment, CniError, Request, Version, gojson, is_valid_name};
use serde_json::{Value, json};

use crate::state;

/// The key of ours in a saved configuration.
const RECORD: &str = "fairlead";

/// A configuration that was saved.
#[derive(Debug, Clone, PartialEq)]
pub struct Saved {
    /// Name of the file.
    pub file: String,
    /// The delegate's configuration; `None`: the file holds none.
    pub config: Option<Value>,
}

/// Where they are kept.
pub struct Place {
    directory: PathBuf,
}

impl Place {
    /// In this directory.
    pub fn new(directory: &Path) -> Place {
        Place { directory: directory.to_owned() }
    }

    /// Saves what an attachment is about to be made from; gives the name of the file. Errors: code 5.
    pub fn save(&self, request: &Request, config: &Value) -> Result<String, CniError> {
        let [plain, own] = names(request);
        let free = match state::load(&self.directory, &plain)? {
            None => true,
            Some(text) => read(&text).is_none_or(|there| interface_in(&there) == Some(&request.ifname)),
        };
        let file = if free { plain } else { own };
        let mut config = config.clone();
        config[RECORD] = json!({"ifname": request.ifname});
        state::save(&self.directory, &file, config.to_string().as_bytes())?;
        Ok(file)
    }

    /// What this attachment was made from. The reference's file says no interface: it is anybody's of the container who
    /// has none of his own and is of the same network.
    pub fn find(&self, request: &Request) -> Option<Saved> {
        let [plain, own] = names(request);
        if let Some(text) = state::load(&self.directory, &own).ok().flatten() {
            return Some(Saved { file: own, config: read(&text) });
        }
        let config = read(&state::load(&self.directory, &plain).ok().flatten()?);
        let is_mine = match &config {
            None => true,
            Some(config) => match interface_in(config) {
                Some(ifname) => *ifname == request.ifname,
                None => network_in(config) == Some(&request.name),
            },
        };
        is_mine.then_some(Saved { file: plain, config })
    }

    /// Forgets a file. Errors: code 5.
    pub fn remove(&self, file: &str) -> Result<(), CniError> {
        state::remove(&self.directory, file)
    }

    /// Forgets what was saved for attachments of the network that are gone. What went wrong.
    pub fn collect(&self, network: &str, valid: &[Attachment]) -> Vec<String> {
        let mut troubles = Vec::new();
        for file in state::names(&self.directory) {
            let Some(config) = state::load(&self.directory, &file).ok().flatten().and_then(|text| read(&text)) else {
                continue;
            };
            if network_in(&config) != Some(network) {
                continue;
            }
            let (container, ifname) = match file.split_once(':') {
                Some((container, ifname)) => (container, Some(ifname)),
                None => (&file[..], interface_in(&config)),
            };
            let lives = valid
                .iter()
                .any(|one| one.container_id == container && ifname.is_none_or(|ifname| one.ifname == ifname));
            if !lives {
                troubles.extend(self.remove(&file).err().map(|error| error.to_string()));
            }
        }
        troubles
    }
}

impl Saved {
    /// The request that the delegate got, or would have got from a runtime, with the result of the whole list.
    pub fn request(&self, request: &Request) -> Option<Request> {
        let mut config = self.config.clone()?;
        let object = config.as_object_mut()?;
        object.remove(RECORD);
        gojson::replace(object, "prevResult", gojson::lookup(&request.config, "prevResult").cloned());
        Some(with_config(request, config))
    }
}

/// The same call with another configuration.
pub fn with_config(request: &Request, config: Value) -> Request {
    let text = |key: &str| gojson::lookup(&config, key).and_then(Value::as_str);
    let name = text("name").unwrap_or_default().to_owned();
    let version = text("cniVersion").and_then(Version::from_text).unwrap_or(request.version);
    let stdin = config.to_string().into_bytes();
    Request { name, version, stdin, config, ..request.clone() }
}

/// The delegate of a configuration.
pub fn kind(config: &Value) -> Option<&str> {
    gojson::lookup(config, "type").and_then(Value::as_str)
}

fn names(request: &Request) -> [String; 2] {
    [request.container_id.clone(), format!("{}:{}", request.container_id, request.ifname)]
}

/// A configuration that can be delegated: what a plugin would refuse before it looks at anything was never delegated.
fn read(text: &[u8]) -> Option<Value> {
    let config = gojson::parse(text).ok()?;
    let sound = kind(&config).is_some_and(|kind| !kind.is_empty() && !kind.contains('/') && kind != "flannel")
        && network_in(&config).is_some_and(is_valid_name);
    sound.then_some(config)
}

fn network_in(config: &Value) -> Option<&str> {
    gojson::lookup(config, "name").and_then(Value::as_str)
}

fn interface_in(config: &Value) -> Option<&str> {
    config.get(RECORD)?.get("ifname")?.as_str()
}

#[cfg(test)]
mod tests;
