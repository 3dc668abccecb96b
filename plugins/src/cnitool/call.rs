//! Arguments and variables → what is asked for. Pure: nothing is looked up but what is handed in.

use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

use fairlead_protocol::{CniError, Code, check_interface_name, gojson};
use serde_json::{Map, Value};
use sha2::{Digest, Sha512};

use super::options;

/// What one start of the program is for.
#[derive(Debug)]
pub enum Asked {
    Help,
    Version,
    Call(Call),
    /// With the directory of network configurations.
    List(options::List, PathBuf),
    /// With `CNI_PATH`.
    Lint(options::Lint, String),
}

/// One verb on one network.
#[derive(Debug)]
pub struct Call {
    pub verb: Verb,
    /// The `name` of a network.
    pub network: String,
    /// There for [`Verb::Add`], [`Verb::Check`] and [`Verb::Del`].
    pub attachment: Option<Attachment>,
    /// Where networks are defined.
    pub config_directory: PathBuf,
    /// Directories of plugins, separated by colons.
    pub path: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Add,
    Check,
    Del,
    Gc,
    Status,
}

/// One interface of one container, and what the plugins are told about it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attachment {
    pub container_id: String,
    /// An absolute path. May be empty in a cache file that another runtime wrote.
    pub netns: String,
    pub ifname: String,
    /// `CNI_ARGS` as pairs.
    pub args: Vec<[String; 2]>,
    /// Arguments by capability.
    pub capabilities: Map<String, Value>,
}

const VERBS: [(&str, Verb); 5] =
    [("add", Verb::Add), ("check", Verb::Check), ("del", Verb::Del), ("gc", Verb::Gc), ("status", Verb::Status)];

/// Reads arguments (without the program's name) and variables; `here` is the current directory. Errors name the
/// argument or the variable.
pub fn parse(
    arguments: impl Iterator<Item = OsString>,
    variable: &dyn Fn(&str) -> Option<OsString>,
    here: &Path,
) -> Result<Asked, CniError> {
    let arguments = arguments.map(|word| text("an argument", &word)).collect::<Result<Vec<String>, CniError>>()?;
    if arguments.iter().any(|word| word == "--help" || word == "-h") {
        return Ok(Asked::Help);
    }
    match arguments.first().map(String::as_str) {
        Some("help") => return Ok(Asked::Help),
        Some("--version" | "-V" | "version") => return Ok(Asked::Version),
        _ => {}
    }
    let read = |name: &str| variable(name).map(|value| text(name, &value)).transpose();
    let config_directory = read("NETCONFPATH")?.filter(|d| !d.is_empty()).unwrap_or("/etc/cni/net.d".into()).into();
    let path = read("CNI_PATH")?.unwrap_or_default();
    match arguments.split_first() {
        Some((word, rest)) if word == "list" => return Ok(Asked::List(options::list(rest)?, config_directory)),
        Some((word, rest)) if word == "lint" => return Ok(Asked::Lint(options::lint(rest)?, path)),
        _ => {}
    }
    let (arguments, ifname) = without_ifname(arguments)?;
    let (verb, network, netns) = words(&arguments)?;
    let attachment = match netns {
        Some(netns) => Some(attachment(netns, ifname, &read, here)?),
        None => None,
    };
    Ok(Asked::Call(Call { verb, network: network.to_owned(), attachment, config_directory, path }))
}

/// `-i NAME`, which newer reference tools have beside `CNI_IFNAME`, taken out of the words.
fn without_ifname(mut words: Vec<String>) -> Result<(Vec<String>, Option<String>), CniError> {
    let Some(at) = words.iter().position(|word| word == "-i" || word.starts_with("-i=")) else {
        return Ok((words, None));
    };
    let option = words.remove(at);
    let inline = option.strip_prefix("-i=").map(str::to_owned);
    let name = inline.or_else(|| (at < words.len()).then(|| words.remove(at)));
    let name = name.ok_or_else(|| CniError::new(Code::InvalidEnvironment, "-i needs the name of an interface"))?;
    Ok((words, Some(name)))
}

