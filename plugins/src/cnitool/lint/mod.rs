//! `cnitool lint`: what a network configuration says, what will happen because of it, and what to do. Nothing is changed,
//! no plugin is started.
//!
//! Two kinds of judges: checks of its own, which know the places of things, and the plugins' own reading of their
//! configuration ([`trial`]), which knows what an ADD would refuse.

mod addresses;
mod chain;
mod document;
mod finding;
mod interface;
mod keys;
mod machine;
mod tables;
mod trial;

use std::path::{Path, PathBuf};

use fairlead_protocol::{CniError, Code, gojson};
use serde_json::json;

use document::{Node, Place, What};
use finding::{Finding, Report, Severity, Spot};
pub use machine::Machine;

/// The device that the default route goes by.
#[derive(Clone, Debug)]
pub struct Uplink {
    pub name: String,
    pub mtu: u32,
}

/// What a configuration is held against.
pub struct Around<'a> {
    pub uplink: Option<Uplink>,
    /// Why a plugin cannot be found; `None`: it can, or nobody knows.
    pub missing: &'a dyn Fn(&str) -> Option<String>,
    /// Why a file cannot be read; `None`: it can.
    pub unreadable: &'a dyn Fn(&str) -> Option<String>,
    /// The lists beside this one: file names and contents.
    pub neighbours: Vec<(String, Node)>,
}

/// Lints files and prints what was found. True when no error was among it.
/// Errors: a file cannot be read, or the output not be written.
pub fn run(files: &[PathBuf], as_json: bool, machine: &Machine) -> Result<bool, CniError> {
    let mut all = Vec::new();
    let mut objects = Vec::new();
    let mut text = String::new();
    for file in &files_of(files)? {
        let findings = lint_file(file, machine)?;
        let name = file.display().to_string();
        objects.extend(finding::as_json(&name, &findings));
        text += &finding::as_text(&name, &findings);
        if findings.is_empty() {
            text += &format!("{name}: nothing to complain about\n");
        }
        all.extend(findings);
    }
    let sound = all.iter().all(|finding| finding.severity != Severity::Error);
    if as_json {
        super::print(&format!("{:#}\n", json!({"findings": objects, "ok": sound})))?;
    } else {
        super::print(&format!("{text}{}\n", finding::count(&all)))?;
    }
    Ok(sound)
}