/// Verb, network, and the namespace for the verbs that have one.
fn words(arguments: &[String]) -> Result<(Verb, &str, Option<&str>), CniError> {
    let usage = |what: String| {
        Err(CniError::new(Code::InvalidEnvironment, what)
            .with_details("usage: cnitool add|check|del|gc|status NET NETNS, list, lint (`cnitool --help` says more)"))
    };
    let Some(word) = arguments.first() else { return usage("a verb is missing".into()) };
    let Some((_, verb)) = VERBS.iter().find(|(name, _)| name == word) else {
        return usage(format!("unknown verb {word:?}"));
    };
    if let Some(option) = arguments.iter().find(|word| word.starts_with('-')) {
        return usage(format!("unknown option {option:?}"));
    }
    match &arguments[1..] {
        [] => usage(format!("{word}: the name of a network is missing")),
        [_, _, extra, ..] => usage(format!("{word}: one argument too many: {extra:?}")),
        [network, rest @ ..] => match (verb, rest) {
            // The reference wants a namespace here too, and does not use it.
            (Verb::Gc | Verb::Status, _) => Ok((*verb, network, None)),
            (_, [netns]) if !netns.is_empty() => Ok((*verb, network, Some(netns))),
            _ => usage(format!("{word}: the path of a network namespace is missing")),
        },
    }
}

fn attachment(
    netns: &str,
    ifname: Option<String>,
    read: &dyn Fn(&str) -> Result<Option<String>, CniError>,
    here: &Path,
) -> Result<Attachment, CniError> {
    let ifname = match ifname {
        Some(ifname) => ifname,
        None => read("CNI_IFNAME")?.unwrap_or("eth0".into()),
    };
    if ifname.is_empty() {
        let text = "CNI_IFNAME: interface name is empty";
        return Err(CniError::new(Code::InvalidEnvironment, text).with_details("unset it for eth0"));
    }
    check_interface_name(&ifname).map_err(|error| error.context("CNI_IFNAME"))?;
    let netns = clean(&here.join(netns));
    Ok(Attachment {
        container_id: container_id(&netns),
        netns,
        ifname,
        args: read("CNI_ARGS")?.map(|text| pairs(&text)).transpose()?.unwrap_or_default(),
        capabilities: read("CAP_ARGS")?.map(|text| capabilities(&text)).transpose()?.unwrap_or_default(),
    })
}

/// The reference's identifier: the first ten bytes of the path's SHA-512.
pub fn container_id(netns: &str) -> String {
    let digest = Sha512::digest(netns.as_bytes());
    let hex: String = digest[..10].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("cnitool-{hex}")
}

/// An absolute path without `.`, `..` and double slashes, by its text alone as Go's `filepath.Clean` does it: a link in
/// it must not change the identifier, and the namespace may be gone.
fn clean(path: &Path) -> String {
    let mut clean = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean.to_string_lossy().into_owned()
}

/// `K=V;K=V`. The reference is stricter here than its plugins: no part may be empty.
fn pairs(text: &str) -> Result<Vec<[String; 2]>, CniError> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    text.split(';')
        .map(|pair| match pair.split('=').collect::<Vec<_>>()[..] {
            [key, value] if !key.is_empty() && !value.is_empty() => Ok([key.to_owned(), value.to_owned()]),
            _ => Err(CniError::new(Code::InvalidEnvironment, format!("invalid CNI_ARGS pair {pair:?}"))
                .with_details("CNI_ARGS is KEY=VALUE;KEY=VALUE")),
        })
        .collect()
}

fn capabilities(text: &str) -> Result<Map<String, Value>, CniError> {
    if text.is_empty() {
        return Ok(Map::new());
    }
    let refuse = |reason: String| CniError::new(Code::InvalidEnvironment, format!("CAP_ARGS: {reason}"));
    match gojson::parse(text.as_bytes()).map_err(refuse)? {
        Value::Object(object) => Ok(object),
        Value::Null => Ok(Map::new()),
        _ => Err(refuse("not an object of capabilities".into())),
    }
}

fn text(what: &str, value: &OsStr) -> Result<String, CniError> {
    let refused = || CniError::new(Code::InvalidEnvironment, format!("{what} is not UTF-8: {value:?}"));
    value.to_str().map(str::to_owned).ok_or_else(refused)
}

#[cfg(test)]
mod tests;