/// Directories stand for the configurations in them.
fn files_of(named: &[PathBuf]) -> Result<Vec<PathBuf>, CniError> {
    let mut files = Vec::new();
    for path in named {
        if path.is_dir() {
            let inside = super::config::configurations(path)?;
            if inside.is_empty() {
                let text = format!("{} has no *.conflist, *.conf or *.json", path.display());
                return Err(CniError::new(Code::Io, text));
            }
            files.extend(inside);
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

fn lint_file(file: &Path, machine: &Machine) -> Result<Vec<Finding>, CniError> {
    let bytes = std::fs::read(file)
        .map_err(|error| CniError::new(Code::Io, format!("cannot read {}: {error}", file.display())))?;
    let is_list = file.extension().is_some_and(|extension| extension == "conflist");
    let around = Around {
        uplink: machine.uplink.clone(),
        missing: &|kind| machine.missing(kind),
        unreadable: &machine::unreadable,
        neighbours: machine::neighbours(file),
    };
    Ok(lint(&bytes, is_list, &around))
}

/// Everything there is to say about one configuration. `is_list` by the file's extension, as libcni judges it.
pub fn lint(bytes: &[u8], is_list: bool, around: &Around<'_>) -> Vec<Finding> {
    let mut report = Report::default();
    if let Err(reason) = gojson::parse(bytes) {
        let spot = Spot { field: String::new(), at: place_in(&reason) };
        let remedy = "a runtime may refuse every file of the directory over it";
        report.error("json", spot, format!("this is not JSON: {reason}"), remedy);
        return report.finish();
    }
    let text = String::from_utf8_lossy(bytes);
    if text.contains('\u{fffd}') {
        report.warning(
            "utf-8",
            Spot::file(),
            "some bytes are not UTF-8 and are read as U+FFFD",
            "save the file as UTF-8",
        );
    }
    let Some(root) = document::read(&text).filter(|root| matches!(root.what, What::Object(_))) else {
        report.error(
            "json",
            Spot::file(),
            "this is no JSON object",
            "{\"cniVersion\": …, \"name\": …, \"plugins\": […]}",
        );
        return report.finish();
    };
    if is_list {
        list(&root, around, &mut report)
    } else {
        single(&root, around, &mut report)
    }
    report.finish()
}

/// For the fuzzer: as a list and as a single plugin, beside itself.
#[cfg(any(test, feature = "fuzz"))]
pub fn lint_bytes(bytes: &[u8]) {
    let itself = document::read(&String::from_utf8_lossy(bytes));
    let around = Around {
        uplink: Some(Uplink { name: "eth0".to_owned(), mtu: 1400 }),
        missing: &|_| None,
        unreadable: &|_| None,
        neighbours: itself.map(|node| ("itself".to_owned(), node)).into_iter().collect(),
    };
    for is_list in [true, false] {
        let findings = lint(bytes, is_list, &around);
        let _ = (finding::as_text("f", &findings), finding::as_json("f", &findings));
        let is_json = serde_json::from_str::<serde_json::Value>(&String::from_utf8_lossy(bytes)).is_ok();
        assert!(is_json || findings.iter().any(|finding| finding.rule == "json"));
    }
}

fn list(root: &Node, around: &Around<'_>, report: &mut Report) {
    keys::of_list(root, report);
    chain::head(root, report);
    let plugins = match root.get_exact("plugins") {
        Some(Node { what: What::List(items), .. }) if !items.is_empty() => plugins_of(root),
        Some(node) => {
            let spot = Spot::new("plugins", node.at);
            report.error(
                "plugins",
                spot,
                "no plugins here: libcni does not load the list",
                "a list of objects, each with a \"type\"",
            );
            return;
        }
        None if root.get_exact("type").is_some() => {
            let message = "a single plugin in a file called .conflist: libcni does not load it";
            report.error(
                "plugins",
                Spot::new("type", root.at),
                message,
                "call the file .conf, or put the plugin into \"plugins\": [ ]",
            );
            return;
        }
        None => {
            let message =
                "no plugins; libcni takes those in files of a directory beside this one, named after the network";
            report.warning("plugins", Spot::new("plugins", root.at), message, "add \"plugins\"");
            return;
        }
    };
    if let Some((index, _)) =
        plugins.iter().enumerate().find(|(_, (_, plugin))| !matches!(plugin.what, What::Object(_)))
    {
        let spot = Spot::new(format!("plugins[{index}]"), plugins[index].1.at);
        report.error("plugins", spot, "not an object: libcni does not load the list", "an object with a \"type\"");
        return;
    }
    every(root, &plugins, around, report);
}

fn single(root: &Node, around: &Around<'_>, report: &mut Report) {
    if root.get("plugins").is_some() {
        let message =
            "a list in a file that is not called .conflist: libcni takes it for a single plugin without a type";
        report.error("plugins", Spot::new("plugins", root.at), message, "call the file .conflist");
        return;
    }
    chain::head(root, report);
    every(root, &[(String::new(), root)], around, report);
}

fn every(root: &Node, plugins: &[(String, &Node)], around: &Around<'_>, report: &mut Report) {
    chain::order(plugins, around, report);
    interface::masquerades(plugins, report);
    interface::isolation(plugins, report);
    for (index, (field, plugin)) in plugins.iter().enumerate() {
        keys::of_plugin(plugin, field, report);
        interface::check(root, field, plugin, around, report);
        trial::check(root, field, plugin, index > 0, report);
    }
}

/// The plugins of a list with their fields' names; of anything else, the thing itself.
pub fn plugins_of(root: &Node) -> Vec<(String, &Node)> {
    match root.get_exact("plugins") {
        Some(plugins) => plugins.items().iter().enumerate().map(|(i, item)| (format!("plugins[{i}]"), item)).collect(),
        None => vec![(String::new(), root)],
    }
}

/// The object in which the keys of the interface stand: flannel's is inside.
fn delegate_of<'a>(field: &str, plugin: &'a Node) -> (String, &'a Node) {
    match plugin.get("delegate") {
        Some(delegate) if plugin.text_of("type") == "flannel" => (keys::below(field, "delegate"), delegate),
        _ => (field.to_owned(), plugin),
    }
}

/// `… at line 3 column 7`: `serde_json`'s words.
fn place_in(reason: &str) -> Option<Place> {
    let (line, column) = reason.rsplit_once(" at line ")?.1.split_once(" column ")?;
    Some(Place { line: line.parse().ok()?, column: column.parse().ok()? })
}

#[cfg(test)]
mod tests;
